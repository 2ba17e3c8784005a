"""Mistakes in a configuration, and the message for each: never a traceback, and never a secret.

`.venv/bin/python -m tests.chassis.process.test_mistakes` prints the table.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.processes.ports import free_port
from services.chassis.process.secret_files import is_secret
from services.chassis.process.settings import ConfigurationError
from services.chassis.process.settings_errors import variable_name
from services.edge.configuration import from_environ as of_edge
from services.edge.settings import EdgeSettings
from services.metrics.settings import MetricsSettings
from services.metrics.settings import from_environ as of_metrics
from services.sessions.settings import SessionsSettings
from services.sessions.settings import from_environ as of_sessions
from tests.support.settings_tables import tables_of

ROOT: Final = Path(__file__).resolve().parents[3]
SECRET: Final = "hunter2-hunter2-hunter2-hunter2-hunter2"
NEEDED: Final = {
    "FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY": SECRET,
    "FAIRLEAD_POSTGRES_URL": f"postgresql://u:{SECRET}@127.0.0.1/x",
}
SERVICES: Final[Mapping[str, Callable[[Mapping[str, str]], Any]]] = {
    "edge": of_edge,
    "sessions": of_sessions,
    "metrics": of_metrics,
}


class Mistake(NamedTuple):
    """What a service is given, and a part of its message. `toml` is the file's content: bytes if it is not text."""

    service: str
    toml: str | bytes
    variables: dict[str, str]
    said: str


def mistake(service: str, toml: str | bytes, said: str, **variables: str) -> Mistake:
    return Mistake(service, toml, {f"FAIRLEAD_{name}": value for name, value in variables.items()}, said)


