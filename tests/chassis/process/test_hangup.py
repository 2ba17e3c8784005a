"""SIGHUP never ends a process, not even while it starts."""

from __future__ import annotations

import os
import subprocess
import sys

HANGS_UP = """
import asyncio, os, signal, sys
from services.chassis.process.hangup import HANGUP
HANGUP.hold()
os.kill(os.getpid(), signal.SIGHUP)
print(HANGUP.take(), HANGUP.take())
HANGUP.ignore()
os.kill(os.getpid(), signal.SIGHUP)
print("alive")
"""


def test_sighup_is_remembered_while_a_process_starts_and_ends_it_never() -> None:
    done = subprocess.run([sys.executable, "-c", HANGS_UP], capture_output=True, text=True, timeout=30, env=os.environ)
    assert (done.returncode, done.stdout) == (0, "True False\nalive\n")
