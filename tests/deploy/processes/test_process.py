"""A process is started again, waited for, stopped or killed, and its log tells why it did not get ready."""

from __future__ import annotations

import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from deploy.processes.process import Process, ProcessError, Program, tail
from tests.support.eventually import wait_until

HANGS = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('hangs', flush=True); signal.pause()"
WAITS = "import signal; print('waits', flush=True); signal.pause()"


def python(tmp_path: Path, code: str, own_group: bool = False, **environment: str) -> Process:
    program = Program("it", [sys.executable, "-c", code], environment)
    return Process(program, tmp_path / "log", own_group=own_group)


def has_written(process: Process, text: str) -> None:
    wait_until(lambda: text in process.log_text(), f"its log has {text!r}")


def test_its_output_is_in_the_log_which_a_second_start_continues(tmp_path: Path) -> None:
    process = python(tmp_path, "import os; print(os.environ['SAID'])", SAID="hello")
    for _ in range(2):
        process.start()
        assert process.wait(20) == 0
    assert process.log_text() == "hello\nhello\n"
    assert (process.is_running, process.exit_code) == (False, 0)


def test_it_is_ready_when_the_check_says_so(tmp_path: Path) -> None:
    process = python(tmp_path, WAITS)
    process.start()
    assert process.wait_until_ready(lambda: "waits" in process.log_text(), within_s=20) > 0
    assert process.stop(20) == -signal.SIGTERM


def test_an_early_end_is_an_error_at_once_with_the_last_lines_of_the_log(tmp_path: Path) -> None:
    process = python(tmp_path, "raise SystemExit('no such port')")
    process.start()
    with pytest.raises(ProcessError, match=r"(?s)it ended with exit code 1.*no such port"):
        process.wait_until_ready(lambda: False, within_s=60)


def test_a_process_that_does_not_get_ready_is_an_error_with_its_log(tmp_path: Path) -> None:
    process = python(tmp_path, WAITS)
    process.start()
    has_written(process, "waits")
    with pytest.raises(ProcessError, match=r"(?s)it was not ready within 0 s.*waits"):
        process.wait_until_ready(lambda: False, within_s=0.01)
    process.end(20)


def test_a_process_that_ignores_its_signal_is_killed(tmp_path: Path) -> None:
    process = python(tmp_path, HANGS)
    process.start()
    has_written(process, "hangs")
    assert process.stop(0.05) is None
    assert process.is_running
    process.end(0.05)
    assert process.exit_code == -signal.SIGKILL


def test_the_end_is_seen_when_it_comes(tmp_path: Path) -> None:
    process = python(tmp_path, WAITS)
    process.start()
    has_written(process, "waits")
    process.send_signal(signal.SIGKILL)
    began = time.monotonic()
    assert process.wait(60) == -signal.SIGKILL
    assert time.monotonic() - began < 30


def test_two_threads_may_wait_for_the_same_end(tmp_path: Path) -> None:
    process = python(tmp_path, WAITS)
    with ThreadPoolExecutor(16) as threads:
        for _ in range(20):
            process.start()
            has_written(process, "waits")
            process.log.unlink()
            ends = [threads.submit(process.wait, 20) for _ in range(16)]
            process.send_signal(signal.SIGTERM)
            assert {end.result() for end in ends} == {-signal.SIGTERM}


def test_with_a_group_of_its_own_its_children_are_killed_too(tmp_path: Path) -> None:
    code = (
        f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {WAITS!r}]).pid, flush=True); {WAITS}"
    )
    process = python(tmp_path, code, own_group=True)
    process.start()
    wait_until(lambda: process.log_text().count("waits") == 2, "both wait")
    child = psutil.Process(next(int(line) for line in process.log_text().splitlines() if line.isdigit()))
    process.kill()
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the child's end")


def test_a_process_that_was_not_started_has_no_id_and_needs_no_end(tmp_path: Path) -> None:
    process = python(tmp_path, WAITS)
    with pytest.raises(ProcessError, match="was not started"):
        _ = process.pid
    assert (process.is_running, process.exit_code, process.stop(1)) == (False, None, None)
    process.kill()


def test_the_tail_of_a_log_begins_with_the_run(tmp_path: Path) -> None:
    log = tmp_path / "edge-1.log"
    log.write_text("old\n")
    since = log.stat().st_size
    with log.open("a") as file:
        file.write("".join(f"{number}\n" for number in range(30)))
    assert tail(log, 3, since) == ["27", "28", "29"]
    assert tail(log, 100, since) == [str(number) for number in range(30)]
    assert tail(tmp_path / "none.log", 3) == []
