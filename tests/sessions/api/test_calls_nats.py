"""The read API over NATS: the answers of HTTP, errors included, shared among instances."""

from __future__ import annotations

import json
import time
from typing import Any, cast

import nats
import pytest

from proto.events import Opened
from services.chassis.nats.errors import NatsRefused
from services.chassis.nats.link import NatsLink
from services.sessions.api.calls import Answer, Calls
from services.sessions.api.calls_nats import NatsCalls, parameters_of
from services.sessions.api.model_questions import GOODBYES
from services.sessions.api.parameters import LIMIT, USER, BadParameter
from services.sessions.api.questions import Question
from services.sessions.api.reader_postgres import ReadPool
from tests.sessions.api.serving import all_questions
from tests.sessions.edge_double import EdgeDouble
from tests.sessions.running import ask, metric_of, sessions_of, start
from tests.support.eventually import eventually
from tests.support.processes import Services
from tests.support.servers import NatsServer, Postgres


@pytest.mark.integration
async def test_a_request_is_answered_as_over_http(
    services: Services, nats_server: NatsServer, postgres: Postgres
) -> None:
    one, two = (
        await start(services, nats_server, postgres).ready(),
        await start(services, nats_server, postgres).ready(),
    )
    caller = await nats.connect(nats_server.url)

    async def asked(question: str, body: Any = None, **headers: str) -> Any:
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await caller.request(f"rd.{question}", data, timeout=10, headers=named)

    async with EdgeDouble(nats_server.url, "i1") as edge:
        await edge.write(*(Opened(at=int(time.time() * 1000), connection=f"c{n}", user="ann") for n in range(3)))
        await eventually(lambda: sessions_of(one))
    answer = await asked("sessions", {"user": "ann", "limit": 2})
    assert json.loads(answer.data) == await ask(one, "/sessions", user="ann", limit=2)
    position = answer.headers["Fairlead-Position"]
    assert json.loads((await asked("session", {"id": "c1", "after_position": position})).data)["id"] == "c1"
    tag, session = answer.headers["ETag"], {"user": "ann", "limit": 2}
    again = await asked("sessions", session, If_None_Match=tag)
    kept_since = again.headers.pop("Fairlead-Kept-Since")
    assert kept_since >= answer.headers["Fairlead-Kept-Since"] > "2"
    assert (again.data, again.headers) == (b"", {"Fairlead-Position": position, "ETag": tag}), "nothing has changed"
    assert json.loads((await asked("sessions", {"user": "ann"}, If_None_Match=tag)).data)["sessions"], (
        "another question"
    )
    late = await asked("sessions", session, After_Position="another:1", If_None_Match=tag)
    assert json.loads(late.data)["error"]["code"] == 409 and late.headers == {"Fairlead-Position": position}
    counts = json.loads((await asked("session_counts", {"group": ["edge", "client_name"]})).data)
    assert [each["count"] for each in counts["counts"]] == [3]
    assert json.loads((await asked("versions")).data)["versions"][0]["sessions"] == 3
    for question, body, code, says in (
        ("session", {"id": "nobody"}, 404, "there is no session 'nobody'"),
        ("sessions", {"limit": 0}, 400, "limit: expected a number"),
        ("sessions", {"limit": True}, 400, "limit: expected text, a number, or a list of texts"),
        ("sessions", [1], 400, "expected a JSON object"),
        ("sessions", b"\xff", 400, "expected a JSON object"),
        ("session", {}, 400, "id: expected"),
        ("sessions", {"limit": True}, 400, "limit: expected text"),
        ("nonsense", {}, 404, "expected channel, channels"),
    ):
        error = json.loads((await asked(question, body)).data)["error"]
        assert error["code"] == code and says in error["message"], error
    await caller.close()
    for name, status, times in (
        ("sessions", "200", 2),
        ("sessions", "304", 1),
        ("sessions", "400", 5),
        ("(unknown)", "404", 1),
    ):
        counted = {"question": name, "way": "nats", "status": status}
        both = [await metric_of(each, "fairlead_sessions_questions_total", **counted) for each in (one, two)]
        assert sum(both) == times, counted
    over_http = {"question": "sessions", "way": "http", "status": "200"}
    answered = await metric_of(one, "fairlead_sessions_questions_total", **over_http)
    assert 0 < answered <= await metric_of(one, "fairlead_sessions_question_seconds_count", question="sessions")


class SmallLink:
    """NATS with messages of at most 300 bytes."""

    def __init__(self) -> None:
        self.hear: Any = None
        self.published: list[bytes] = []

    def subscribe(self, subject: str, hear: Any, queue: str) -> int:
        self.hear = hear
        return 1

    def unsubscribe(self, subscription: int) -> None:
        self.hear = None

    def publish(self, subject: str, data: bytes, headers: bytes | None) -> None:
        if len(data) > 300:
            raise NatsRefused("maximum payload")
        self.published.append(data)


class LargeAnswers:
    async def answer(self, question: Question, given: Any, tags: str) -> Answer:
        return Answer(200, b"x" * 301, "e:1")


@pytest.mark.parametrize(
    ("question", "parameter", "says"),
    [
        ("sessions", "limit", "limit: the answer is larger than NATS takes: ask for fewer rows, or ask over HTTP"),
        ("who", "limit", "or ask over HTTP, at /who"),
        ("drops", "from", "from: the answer is larger than NATS takes: shorten the period, or ask over HTTP"),
        ("versions", "from", "or ask over HTTP, at /versions"),
        ("channel", "from", "or ask over HTTP, at /channels/{channel}"),
        ("timeline", None, "the answer is larger than NATS takes: ask over HTTP, at /sessions/{id}/timeline"),
        ("session", None, "ask over HTTP, at /sessions/{id}"),
    ],
)
async def test_an_answer_that_is_too_large_says_what_makes_this_one_smaller(
    question: str, parameter: str | None, says: str
) -> None:
    link = SmallLink()
    questions = all_questions(ReadPool("", 1))
    calls = NatsCalls(cast("NatsLink", link), cast("Calls", LargeAnswers()), questions)
    calls.start()
    link.hear(f"rd.{question}".encode(), b"_INBOX.caller.1", None, b"")
    await eventually(lambda: link.published)
    await calls.stop()
    (error,) = (json.loads(data)["error"] for data in link.published)
    assert (error["code"], error["parameter"]) == (400, parameter) and says in error["message"], error
    (asked,) = (each for each in questions if each.name == question)
    assert parameter is None or parameter in [each.name for each in asked.parameters]


def test_parameters_are_those_of_an_object() -> None:
    assert parameters_of(b"", ()) == [] == parameters_of(b"{}", ())
    assert parameters_of(b'{"limit": 3, "group": ["a", "b"]}', ()) == [("limit", "3"), ("group", "a,b")]
    for wrong in (b"null", b"3", b"{", b"[" * 10_000, b" " * 100_000):
        with pytest.raises(ValueError, match="expected"):
            parameters_of(wrong, ())


@pytest.mark.parametrize(
    ("body", "name", "says"),
    [
        (b'{"limit": true}', "limit", "expected text, a number, or a list of texts"),
        (b'{"user": null}', "user", "expected text, a number, or a list of texts"),
        (b'{"goodbyes": true}', "goodbyes", 'expected "no" or "yes"'),
    ],
)
def test_a_parameter_of_another_type_is_named_with_what_is_meant(body: bytes, name: str, says: str) -> None:
    with pytest.raises(BadParameter, match=says) as raised:
        parameters_of(body, (LIMIT, USER, GOODBYES))
    assert raised.value.parameter == name
