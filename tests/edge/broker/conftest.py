from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers_native import NativeNats


@pytest.fixture
def native_nats(tmp_path: Path) -> Iterator[NativeNats]:
    """A native server that runs, whatever TEST_BACKEND is: the test limits its store."""
    server = NativeNats(tmp_path / "nats")
    try:
        server.start()
        yield server
    finally:
        server.close()
