"""The messages in docs/hooks.md are those that an edge sends to a backend, and accepts from it, byte for byte."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, cast

import pytest
from msgspec import Raw

from proto.codes import CloseCode, ErrorCode
from proto.commands import ConnectRequest
from proto.publications import Version
from services.chassis.nats.link import NatsLink
from services.edge.arrival import Arrival
from services.edge.backend import hook_answers, hook_questions, hook_results
from services.edge.backend.backend import BackendError, Caller
from services.edge.backend.backend_nats import NatsBackend
from services.edge.backend.named_backend_nats import NamedNatsBackend
from services.edge.grants import Grant, Override, Switch
from tests.edge.read_settings import read

PAGE: Final = (Path(__file__).resolve().parents[2] / "docs/hooks.md").read_text()

CLIENT: Final = "5f0a6a0e-9d2c-4c1b-8f35-2f1a7f3f8f10"
ALICE: Final = Caller("alice", CLIENT, Raw(b'{"name":"Alice"}'), Raw(b'{"plan":"pro"}'))
ALICE_IN_PROTOBUF: Final = Caller("alice", CLIENT, ALICE.conn_info, ALICE.meta, encoding="protobuf")
ON, OFF = Switch(True), Switch(False)

QUESTIONS: Final = {
    "connect": [
        hook_questions.connect_question(
            Caller(client=CLIENT, arrival=Arrival("203.0.113.7", "https://app.example.com", "Mozilla/5.0")),
            ConnectRequest(data=Raw(b'{"password":"wonderland"}'), name="js", version="5.8.0"),
        )
    ],
    "subscribe": [hook_questions.subscribe_question(ALICE, "chat:lobby", b'{"invite":"k7"}')],
    "publish": [
        hook_questions.publish_question(ALICE, "chat:lobby", b'{"text":"hi"}'),
        hook_questions.publish_question(ALICE_IN_PROTOBUF, "chat:lobby", b"\x01\x02\xff"),
    ],
    "refresh": [hook_questions.refresh_question(ALICE)],
    "sub_refresh": [hook_questions.sub_refresh_question(ALICE, "chat:lobby")],
}

LATER: Final = 1_796_000_000
ANSWERS: Final[dict[str, tuple[Any, list[object]]]] = {
    "connect": (
        hook_answers.connect_answer,
        [
            hook_results.Admitted(
                user="alice",
                expires_at=LATER,
                info=Raw(b'{"name":"Alice"}'),
                data=Raw(b'{"greeting":"hello"}'),
                meta=Raw(b'{"plan":"pro"}'),
                connection_limit=3,
                subs={
                    "news:all": Grant(),
                    "chat:lobby": Grant(
                        Raw(b'{"role":"owner"}'), Raw(b'{"topic":"tea"}'), LATER, Override(presence=OFF)
                    ),
                },
            ),
            hook_results.Refused(ErrorCode(403, "closed for maintenance", True)),
            hook_results.Disconnected(CloseCode(4501, "wrong password")),
            hook_results.Unauthenticated(),
        ],
    ),
    "subscribe": (
        hook_answers.subscribe_answer,
        [
            Grant(Raw(b'{"role":"owner"}'), Raw(b'{"topic":"tea"}'), LATER, Override(ON, ON, ON, ON, OFF)),
            Grant(),
            hook_results.Refused(ErrorCode(103, "permission denied")),
            hook_results.Disconnected(CloseCode(4502, "too many attempts")),
        ],
    ),
    "publish": (
        hook_answers.publish_answer,
        [
            hook_results.Accepted(b'{"text":"hi","by":"alice"}', True, {"kind": "chat"}),
            hook_results.Accepted(b"\x01\x02\xff", key="order-7"),
            hook_results.Accepted(version=Version(17, "2026")),
            hook_results.Accepted(),
            hook_results.Refused(ErrorCode(400, "expected a JSON object")),
            hook_results.Disconnected(CloseCode(4503, "spam")),
        ],
    ),
    "refresh": (
        hook_answers.refresh_answer,
        [
            hook_results.Extended(LATER + 3600, Raw(b'{"name":"Alice"}'), Raw(b'{"plan":"free"}')),
            hook_results.Expired(),
            hook_results.Disconnected(CloseCode(4504, "signed out")),
            hook_results.Refused(ErrorCode(100, "ask again")),
        ],
    ),
    "sub_refresh": (
        hook_answers.refresh_answer,
        [hook_results.Extended(LATER + 3600, Raw(b'{"role":"guest"}')), hook_results.Expired()],
    ),
}


def blocks(heading: str, language: str) -> list[bytes]:
    """The blocks of code below a heading, in order."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [text.encode() for text in re.findall(rf"^```{language}\n(.*?)\n```$", section, re.MULTILINE | re.DOTALL)]


