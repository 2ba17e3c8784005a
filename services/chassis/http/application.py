"""The HTTP application of a service: Starlette, where an address has exactly one form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.routing import BaseRoute
from starlette.types import Lifespan


def make_application(
    routes: Sequence[BaseRoute],
    lifespan: Lifespan[Starlette] | None = None,
    exception_handlers: Mapping[Any, Any] | None = None,
) -> Starlette:
    """An application with these routes.

    By default Starlette answers an address with an extra slash with a redirect. The redirect's target is made from the
    `Host` header, which anybody may choose, and a client that follows it sends a POST's body and key twice. Here the
    answer is 404.
    """
    made = Starlette(routes=routes, lifespan=lifespan, exception_handlers=exception_handlers)
    made.router.redirect_slashes = False
    return made
