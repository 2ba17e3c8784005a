"""What operators read and copy agrees with the code: settings, variables, routes, locks."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from deploy.local import routes
from deploy.local.configuration import EDGE_STOP_S
from deploy.local.configuration import check as check_local_stack
from deploy.local.settings import Folders, LocalStackError, Plan
from services.edge.channel_settings import ChannelOptions
from services.edge.configuration import from_environ as edge_settings
from services.edge.server_api.methods import CALL_DEADLINE_S
from services.edge.settings import EdgeSettings
from services.metrics.settings import MetricsSettings
from services.metrics.settings import from_environ as metrics_settings
from services.sessions.api.calls import ANSWER_DEADLINE_S
from services.sessions.api.reader_postgres import ReadPool
from services.sessions.settings import SessionsSettings
from services.sessions.settings import from_environ as sessions_settings
from tests.sessions.api.serving import all_questions
from tests.support.settings_tables import tables_of

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = (ROOT / "compose.yaml").read_text()
ROUTES = (ROOT / "deploy/traefik/routes/fairlead.yaml").read_text()
ENVIRON = {"FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY": "x" * 32, "FAIRLEAD_POSTGRES_URL": "postgresql://a:b@localhost/c"}


def keys_of(schema: Any) -> set[str]:
    found = {
        f"{section}.{key.encode_name}"
        for section, table in tables_of(schema).items()
        for key in msgspec.structs.fields(table)
    }
    return found - {"channel.without_namespace", "channel.namespaces"}


def test_every_key_is_in_the_table_of_the_operations_guide() -> None:
    guide = (ROOT / "docs" / "operations.md").read_text()
    keys = keys_of(EdgeSettings) | keys_of(SessionsSettings) | keys_of(MetricsSettings)

    assert sorted(key for key in keys if f"`{key}`" not in guide) == []
    options = [field.encode_name for field in msgspec.structs.fields(ChannelOptions)]
    written = set(re.findall(r"`(\w+)`", guide))
    # "allow_publish_for_client, _for_subscriber": a table cell may leave out what repeats
    shortened = {word for word in written if word.startswith("_for_")}
    missing = [o for o in options if o not in written and not any(o.endswith(word) for word in shortened)]
    assert missing == []


@pytest.mark.parametrize("name", ["deploy/local/fairlead.toml", "deploy/containers.toml"])
def test_the_configuration_that_comes_along_is_taken_by_every_service(name: str) -> None:
    environ = ENVIRON | {"FAIRLEAD_CONFIG": str(ROOT / name)}
    names = [namespace.name for namespace in edge_settings(environ).channel.namespaces]
    assert names == ["chat", "live"]
    sessions_settings(environ)
    metrics_settings({"FAIRLEAD_CONFIG": environ["FAIRLEAD_CONFIG"]})


def test_env_example_has_every_variable_of_the_compose_file_with_its_default() -> None:
    used = {m[1]: m[2] for m in re.finditer(r"\$\{(\w+)(?::-([^}]*)|:\?[^}]*)?\}", COMPOSE)}
    example = (ROOT / ".env.example").read_text()
    written = {m[1]: m[2] for m in re.finditer(r"^#?([A-Z_]+)=(.*)$", example, re.MULTILINE)}
    assert written == {name: default or "" for name, default in used.items()}


def local_routes(folder: Path) -> dict[str, Any]:
    """What `make up` tells its Traefik."""
    folders = Folders(folder)
    folders.run.mkdir(parents=True)
    routes.write(Plan(), folders, [1, 2])
    return dict(yaml.safe_load(routes.path_of(folders).read_text()))


def without_addresses(of: dict[str, Any]) -> dict[str, Any]:
    """The routes without what differs between a machine and containers: who serves them, how long a dial takes, TLS."""
    for protocol in ("http", "tcp"):
        for service in of[protocol]["services"].values():
            service["loadBalancer"].pop("servers")
    of["tcp"]["serversTransports"]["to-edges"].pop("dialTimeout")
    of["tcp"]["routers"]["sockets"].pop("tls", None)
    return of


def test_the_local_traefik_has_the_routes_of_the_containers(tmp_path: Path) -> None:
    local = without_addresses(local_routes(tmp_path))
    admin = local["http"]["routers"].pop("traefik-api")
    assert admin["entryPoints"] == ["admin"]
    assert local == without_addresses(yaml.safe_load(ROUTES))


def test_the_routes_lead_to_the_containers_that_there_are() -> None:
    containers = yaml.safe_load(COMPOSE)["services"]
    edges = [name for name in containers if name.startswith("edge-")]
    (client_port,) = re.findall(r'FAIRLEAD_EDGE_CLIENT_PORT: "(\d+)"', COMPOSE)
    (port,) = re.findall(r'FAIRLEAD_EDGE_PORT: "(\d+)"', COMPOSE)

    found = yaml.safe_load(ROUTES)
    http, tcp = found["http"]["services"], found["tcp"]["services"]
    assert http["edges"]["loadBalancer"]["servers"] == [{"url": f"http://{name}:{port}"} for name in edges]
    assert tcp["edges"]["loadBalancer"]["servers"] == [{"address": f"{name}:{client_port}"} for name in edges]
    assert http["sessions"]["loadBalancer"]["servers"] == [
        {"url": f"http://sessions:{sessions_settings(ENVIRON).sessions.port}"}
    ]


def test_every_question_about_sessions_has_a_route() -> None:
    rule = yaml.safe_load(ROUTES)["http"]["routers"]["sessions"]["rule"]
    led = re.findall(r"(Path(?:Prefix)?)\(`([^`]+)`\)", rule)
    for question in all_questions(ReadPool(ENVIRON["FAIRLEAD_POSTGRES_URL"], 1)):
        path = re.sub(r"{\w+(:\w+)?}", "x", question.path)
        assert ("Path", path) in led or any(path.startswith(of) for kind, of in led if kind == "PathPrefix"), path


def test_while_the_routes_are_replaced_there_is_one_for_whatever_they_lead_to() -> None:
    outage = yaml.safe_load((ROOT / "deploy/traefik/routes/outage.yaml").read_text())
    (http,), (tcp,) = outage["http"]["routers"].values(), outage["tcp"]["routers"].values()
    assert http["priority"] == tcp["priority"] == 1 < yaml.safe_load(ROUTES)["tcp"]["routers"]["sockets"]["priority"]
    ways = [re.findall(r"(Path(?:Prefix)?)\(`([^`]+)`\)", rule) for rule in (http["rule"], ROUTES)]
    caught, led = ways[0], [(kind, path) for kind, path in ways[1] if path != "/ping"]
    assert led
    for kind, path in led:
        assert (kind, path) in caught or any(path.startswith(of) for how, of in caught if how == "PathPrefix"), path


def test_both_traefiks_wait_behind_their_keeper_until_they_have_their_routes() -> None:
    native = (ROOT / "deploy/local/templates/traefik.yaml").read_text()
    assert native.count("reusePort: $gated") == 2
    ports = re.findall(r"--entrypoints\.(?:web|sockets)\.address=(\S+)", COMPOSE)
    assert re.findall(r"--gate=(\S+)", COMPOSE) == ports
    assert len(re.findall(r"--entrypoints\.(?:web|sockets)\.reuseport=true", COMPOSE)) == len(ports) == 2
    assert yaml.safe_load(ROUTES)["http"]["routers"]["ready"]["entryPoints"] == ["admin"]
    asked = re.findall(r"(?:--ready=http://|--entrypoints\.admin\.address=)([\d.:]+)", COMPOSE)
    assert len(asked) == 3 and len(set(asked)) == 1, "the keeper, Traefik and the health check agree"


def test_no_container_has_the_socket_of_the_engine() -> None:
    assert "docker.sock" not in COMPOSE and "providers.docker" not in COMPOSE


def test_no_page_takes_a_read_only_socket_of_the_engine_for_a_protection() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for paragraph in page.read_text().split("\n\n"):
            if re.search(r"engine's socket|docker\.sock", paragraph) and "read-only" in paragraph:
                assert "even if it is mounted read-only, can start a" in paragraph, page.name


def test_compose_never_gives_up() -> None:
    """The engine starts each container again, without a bound, and none waits for another one's health check."""
    for name, container in yaml.safe_load(COMPOSE)["services"].items():
        assert container["restart"] == "unless-stopped", name
        assert not isinstance(container.get("depends_on"), dict), f"{name} depends on a condition"


