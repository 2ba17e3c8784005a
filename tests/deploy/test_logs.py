"""The merged log loses no line: not at a rotation, not in the middle of a line, not the last ones before the end."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from deploy.local import logs
from deploy.local.settings import Folders


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders(tmp_path)
    made.logs.mkdir(parents=True)
    return made


def write(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def follow(folders: Folders, steps: Iterable[Callable[[], object]], since: dict[Path, int] | None = None) -> list[str]:
    """The lines that are shown when one step happens before each read."""
    out, ahead = io.StringIO(), list(steps)

    def go_on() -> bool:
        ahead.pop(0)()
        return bool(ahead)

    logs.follow(folders, since or {}, out, False, go_on)
    return out.getvalue().splitlines()


def test_each_line_names_the_process_that_wrote_it(folders: Folders) -> None:
    def two_processes() -> None:
        write(folders.logs / "edge-1.log", "ready\n")
        write(folders.logs / "nats.log", "listening\n")

    assert follow(folders, [two_processes]) == ["edge-1      | ready", "nats        | listening"]


def test_a_line_written_in_two_pieces_is_one_line(folders: Folders) -> None:
    log = folders.logs / "edge-1.log"
    shown = follow(folders, [lambda: write(log, "half a "), lambda: write(log, "line\n")])
    assert shown == ["edge-1      | half a line"]


def test_lines_from_before_the_start_are_left_out(folders: Folders) -> None:
    log = folders.logs / "edge-1.log"
    write(log, "of yesterday\n")
    shown = follow(folders, [lambda: write(log, "of today\n")], logs.sizes(folders))
    assert shown == ["edge-1      | of today"]


def test_after_a_rotation_reading_continues_in_the_new_file(folders: Folders) -> None:
    log = folders.logs / "edge-1.log"

    def rotate() -> None:
        write(log, "the last one\n")
        log.rename(log.with_suffix(".log.1"))
        write(log, "after, and longer than before\n")

    shown = follow(folders, [lambda: write(log, "before\n"), rotate])
    assert shown == [
        "edge-1      | before",
        "edge-1      | the last one",
        "edge-1      | after, and longer than before",
    ]


def test_bytes_that_are_not_text_do_no_harm(folders: Folders) -> None:
    log = folders.logs / "edge-1.log"
    assert follow(folders, [lambda: log.write_bytes(b"\xff\xfe\n")]) == ["edge-1      | \ufffd\ufffd"]
