"""A file that a configuration names is read, or the reason why not is reported at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.chassis.process.configured_files import read_configured


def test_a_file_is_read_up_to_so_many_bytes(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"12345")
    assert (read_configured(file, 9), read_configured(file, 3)) == (b"12345", b"123")
    assert read_configured(Path(os.devnull), 9) == b"", "which stands for a file that says nothing"


def test_what_is_no_file_says_so(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, why in ((pipe, "a pipe"), (tmp_path, "directory"), (tmp_path / "none", "No such file")):
        with pytest.raises(OSError) as failed:
            read_configured(path, 9)
        assert why in (failed.value.strerror or "")
    with pytest.raises(ValueError):
        read_configured(Path("a\0b"), 9)