def test_the_health_check_of_traefik_asks_for_a_route_of_the_file() -> None:
    assert "--ping.manualrouting=true" in COMPOSE
    native = yaml.safe_load((ROOT / "deploy/local/templates/traefik.yaml").read_text().replace("$gated", "true"))
    assert native["ping"] == {"entryPoint": "admin", "manualRouting": True}
    ready = yaml.safe_load(ROUTES)["http"]["routers"]["ready"]
    assert (ready["rule"], ready["service"]) == ("Path(`/ping`)", "ping@internal")


def test_both_stacks_tell_the_edges_the_addresses_of_clients() -> None:
    """On the TCP way with the PROXY protocol, which Traefik sends and edges await."""
    tcp = yaml.safe_load(ROUTES)["tcp"]
    assert tcp["serversTransports"]["to-edges"]["proxyProtocol"] == {"version": 2}
    assert tcp["services"]["edges"]["loadBalancer"]["serversTransport"] == "to-edges"
    local = (ROOT / "deploy/local/configuration.py").read_text()
    for text in (COMPOSE, local):
        assert re.search(r'FAIRLEAD_EDGE_PROXY_PROTOCOL"?: "true"', text)
        assert "FAIRLEAD_EDGE_TRUSTED_PROXIES" in text


def test_containers_believe_traefik_and_what_is_in_front_of_it_and_nobody_else() -> None:
    (trusted,) = re.findall(r"FAIRLEAD_EDGE_TRUSTED_PROXIES: (.+)", COMPOSE)
    (subnet,) = re.findall(r'subnet: "(.+?)"', COMPOSE)
    (in_front,) = set(re.findall(r"trustedips=(.+)", COMPOSE))
    assert trusted == f"{subnet},{in_front}"
    assert int(subnet.rstrip("}").rpartition("/")[2]) >= 24


