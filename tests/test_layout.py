"""Rules of the repository that no tool checks: tests, sizes, names, who spells subjects and who reads settings."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

import proto
from tests.support.source_tree import (
    MODULES,
    ROOT,
    TESTS,
    imports_of,
    is_imported,
    module_name,
    name_of,
    nodes_of,
    text_of,
    texts,
    tree_of,
)

MIGRATIONS = "/migrations/"

UNTESTED = {
    "services/sessions/table_columns.py": "tests/sessions/test_schema.py, through tables",
    "services/sessions/tables_of_counts.py": "tests/sessions/test_schema.py, through tables",
    "services/sessions/tables_of_the_log.py": "tests/sessions/test_schema.py, through tables",
    "services/chassis/http/deadlines.py": "tests/chassis/http/test_limits.py and test_room.py, on real sockets",
    "services/chassis/process/configuration_file.py": "tests/chassis/process/test_mistakes.py, through load",
    "services/chassis/process/every_mistake.py": "tests/chassis/process/test_mistakes.py, through load",
    "services/chassis/nats/tls.py": "tests/chassis/nats/test_settings.py and test_sign_in.py",
    "services/chassis/http/openapi.py": "tests/edge/server_api/test_openapi.py, tests/sessions/api/test_calls_http.py",
    "services/edge/__main__.py": "run by the processes of the integration tests",
    "services/edge/moving/command.py": "tests/docs/test_moving.py, as a process",
    "services/edge/adapters_memory.py": "tests/integration/test_memory_broker.py, as a process",
    "services/edge/broker/known_streams.py": "tests/edge/broker, through the broker on NATS",
    "services/edge/broker/stream_health_nats.py": "tests/edge/broker/test_stream_gates_nats.py, on a real NATS",
    "services/edge/broker/stream_marking_nats.py": "tests/edge/broker/test_rollback.py, on a real NATS",
    "services/edge/broker/voucher_nats.py": "tests/edge/broker/test_vouching_nats.py, on a real NATS",
    "services/edge/adapters_nats.py": "run by the processes of the integration tests",
    "services/sessions/actions_arguments.py": "tests/sessions/test_dead_letters.py, at the command line",
    "services/sessions/catalog.py": "tests/docs/test_metrics_page.py",
    "services/edge/session/lifecycle.py": "tests/edge/session/test_session.py and test_session_end.py, as the session",
    "services/edge/session/decisions.py": "data; the tests of every command see it as effects",
    "services/edge/timings.py": "tests/edge/instruments/test_exposition.py",
    "services/metrics/plan_api.py": "tests/metrics/test_service_history.py, over HTTP and NATS",
    "services/metrics/plan_nats.py": "tests/metrics/test_service_history.py, over NATS",
    "services/metrics/__main__.py": "run by the processes of the integration tests",
    "services/sessions/commands/arguments.py": "tests/docs/test_sessions_page.py, at the command line",
    "services/sessions/commands/drops.py": "tests/docs/test_sessions_page.py, at the command line",
    "services/sessions/commands/channels.py": "tests/docs/test_sessions_page.py, at the command line",
    "services/sessions/commands/versions.py": "tests/docs/test_sessions_page.py, at the command line",
    "services/sessions/commands/users.py": "tests/docs/test_sessions_page.py, at the command line",
    "services/sessions/outbox/arguments.py": "tests/sessions/outbox/test_outbox.py, at the command line",
    "services/sessions/outbox/command.py": "tests/sessions/outbox/test_outbox.py, at the command line",
    "services/sessions/outbox/publisher_nats.py": "tests/sessions/outbox/test_outbox.py, with edges",
    "services/sessions/api/openapi.py": "tests/sessions/api/test_calls_http.py, over HTTP",
    "services/sessions/models/sessions.py": "tests/sessions/test_projection.py, through the fold",
    "services/sessions/printing.py": "tests/sessions/test_dead_letters.py, at the command line",
    "services/sessions/privacy/arguments.py": "tests/sessions/privacy/test_erasure.py, at the command line",
    "services/sessions/privacy/disconnecting_nats.py": "tests/sessions/privacy/test_erasure.py, with an edge",
    "services/sessions/privacy/export.py": "tests/sessions/privacy/test_tables_postgres.py, as the command",
    "services/sessions/privacy/keys_nats.py": "tests/sessions/privacy/test_erasure.py, with an edge",
    "services/sessions/privacy/publications_nats.py": "tests/sessions/privacy/test_erasure.py, with an edge",
    "services/sessions/privacy/unreachable.py": "data; docs/privacy.md has it",
    "services/sessions/api/counts.py": "tests/sessions/api/test_models.py, over HTTP",
    "services/sessions/api/model_views.py": "tests/sessions/api/test_models.py, over HTTP",
    "services/sessions/changes_nats.py": "tests/sessions/api/test_live_http.py, among two instances",
    "services/sessions/rebuilding/arguments.py": "tests/sessions/rebuilding/test_rebuild.py, at the command line",
    "services/sessions/rebuilding/comparison_postgres.py": "tests/sessions/rebuilding/test_verify.py",
    "services/sessions/rebuilding/refolding.py": "tests/sessions/rebuilding/test_rebuild.py",
    "services/sessions/webhooks/letters_arguments.py": "tests/sessions/webhooks/test_webhook.py, at the command line",
    "services/sessions/webhooks/letters_command.py": "tests/sessions/webhooks/test_webhook.py, at the command line",
}
"""Modules that no test imports: the tests that cover them, or why none has to."""

LONG: dict[str, str] = {}
"""Files past 400 lines, and why."""


def own_test(path: Path) -> str:
    """Where the tests of a module are: `tests` has the folders of `proto` and `services`."""
    folder = path.relative_to(ROOT / "services" if path.is_relative_to(ROOT / "services") else ROOT).parent
    return f"tests/{folder.as_posix()}/test_{path.name}"


def test_proto_is_ours() -> None:
    """PyPI's proto-plus installs a top-level package of that name."""
    assert Path(proto.__file__).resolve().is_relative_to(ROOT)


