"""Whether Traefik can serve a certificate, as its keeper and an operator ask."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deploy.traefik.tls import CertificateUnusable, check
from tests.support.certificates import Authority
from tests.support.source_tree import ROOT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A certificate and its key, which can be served."""
    for made, name in zip(Authority(tmp_path / "made").certificate("fairlead"), ("tls.crt", "tls.key"), strict=True):
        made.rename(tmp_path / name)
    return tmp_path


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)


def test_a_certificate_with_its_key_can_be_served(folder: Path) -> None:
    check(folder)
    assert run("deploy.traefik.tls", str(folder)).returncode == 0


def test_a_file_that_cannot_be_read_is_named(folder: Path) -> None:
    (folder / "tls.key").unlink()
    with pytest.raises(CertificateUnusable, match=r"tls\.key: No such file or directory; user \d+ must be able"):
        check(folder)
    (folder / "tls.key").mkdir()
    with pytest.raises(CertificateUnusable, match=r"tls\.key: Is a directory"):
        check(folder)


def test_a_key_of_another_certificate_and_what_is_none_are_refused(folder: Path) -> None:
    for key in (Authority(folder / "other").certificate("other")[1].read_text(), "-----", ""):
        (folder / "tls.key").write_text(key)
        with pytest.raises(CertificateUnusable, match=r"tls\.key is not the key of \S+tls\.crt, or"):
            check(folder)
    asked = run("deploy.traefik.tls", str(folder))
    assert asked.returncode == 1 and "is not the key of" in asked.stderr and "Traceback" not in asked.stderr


@pytest.mark.parametrize(
    ("value", "code", "said"),
    [("true", 1, "tls.crt: No such file or directory"), ("1", 2, 'expected true or false (TLS in .env), got "1"')],
)
def test_without_a_certificate_traefik_is_not_started(tmp_path: Path, value: str, code: int, said: str) -> None:
    arguments = [f"--tls={value}", f"--certificates={tmp_path}", "--ready=http://127.0.0.1:1/ping", "--", "sleep", "60"]
    ended = run("deploy.traefik", *arguments)
    assert ended.returncode == code and said in ended.stderr and "Traceback" not in ended.stderr