def test_the_health_check_of_traefik_is_quicker_than_an_edge_leaves() -> None:
    intervals = re.findall(r"(?:\bi|unhealthyI)nterval: (\d+)ms", ROUTES)
    assert len(intervals) == 4
    delay_ms = EdgeSettings().edge.drain_delay * 1000
    assert all(int(interval) < delay_ms for interval in intervals)


def test_a_process_that_hangs_is_given_up_after_the_others_have_answered_and_before_clients_give_up() -> None:
    static = (ROOT / "deploy/local/templates/traefik.yaml").read_text() + COMPOSE
    limits = re.findall(r"response[hH]eader[tT]ime[oO]ut[:=] ?(\d+)ms", static)
    assert len(limits) == 2
    assert all(max(CALL_DEADLINE_S, ANSWER_DEADLINE_S) * 1000 < int(limit) < 10_000 for limit in limits)


def test_whatever_stops_an_edge_waits_longer_than_a_drain_may_take() -> None:
    longest = EdgeSettings().edge.drain_timeout + 6
    (of_containers,) = re.findall(r"stop_grace_period: (\d+)s # edge.drain_timeout", COMPOSE)
    assert int(of_containers) >= longest and longest <= EDGE_STOP_S
    check_local_stack(ENVIRON)
    with pytest.raises(LocalStackError, match=r"edge.drain_timeout: expected at most 10 s here, got 60"):
        check_local_stack(ENVIRON | {"FAIRLEAD_EDGE_DRAIN_TIMEOUT": "1m"})


LOCKS = ("requirements.lock", "deploy/requirements.lock", "deploy/requirements-forecast.lock", ".ci/compose.lock")


