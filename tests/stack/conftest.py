from __future__ import annotations

import pytest

from tests.stack.image import build


@pytest.fixture(scope="session")
def image() -> str:
    """The name of the image, built of this checkout."""
    return build()
