"""Names that the pages quote exist: modules' names, settings, metrics, constants, fields of messages."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import msgspec
import pytest

from deploy.series_page import CATALOGS
from services.edge.settings import EdgeSettings
from services.metrics.settings import MetricsSettings
from services.sessions.outbox.sql import OUTBOX_SQL
from services.sessions.settings import SessionsSettings
from tests.support.settings_tables import tables_of

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "docs/decisions").glob("*.md")])
NOT_READ = {"0004-nats-py-with-our-own-hook.md", "metrics.md"}  # superseded: its code is gone; made from the code
PAGES = [page for page in PAGES if page.name not in NOT_READ]
OF_OTHERS = {
    # headers and attributes of NATS, Centrifugo and the SDKs, which no file of ours spells
    "allow_responses",
    "handshake_first",
    "nats.micro",
    "HTTP_PROXY",
    # subjects and attributes, not keys of the section `rpc`
    "rpc.greet",
    "rpc.method",
    "FAIRLEAD_S_K",  # the scheme of the variables
    "max_file_store",
    "max_pending",
    "pg_dump",
    "python_gc",
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
    "write_deadline",
    "sync_interval",
    "synchronous_commit",
}
SOURCES = (
    ".py",
    ".js",
    ".toml",
    ".yaml",
    ".yml",
    ".conf",
    ".json",
    ".html",
    ".example",
    "Makefile",
    "Dockerfile",
    ".proto",
)
SPAN = re.compile(r"`([^`\n]+)`")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


@cache
def words() -> frozenset[str]:
    """Every word of the tracked sources."""
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    texts = [(ROOT / name).read_text() for name in files.split("\0") if name.endswith(SOURCES)]
    found = {word for text in texts for word in re.findall(r"\w+", text)}
    of_metrics = {re.sub(r"^fairlead_(edge|cluster|sessions)_", "", word) for word in found}
    return frozenset(found | of_metrics)


def is_there(name: str) -> bool:
    """Also the beginning of a family of names, such as `allow_history`, and a counter as Prometheus calls it."""
    return name.removesuffix("_total") in words() or any(word.startswith(f"{name}_") for word in words())


def spans(page: Path) -> set[str]:
    return set(SPAN.findall(FENCE.sub("", page.read_text())))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_identifiers_exist(page):
    quoted = {word for span in spans(page) for word in re.findall(r"(?<![\w/.-])[A-Za-z]\w*_\w+(?![\w/-])", span)}
    ours = {word.rstrip("_") for word in quoted if not word.startswith("fairlead_")} - OF_OTHERS
    assert sorted(word for word in ours if not is_there(word)) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_settings_exist(page):
    sections = {
        name: {key.encode_name for key in msgspec.structs.fields(table)}
        for schema in (EdgeSettings, SessionsSettings, MetricsSettings)
        for name, table in tables_of(schema).items()
    }
    named = re.compile(rf"^({'|'.join(sections)})\.([a-z]\w*)\b(?!\.|/)")
    matches = [match for span in spans(page) - OF_OTHERS if (match := named.match(span))]
    quoted = {match.groups() for match in matches if match[2] not in ("py", "toml")}
    assert sorted(f"{section}.{key}" for section, key in quoted if key not in sections[section]) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_metrics_exist(page):
    series = {name for catalog in CATALOGS.values() for name in catalog}
    named = set(re.findall(r"fairlead_[a-z_]+[a-z]", page.read_text()))
    services = {"fairlead_edge", "fairlead_process", "fairlead_sessions", "fairlead_cluster"}
    of_the_outbox = {*re.findall(r"fairlead_\w+", OUTBOX_SQL), "fairlead_relay"}  # tables, functions; a user
    schemas = {"fairlead_beside"}  # of a rebuild
    shown = {re.sub(r"_(total|bucket|count|sum)$", "", name) for name in named} - services - of_the_outbox - schemas
    assert sorted(shown - series) == []
