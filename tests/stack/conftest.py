from __future__ import annotations

import pytest

from tests.stack.image import TRAEFIK_IMAGE, build


@pytest.fixture(scope="session")
def image() -> str:
    """The name of the image, built of this checkout."""
    return build()


@pytest.fixture(scope="session")
def traefik_image() -> str:
    """The same for Traefik's."""
    return build(TRAEFIK_IMAGE, "--target", "traefik")
