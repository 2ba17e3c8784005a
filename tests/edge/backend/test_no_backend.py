"""An edge by itself has no backends: it answers as if none were listening."""

from __future__ import annotations

import pytest

from services.edge.backend.backend import BackendAway, BackendError, Caller
from services.edge.backend.no_backend import NoBackend


async def test_nobody_answers_an_rpc_or_a_hook() -> None:
    backend = NoBackend()
    for question in (backend.call("greet", b"{}", Caller(), 1.0), backend.ask("connect", b"{}", None, 1.0)):
        with pytest.raises(BackendAway) as away:
            await question
        assert away.value.no_responders


async def test_a_method_that_no_backend_could_have_is_not_found() -> None:
    with pytest.raises(BackendError) as refused:
        await NoBackend().call("a..b", b"", Caller(), 1.0)
    assert refused.value.code == 104


def test_a_message_without_an_answer_is_dropped() -> None:
    NoBackend().send(b"1", Caller())
