"""The package builds into a distribution of its own, which needs only httpx."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser

from hatchling.builders.wheel import WheelBuilder

from tests.support.source_tree import ROOT

IMPORTED = """
import sys
import fairlead
from fairlead import *
assert fairlead.__file__.startswith(sys.argv[1]), fairlead.__file__
strange = {name.partition(".")[0] for name in sys.modules} & {"proto", "services", "deploy", "nats", "msgspec", "jwt"}
print(sorted(strange))
"""


def test_a_wheel_has_the_package_and_needs_httpx_alone(tmp_path):
    (wheel,) = WheelBuilder(str(ROOT / "fairlead")).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith("/METADATA"))
        archive.extractall(tmp_path / "installed")
    code = sorted(path.name for path in (ROOT / "fairlead").glob("*.py"))
    assert sorted(name for name in names if "dist-info" not in name) == sorted(
        f"fairlead/{name}" for name in (*code, "py.typed")
    )
    assert [name for name in names if name.endswith("/licenses/LICENSE")]
    assert (ROOT / "fairlead/LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    assert "docs/python.md" in metadata, "its page in an index is its README"
    required = Parser().parsestr(metadata).get_all("Requires-Dist")
    assert required is not None
    assert [need for need in required if "extra" not in need] == ["httpx>=0.28"]

    path = str(tmp_path / "installed")
    program = f"import sys; sys.path.insert(0, {path!r}); sys.argv[1:] = [{path!r}]{IMPORTED}"
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, timeout=30)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_it_has_the_version_of_the_services():
    projects = [
        tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"] for folder in (".", "fairlead")
    ]
    assert projects[0]["version"] == projects[1]["version"]
    assert projects[0]["name"] != projects[1]["name"]
