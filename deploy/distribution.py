"""Writes the metadata of our distribution into the image's venv, where the processes read their version.

The image's build runs `python distribution.py PYPROJECT VENV`. It replaces an installation of the project, which would
need a build backend; the code itself is imported from the working directory.
"""

import sys
import tomllib
from pathlib import Path


def main(pyproject: Path, venv: Path) -> None:
    project = tomllib.loads(pyproject.read_text())["project"]
    name, version = project["name"], project["version"]
    (packages,) = venv.glob("lib/python3.*/site-packages")
    folder = packages / f"{name}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