TABLE: Final = (
    # --- the file
    mistake("edge", "[edge", "fairlead.toml: is not TOML: Expected"),
    mistake("edge", b"[edge]\nname = '\xff'", "is not TOML: it is not text in UTF-8, from byte 15 on"),
    mistake("edge", b"\xef\xbb\xbf[edge]", "it begins with a byte order mark: save it without"),
    mistake("edge", "[edge]\nport = 1\n[edge]\nport = 2", "is not TOML: Cannot declare ('edge',) twice"),
    mistake("edge", "x = " + "[" * 5000, "is not TOML: it nests too deep"),
    mistake("edge", "[edge]\nport = " + "9" * 5000, "is not TOML: a number has too many digits"),
    mistake("edge", "", "nowhere.toml: there is no such file (FAIRLEAD_CONFIG names it)", CONFIG="/nowhere.toml"),
    mistake("edge", "", "/: cannot be read: is a directory (FAIRLEAD_CONFIG names it)", CONFIG="/"),
    mistake("edge", "", "cannot be read: file name too long (FAIRLEAD_CONFIG names it)", CONFIG="x" * 5000),
    # --- names
    mistake("edge", "[egde]", "unknown section [egde]; did you mean edge?"),
    mistake("edge", "edge = 1", "edge: expected a table, got a whole number"),
    mistake("edge", "[[edge]]", "edge: expected a table, got a list"),
    mistake("edge", "[edge]\nprot = 1", "unknown key edge.prot; did you mean port?"),
    mistake("edge", "", "unknown variable FAIRLEAD_EDGE_PROT; did you mean FAIRLEAD_EDGE_PORT?", EDGE_PROT="1"),
    # --- values
    mistake("edge", "[edge]\nport = 0", "edge.port: expected a whole number of at least 1"),
    mistake("sessions", "[sessions]\nport = 0", "sessions.port: expected a whole number of at least 1"),
    mistake("metrics", "", "FAIRLEAD_METRICS_PORT: expected a whole number of at least 1, got '0'", METRICS_PORT="0"),
    mistake("edge", "[edge]\nport = 70_000", "edge.port: expected a whole number of at most 65535, got 70000"),
    mistake("edge", "[edge]\nport = '8101'", "edge.port: expected a whole number, got text: leave out the quotes"),
    mistake("edge", "[edge]\nname = 2026-11-29", "edge.name: expected text, got a date"),
    mistake(
        "edge", "[edge]\nname = 'a\\u0000b'".replace("'", '"'), "edge.name: expected text without control characters"
    ),
    mistake("edge", "[edge]\nmemory_soft_limit = 99999999999999999999", "edge.memory_soft_limit: expected a number of"),
    mistake("edge", "", "FAIRLEAD_EDGE_DRAIN_DELAY: expected a duration such as 300", EDGE_DRAIN_DELAY="soon"),
    mistake("edge", "[process]\ngc_thresholds = [1, 2]", "expected process.gc_thresholds to be three numbers"),
    mistake("edge", "[process]\ngc_thresholds = [9_999_999_999, 2, 2]", "expected process.gc_thresholds to be three"),
    mistake("edge", "[log]\nlevel = 'loud'", 'log: expected log.level "debug", "info", "warning" or "error"'),
    mistake("edge", "[edge]\ntrusted_proxies = ['10.0.0.0/99']", "edge.trusted_proxies: expected an address or a net"),
    mistake("edge", "[client]\nallowed_origins = ['x']", "client.allowed_origins[0]: no browser sends"),
    mistake("edge", "[limits]\ncommands = '5'", 'limits.commands: expected a rate such as "600/10s"'),
    mistake("edge", "[edge]\nmemory_soft_limit = 'x'", "edge.memory_soft_limit: expected a whole number, got text"),
    mistake(
        "edge", "[[http_api.keys]]\nname = 'a b'\nkey = 'x'", 'http_api.keys[0] ("a b").name: expected up to 64 le'
    ),
    mistake("edge", "", "FAIRLEAD_EDGE_DRAIN_RATE: expected a whole number, got 'all'", EDGE_DRAIN_RATE="all"),
    mistake("edge", "", "FAIRLEAD_LOG_CONNECTIONS: expected true or false, got 'maybe'", LOG_CONNECTIONS="maybe"),
    mistake("edge", f"[http_api]\nkey = ['{SECRET}']", "http_api.key: expected text, got a list"),
    mistake("edge", "[[channel.namespaces]]\nhistory_size = 1", "channel.namespaces[0].name is missing"),
    mistake(
        "edge",
        "[[channel.namespaces]]\nname = 'chat'\nhistory_size = 1",
        'channel.namespaces[0] ("chat"): expected history_size and history_ttl to be both set or both 0',
    ),
    mistake("edge", "[[channel.namespaces]]\nname = 'chat'\nchannel_regex = '('", "expected channel_regex to"),
    mistake("edge", "[client]\ntoken_jwks_public_endpoint = 'file:///x'", "to be an address such as https://host/path"),
    mistake("edge", "", "expected at least 16 characters, got 5", CLIENT_TOKEN_HMAC_SECRET_KEY="short"),
    mistake(
        "edge", "", "FAIRLEAD_HTTP_API_KEY_FILE: '/nowhere' cannot be read: no such file", HTTP_API_KEY_FILE="/nowhere"
    ),
    # --- what others have
    mistake("edge", "[nats]\nurl = 'http://127.0.0.1:4222'", "nats.url"),
    mistake("edge", "[nats]\nca_file = '/nowhere.pem'", "nats.ca_file: /nowhere.pem: cannot be read"),
    mistake("sessions", "", "expected postgres.url to begin with postgresql://", POSTGRES_URL="mysql://h/x"),
    mistake("sessions", "", "with ports from 1 to 65535", POSTGRES_URL=f"postgresql://u:{SECRET}@h:x/x"),
    mistake("metrics", "", "/ as %2F", POSTGRES_URL=f"postgresql://u:{SECRET}/1@h/x"),
    mistake("sessions", "", "the file of sslrootcert cannot be read", POSTGRES_URL="postgresql://h/x?sslrootcert=/no"),
    mistake(
        "sessions", "", "the option connect_timeout is not offered", POSTGRES_URL="postgresql://h/x?connect_timeout=1"
    ),
    mistake("metrics", "[capacity]\ncpu = nan", "expected capacity.cpu above 0"),
)