def test_every_module_has_a_test() -> None:
    """A test module of its name in the folder that mirrors its own, or any test that imports it."""
    own = {name_of(path) for path in TESTS}
    code = {name_of(path): path for path in MODULES if path.name != "__init__.py" and MIGRATIONS not in name_of(path)}
    strangers = {name: path for name, path in code.items() if own_test(path) not in own}
    untested = {name for name, path in strangers.items() if not is_imported(module_name(path), TESTS)}
    assert sorted(untested - set(UNTESTED)) == [], "write a test that imports it, or a reason into UNTESTED"
    assert sorted(set(UNTESTED) - untested) == [], "an excuse for a module that is gone, or has a test"


def test_a_test_that_bears_a_module_s_name_is_in_the_folder_that_mirrors_it() -> None:
    mirrors: dict[str, set[str]] = {}
    for path in MODULES:
        place = own_test(path)
        service = place.split("/")[1]
        mirrors.setdefault(f"{service} test_{path.name}", set()).add(place)
    for path in TESTS:
        service = path.relative_to(ROOT / "tests").parts[0]
        assert name_of(path) in mirrors.get(f"{service} {path.name}", {name_of(path)})


def test_no_file_grows_past_400_lines_without_a_reason() -> None:
    sizes = {name_of(path): len(text_of(path).splitlines()) for path in (*MODULES, *TESTS)}
    assert {name for name, size in sizes.items() if size > 400} <= set(LONG)
    assert max(sizes.values()) <= 700


def test_no_module_has_a_name_that_says_nothing() -> None:
    empty = {"utils", "util", "common", "helpers", "helper", "misc", "lib"}
    assert [name_of(path) for path in (*MODULES, *TESTS) if {path.stem, *path.relative_to(ROOT).parts} & empty] == []


OF_OPENTELEMETRY = {"rpc.method", "rpc.system"}
"""Names of attributes of spans that look like subjects."""

OF_APPLICATIONS = "fairlead/client_nats.py"
"""It may import no module of ours; `tests/integration/test_python_package.py` compares its subject with ours."""