@pytest.mark.parametrize("event", QUESTIONS)
def test_questions_are_as_edges_encode_them(event):
    shown = [block for block in blocks(event, "json") if block.startswith(b'{"client":')]
    assert shown == QUESTIONS[event]


@pytest.mark.parametrize("event", ANSWERS)
def test_answers_mean_what_the_page_says(event):
    decode, meant = ANSWERS[event]
    shown = [block for block in blocks(event, "json") if not block.startswith(b'{"client":')]
    assert [decode(block) for block in shown] == meant


class Link:
    """Replaces the connection to NATS: one answer to everything."""

    def __init__(self, headers: bytes | None = None) -> None:
        self.requested: tuple[str, bytes | None] | None = None
        self._headers = headers

    async def request(
        self, subject: str, data: bytes, headers: bytes | None, timeout_s: float
    ) -> tuple[bytes | None, bytes]:
        self.requested = subject, headers
        return self._headers, b"{}"


def headers_in(heading: str) -> bytes:
    """The block of headers below a heading, as it is on the wire."""
    (block,) = blocks(heading, "text")
    return block.replace(b"\n", b"\r\n") + b"\r\n\r\n"


async def test_headers_of_a_question_are_as_edges_encode_them():
    link = Link()
    zoe = Caller("zoë smith", CLIENT, Raw('{"name":"Zoë"}'.encode()))
    await NatsBackend(cast(NatsLink, link)).call("greet", b"{}", zoe, 1.0)
    assert link.requested == ("rpc.greet", headers_in("How a question arrives over NATS"))


async def test_headers_of_an_answer_tell_the_error_that_the_page_shows():
    backend = NatsBackend(cast(NatsLink, Link(headers_in("RPC"))))
    with pytest.raises(BackendError) as raised:
        await backend.call("order", b"{}", ALICE, 1.0)
    assert raised.value.error == ErrorCode(409, "the order was shipped already", False)


def test_the_example_of_a_backend_over_http_is_a_configuration(tmp_path):
    example = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert example is not None
    settings = read(tmp_path, example[1])
    assert (settings.client.connect_backend, settings.rpc.backend) == ("app", "app")
    assert settings.rpc.namespaces[0].backend == "nats"


def test_the_rpc_over_http_is_as_edges_encode_and_take_it():
    section = PAGE[PAGE.index("\n## Over HTTP\n") : PAGE.index("\n## How to answer a hook\n")]
    question, answer = (block.strip().encode() for block in re.findall(r"```json\n(.*?)```", section, re.DOTALL))
    form = hook_questions.QuestionForm(meta=False)
    assert question == hook_questions.rpc_question(ALICE, "greet", b'{"name":"Bob"}', form)
    assert hook_answers.rpc_answer(answer) == b'{"text":"hello, Bob"}'


async def test_a_question_to_a_table_on_nats_has_the_headers_of_its_example(tmp_path):
    section = PAGE[PAGE.index("\n## Over NATS, with a table\n") :]
    example = re.search(r"```toml\n(.*?)```", section, re.DOTALL)
    assert example is not None
    (app,) = read(tmp_path, example[1]).backends
    link = Link()
    came = Arrival(headers={"cookie": "sessionid=56"})
    alice = Caller(client=CLIENT, arrival=came, emulated={"authorization": "Bearer 7"})
    backend = NamedNatsBackend(cast(NatsLink, link), app, lambda: 1_796_000_000)
    await backend.ask("connect", b"{}", alice, 1.0)
    assert link.requested is not None
    subject, headers = link.requested
    assert subject == "hook.connect" and headers is not None
    signed = re.sub(rb"v1=[0-9a-f]{64}", b'v1=<HMAC-SHA256 of "1796000000." and the body, in hexadecimal>', headers)
    assert signed == headers_in("Over NATS, with a table")