def outcome(case: Mistake, folder: Path) -> list[str]:
    """The service's messages about it; empty if it accepts it."""
    file = folder / "fairlead.toml"
    file.write_bytes(case.toml.encode() if isinstance(case.toml, str) else case.toml)
    try:
        SERVICES[case.service]({**NEEDED, "FAIRLEAD_CONFIG": str(file), **case.variables})
    except ConfigurationError as error:
        return [each.replace(f"{folder}/", "") for each in error.mistakes]
    return []


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case.said[:50])
def test_a_mistake_is_told(case: Mistake, tmp_path: Path) -> None:
    (said,) = outcome(case, tmp_path)
    assert case.said in said
    assert SECRET not in said and said.isprintable()


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = """
        [edgy]
        [edge]
        port = 0
        nmae = "a"
        drain_delay = "2h"
        [client]
        ping_interval = "1s"
        [[channel.namespaces]]
        name = "ns-a"
        history_size = 1
        [[channel.namespaces]]
        name = "ns-b"
        history_size = -1
        presence = "yes"
        [[channel.namespaces]]
        name = "ns-c"
        slow_client = "shoot"
    """
    said = outcome(mistake("edge", text, "", LOG_LEVEL="loud", EDGE_PROT="1", EDGE_CLIENT_PORT="x"), tmp_path)
    for part in (
        "unknown section [edgy]",
        "unknown variable FAIRLEAD_EDGE_PROT",
        "FAIRLEAD_EDGE_CLIENT_PORT: expected a whole number",
        "edge.port: expected a whole number of at least 1",
        "unknown key edge.nmae; did you mean name?",
        "expected client.pong_timeout to be shorter",
        'channel.namespaces[0] ("ns-a"): expected history_size and history_ttl',
        'channel.namespaces[1] ("ns-b").history_size: expected a whole number of at least 0',
        'channel.namespaces[1] ("ns-b").presence: expected true or false, got text',
        'channel.namespaces[2] ("ns-c"): expected slow_client',
        "expected log.level",
    ):
        assert len([line for line in said if part in line]) == 1, (part, said)
    assert len(said) == 11, "and nothing else: a table that lacks a key is not judged as a whole"


def test_secrets_that_cannot_be_read_hide_no_other_mistake(tmp_path: Path) -> None:
    text = "[nats]\nurl_file = '/nowhere-1'\n[edge]\nnmae = 1\n[[http_api.keys]]\nname = 'a'\nkey_file = '/nowhere-2'"
    said = outcome(mistake("edge", text, "", POSTGRES_URL_FILE="/other", HTTP_API_KEY_FILE="/nowhere-3"), tmp_path)
    assert sorted(line.partition(":")[2].strip() if line.startswith("fairlead.toml") else line for line in said) == [
        "FAIRLEAD_HTTP_API_KEY_FILE: '/nowhere-3' cannot be read: no such file or directory",
        "http_api.keys[0].key_file: '/nowhere-2' cannot be read: no such file or directory",
        "nats.url_file: '/nowhere-1' cannot be read: no such file or directory",
        "unknown key edge.nmae; did you mean name?",
    ]
    with pytest.raises(ConfigurationError) as refused:
        of_sessions({"FAIRLEAD_POSTGRES_URL_FILE": "/nowhere"})
    assert refused.value.mistakes == (
        "FAIRLEAD_POSTGRES_URL_FILE: '/nowhere' cannot be read: no such file or directory",
    ), "and is not missing as well"


def test_what_is_taken_away_to_find_more_is_not_called_missing(tmp_path: Path) -> None:
    (said,) = outcome(mistake("edge", "[[channel.namespaces]]\nname = 'x'", ""), tmp_path)
    assert said.startswith('fairlead.toml: channel.namespaces[0] ("x").name: expected 2 to 64 letters, digits')
    (said,) = outcome(mistake("sessions", "", "", POSTGRES_URL="mysql://h/x"), tmp_path)
    assert "is missing" not in said


def test_checks_of_several_sections_are_told_together(tmp_path: Path) -> None:
    text = "[edge]\ntrusted_proxies = ['x']\n[client]\nallowed_origins = ['x']\ncommands_per_message = 1"
    said = outcome(mistake("edge", text, "", CLIENT_TOKEN_HMAC_SECRET_KEY=""), tmp_path)
    assert [line.partition(":")[0].partition(" ")[0] for line in said] == [
        "client.token_hmac_secret_key",
        "edge.trusted_proxies",
        "client.allowed_origins[0]",
        "client.commands_per_message",
    ]


# --- anything -------------------------------------------------------------------------------------------------------

STRANGE: Final = (
    *("", "0", "-1", "x", "true", "a,b", "\n", "\x7f", "\udcff", "9" * 30, "1e999", "nan", "./\\", "{}", "[]", "%00"),
    *("\u0663", "x" * 10_000, "postgresql://", "nats://", "tls://:@", "http://[", "-----BEGIN PUBLIC KEY-----"),
    *("1/0s", "0s", "*", "("),
)
IN_TOML: Final = (
    *("0", "-1", "9" * 18, "9" * 30, "1.5", "nan", "inf", "true", '""', '"a\\u0000b"', f'"{"x" * 10_000}"'),
    *("[]", "[[]]", "[{}]", '["a\\u0000"]', "{}", "{a = 1}", "2026-11-29", "07:30:00"),
)