@pytest.mark.parametrize("name", LOCKS)
def test_locks_pin_by_hash_and_name_no_address(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "://" not in text
    packages = re.findall(r"^[a-z0-9][^ ]*==", text, re.MULTILINE)
    assert packages
    assert text.count("--hash=sha256:") >= len(packages)


@pytest.mark.parametrize("name", ["deploy/requirements.lock", "deploy/requirements-forecast.lock"])
def test_the_image_runs_what_was_tested(name: str) -> None:
    def pins(name: str) -> dict[str, str]:
        return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE))

    tested = pins("requirements.lock")
    assert {package: version for package, version in pins(name).items() if tested[package] != version} == {}


@pytest.mark.parametrize(
    ("name", "extras"),
    [
        ("requirements.lock", ["edge", "sessions", "metrics", "forecast", "tracing", "local"]),
        ("deploy/requirements.lock", ["edge", "sessions", "metrics", "tracing"]),
        ("deploy/requirements-forecast.lock", ["edge", "sessions", "metrics", "forecast", "tracing"]),
    ],
)
def test_a_lock_has_what_each_process_needs(name: str, extras: list[str]) -> None:
    """A package that is there because another one needs it is gone one day."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(one for extra in extras for one in project["optional-dependencies"][extra])]
    entries = re.findall(
        r"^([a-z0-9-]+)==.*\n(?:    --hash.*\n)+((?:    #.*\n)+)", (ROOT / name).read_text(), re.MULTILINE
    )
    ours = {package for package, reasons in entries if "fairlead (pyproject.toml)" in reasons}
    assert {re.split(r"[^a-z0-9-]", one, maxsplit=1)[0] for one in wanted} - ours == set()


@pytest.mark.parametrize("name", ["deploy/requirements.lock", "deploy/requirements-forecast.lock"])
def test_the_image_has_nothing_that_only_tests_and_examples_need(name: str) -> None:
    def names(requirements: list[str]) -> set[str]:
        return {re.split(r"[^A-Za-z0-9-]", each)[0] for each in requirements}

    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = pyproject["project"]
    of_services = names(sum(project["optional-dependencies"].values(), project["dependencies"]))
    of_people = names(pyproject["dependency-groups"]["dev"]) - of_services
    assert {"django", "fastapi", "psycopg"} < of_people
    installed = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / name).read_text(), re.MULTILINE))
    assert of_people & installed == set()


def test_each_container_signs_in_to_nats_as_the_user_that_ships_for_it() -> None:
    users = set(
        re.findall(r"\{ user: (\w+), password: \$NATS_\w+_PASSWORD", (ROOT / "deploy/nats/nats.conf").read_text())
    )
    assert users == {"edge", "sessions", "privacy", "metrics", "backend", "operator"}
    assert set(re.findall(r"^      NATS_(\w+)_PASSWORD: ", COMPOSE, re.MULTILINE)) == {user.upper() for user in users}
    for user in ("edge", "sessions", "metrics"):
        password = rf" +FAIRLEAD_NATS_PASSWORD: \$\{{NATS_{user.upper()}_PASSWORD:"
        assert re.search(rf"FAIRLEAD_NATS_USER: {user}\b.*\n{password}", COMPOSE)
    assert re.search(
        r"PRIVACY_NATS_USER: privacy\n +FAIRLEAD_PRIVACY_NATS_PASSWORD: \$\{NATS_PRIVACY_PASSWORD:", COMPOSE
    )


def test_the_script_makes_every_secret_and_writes_over_none(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    for name in (".env.example", "deploy/env.sh"):
        shutil.copy(ROOT / name, tmp_path / name)
    script = ["sh", str(tmp_path / "deploy/env.sh")]
    subprocess.run(script, check=True)
    made = (tmp_path / ".env").read_text()
    secrets = re.findall(r"^[A-Z_]+=(.*)$", made, re.MULTILINE)
    assert len(secrets) == len(set(secrets)) == 9 and all(re.fullmatch(r"[0-9a-f]{64}", one) for one in secrets)
    again = subprocess.run(script, capture_output=True, text=True)
    assert again.returncode == 1 and "exists already" in again.stderr
    assert (tmp_path / ".env").read_text() == made and (tmp_path / ".env").stat().st_mode & 0o77 == 0
