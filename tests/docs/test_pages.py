"""Examples in the pages work, and their links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from services.edge.configuration import from_environ

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "perf/README.md"])
PAGES = [page for page in PAGES if "node_modules" not in page.parts]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(language: str) -> list[Any]:
    """Every block of code in this language, as parameters of a test."""
    found = [(page, text) for page in PAGES for kind, text in FENCE.findall(page.read_text()) if kind == language]
    return [pytest.param(text, id=f"{name_of(page)}-{number}") for number, (page, text) in enumerate(found)]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    text = FENCE.sub("", page.read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        leads_to = (page.parent / path).resolve() if path else page
        assert leads_to.exists(), target
        if anchor:
            assert anchor in anchors(leads_to), target


@pytest.mark.parametrize("text", blocks("toml"))
def test_configurations_are_taken(text, tmp_path):
    file = tmp_path / "fairlead.toml"
    file.write_text(text)
    from_environ({"FAIRLEAD_CONFIG": str(file), "FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY": "x" * 32})


@pytest.mark.parametrize("text", blocks("python"))
def test_python_is_python(text):
    compile(text, "page", "exec", flags=0x2000)  # ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_modules_that_are_named_exist(page):
    named = re.findall(r"`((?:\w+/)*\w+\.py)`", page.read_text())
    roots = (
        "",
        "docs/",
        "docs/examples/",
        "services/",
        "services/edge/",
        *(f"services/edge/{part.name}/" for part in (ROOT / "services/edge").iterdir() if part.is_dir()),
        "services/chassis/",
        "services/sessions/",
        "proto/",
    )
    assert [name for name in named if not any((ROOT / root / name).exists() for root in roots)] == []


def test_every_module_of_the_edge_has_its_place_in_the_architecture():
    rows = re.findall(r"^\|.*\|$", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([a-z_]+\*?)`", row)}
    modules = {path.stem for path in (ROOT / "services/edge").rglob("[!_]*.py") if not path.stem.endswith("_memory")}
    assert sorted(modules - named) == []


def test_every_example_is_run_by_a_test():
    """Its file is named in one, or its folder, where several files are one example."""
    examples = [path for path in (ROOT / "docs/examples").rglob("*.py") if "node_modules" not in path.parts]
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert examples
    folder = ROOT / "docs/examples"
    wholes = [path for path in folder.iterdir() if path.is_dir() and f'"{path.relative_to(ROOT).as_posix()}"' in tests]
    alone = [path for path in examples if not any(path.is_relative_to(whole) for whole in wholes)]
    assert [path.name for path in alone if path.relative_to(ROOT).as_posix() not in tests] == []