SCHEMAS: Final[Mapping[str, type[msgspec.Struct]]] = {
    "edge": EdgeSettings,
    "sessions": SessionsSettings,
    "metrics": MetricsSettings,
}


def keys(schema: type[msgspec.Struct]) -> Iterator[tuple[str, Any]]:
    for name, section in tables_of(schema).items():
        for key in msgspec.structs.fields(section):
            yield f"{name}.{key.encode_name}", key.type


@pytest.mark.parametrize("service", SERVICES)
def test_whatever_a_key_is_set_to_it_is_taken_or_refused(service: str, tmp_path: Path) -> None:
    """Each key gets every fifth value, as there are many of its kind."""
    for number, (key, kind) in enumerate(keys(SCHEMAS[service])):
        section, _, name = key.partition(".")
        variables = [variable_name(key), *([variable_name(f"{key}_file")] if is_secret(kind) else [])]
        for text in STRANGE[number % 5 :: 5]:
            for variable in variables:
                outcome(Mistake(service, "", {variable: text}, ""), tmp_path)
        for value in IN_TOML[number % 5 :: 5]:
            outcome(Mistake(service, f"[{section}]\n{name} = {value}", {}, ""), tmp_path)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet='[]=".\n#abe1-{}', max_size=60).map(str.encode))
def test_whatever_is_in_the_file_it_is_taken_or_refused(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        outcome(Mistake("edge", content, {}, ""), Path(folder))


# --- processes ------------------------------------------------------------------------------------------------------


def ended(service: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"services.{service}"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **NEEDED, **variables},
        capture_output=True,
        text=True,
        timeout=30,
        cwd="/",
    )


def test_a_process_tells_each_mistake_in_a_line_and_fails() -> None:
    process = ended("edge", FAIRLEAD_EDGE_PORT="0", FAIRLEAD_LOG_LEVEL="loud", FAIRLEAD_EDGE_PROT="1")
    lines = process.stderr.splitlines()
    assert process.returncode == 1 and len(lines) == 3
    assert all(line.startswith("fairlead-edge: ") for line in lines)


def test_a_port_that_is_taken_is_told_with_its_key_and_how_to_find_its_owner() -> None:
    with socket.socket() as owner:
        owner.bind(("127.0.0.1", 0))
        owner.listen()
        port = owner.getsockname()[1]
        process = ended("metrics", FAIRLEAD_METRICS_PORT=str(port))
    assert process.returncode == 3
    assert f"cannot listen on 127.0.0.1:{port}: address already in use" in process.stderr
    assert f"`ss -ltnp 'sport = :{port}'`" in process.stderr
    assert "(metrics.port, FAIRLEAD_METRICS_PORT)" in process.stderr


@pytest.mark.parametrize("variable", ["CONFIG", "HTTP_API_KEY_FILE", "NATS_CA_FILE", "NATS_NKEY_FILE"])
def test_a_pipe_in_place_of_a_file_is_told_instead_of_waited_for(variable: str, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = ended("edge", **{f"FAIRLEAD_{variable}": str(pipe)})
    assert process.returncode == 1
    assert f"{pipe}" in process.stderr and "it is a pipe, which can be read only once" in process.stderr


@pytest.mark.parametrize("host", ["192.0.2.1", "a..b", "x" * 300])
def test_a_host_that_is_not_this_machine_is_told_with_its_key(host: str) -> None:
    process = ended("metrics", FAIRLEAD_METRICS_HOST=host, FAIRLEAD_METRICS_PORT=str(free_port()))
    assert process.returncode == 3
    assert "expected an address of this machine (metrics.host, FAIRLEAD_METRICS_HOST)" in process.stderr
    assert "Traceback" not in process.stderr


def main() -> None:
    with TemporaryDirectory() as folder:
        for case in TABLE:
            given_ = " ".join([repr(case.toml)[:60], *(f"{name}={text[:40]}" for name, text in case.variables.items())])
            sys.stdout.write(f"| {case.service} | `{given_}` | {' / '.join(outcome(case, Path(folder)))[:200]} |\n")


if __name__ == "__main__":
    main()