SUBJECT = re.compile(r"(ch|live|eph|mem|key|ev|tel|ctl|rpc|hook|send|api|plan|rd)\.([\w*>{%-]|$)|\$JS\.")


@pytest.mark.parametrize("text", ["ch.", "live.a.1.x", "eph.*", "ev.session.>", "tel.", "$JS.API.INFO"])
def test_a_subject_is_recognized(text: str) -> None:
    assert SUBJECT.match(text)


@pytest.mark.parametrize("text", ["ch", "channel.x", "every.", "it is live. Next", "eve.x", "client.insecure"])
def test_other_text_is_none(text: str) -> None:
    assert not SUBJECT.match(text)


def test_only_one_module_spells_subjects() -> None:
    spelled = {
        name_of(path)
        for path in MODULES
        if any(SUBJECT.match(text) for text in texts(path) if text not in OF_OPENTELEMETRY)
    }
    assert spelled == {"proto/subjects.py", OF_APPLICATIONS}


def test_only_settings_and_mains_read_the_environment() -> None:
    readers = {
        name_of(path)
        for path in MODULES
        for node in nodes_of(path)
        if (isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv", "putenv"))
        or (
            isinstance(node, ast.ImportFrom)
            and node.module == "os"
            and {a.name for a in node.names} & {"environ", "getenv"}
        )
    }
    assert readers
    assert {name for name in readers if not name.endswith(("/settings.py", "/__main__.py"))} == set()


def test_only_adapters_bear_an_adapter_s_name() -> None:
    """A module named for NATS or PostgreSQL is one; import-linter holds the other direction.

    The modules of `services/chassis/nats` and `services/chassis/postgres` bear the name in their folder's.
    """
    reaches = {
        "nats": r"(services\.chassis\.)?nats(\.|$)",
        "postgres": r"(asyncpg|sqlalchemy)(\.|$)|services\.chassis\.postgres\.",
    }
    for path in MODULES:
        if path.stem.endswith(("_nats", "_postgres")):
            adapted = re.compile(reaches[path.stem.rpartition("_")[2]])
            assert any(map(adapted.match, imports_of(path))), name_of(path)


def test_every_module_says_what_it_is() -> None:
    """An empty file (a marker of a package) needs no docstring."""
    silent = [name_of(path) for path in MODULES if text_of(path).strip() and ast.get_docstring(tree_of(path)) is None]
    assert silent == []


def test_ci_is_a_script_that_runs() -> None:
    checked = subprocess.run(["bash", "-n", str(ROOT / ".ci/run")], capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_ci_installs_what_is_missing() -> None:
    """`command -v` finds a function of the script itself: a program of its name would never be missed."""
    script = (ROOT / ".ci/run").read_text()
    functions = re.findall(r"^(\w+)\(\)", script, re.MULTILINE)
    looked_for = re.findall(r"command -v ([\w-]+)", script)
    assert functions
    assert "chromium" in looked_for
    assert set(functions) & set(looked_for) == set()


@pytest.mark.parametrize("marker", ["browser", "observe", "docker"])
def test_ci_runs_the_folders_of_each_test_that_only_it_runs(marker: str) -> None:
    """It names them, so that a step does not first import all other tests."""
    ran = rf'pytest -m "?[\w ]*\b{marker}\b[\w ]*"?(?: -\S+(?: \w+)?)*((?: tests/\S+)+)'
    command = re.search(ran, (ROOT / ".ci/run").read_text())
    assert command is not None
    marked = [name_of(path) for path in TESTS if f"pytest.mark.{marker}" in text_of(path)]
    assert marked
    assert [name for name in marked if not name.startswith(tuple(f"{one}/" for one in command[1].split()))] == []


def test_no_conflict_was_committed() -> None:
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    mark = re.compile(rb"^(<{7}|>{7}) ", re.MULTILINE)
    paths = [ROOT / name for name in files.split("\0") if name]
    assert [path.name for path in paths if path.is_file() and mark.search(path.read_bytes())] == []
