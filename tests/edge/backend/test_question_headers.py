"""Which headers a backend over HTTP gets: what its allow-lists name, and nothing that a client could forge."""

from __future__ import annotations

import pytest

from proto.signature import is_signed
from services.edge.arrival import Arrival
from services.edge.backend.backend import Caller
from services.edge.backend.hook_questions import QuestionForm
from services.edge.backend.question_headers import (
    MAX_EMULATED_LENGTH,
    QuestionHeaders,
    emulated,
    form_of,
    wanted,
    wanted_emulated,
)
from services.edge.backend_settings import BackendSettings
from services.edge.rejection import Rejected

URL = "http://127.0.0.1/x"
OF_HTTP = {"User-Agent": "Fairlead/test", "Accept-Encoding": "identity", "Content-Type": "application/json"}


def headers(caller: Caller | None, **settings: object) -> dict[str, str]:
    made = QuestionHeaders(BackendSettings(name="app", url=URL, **settings), OF_HTTP)  # type: ignore[arg-type]
    return made.of(caller, b"{}", 1_796_000_000.5)


def came(**values: str) -> Caller:
    return Caller(arrival=Arrival(headers={name.replace("_", "-"): value for name, value in values.items()}))


def test_without_lists_a_backend_learns_nothing_of_the_request() -> None:
    assert headers(came(cookie="id=1", authorization="Bearer x")) == OF_HTTP
    assert headers(None, http_headers=["Cookie"]) == OF_HTTP


def test_the_headers_of_the_request_that_the_list_names_pass_as_they_came() -> None:
    told = headers(came(cookie="id=1; b=2", user_agent="Firefox", x_other="no"), http_headers=["Cookie", "User-Agent"])
    assert told == OF_HTTP | {"Cookie": "id=1; b=2", "User-Agent": "Firefox"}


def test_bytes_of_a_header_pass_as_they_came_if_they_are_utf_8() -> None:
    assert headers(came(x_name="zoë".encode().decode("latin-1")), http_headers=["X-Name"])["X-Name"] == "zoë"
    assert headers(came(x_name="zo\xeb"), http_headers=["X-Name"])["X-Name"] == "zo\ufffd"


def test_a_header_of_the_request_wins_over_one_that_the_client_wrote_into_its_connect() -> None:
    both = Caller(arrival=Arrival(headers={"authorization": "real"}), emulated={"authorization": "claimed"})
    lists = {"http_headers": ["Authorization"], "emulated_headers": ["Authorization"]}
    assert headers(both, **lists)["Authorization"] == "real"
    claimed = Caller(emulated={"authorization": "claimed"})
    assert headers(claimed, **lists)["Authorization"] == "claimed"
    assert "Authorization" not in headers(claimed, http_headers=["Authorization"])
    assert "Authorization" not in headers(came(authorization="real"), emulated_headers=["Authorization"])


def test_on_nats_there_are_those_of_the_table_alone() -> None:
    table = BackendSettings(name="app", url="nats://", http_headers=["User-Agent"], static_headers={"X-Key": "k"})
    assert QuestionHeaders(table).of(Caller(), b"{}", 0.0) == {"X-Key": "k"}
    assert QuestionHeaders(table).of(came(user_agent="Firefox"), b"{}", 0.0) == {"X-Key": "k", "User-Agent": "Firefox"}


def test_static_headers_and_a_signature_of_the_very_body() -> None:
    secret = "a secret of sixteen or more"
    told = headers(came(), static_headers={"X-Key": "k"}, secret=secret)
    assert told["X-Key"] == "k"
    assert is_signed([secret], told["Fairlead-Signature"], b"{}", 1_796_000_000)
    assert "Fairlead-Signature" not in headers(came())


@pytest.mark.parametrize("value", ["a\r\nX-Admin: 1", "a\nb", "\0", "\x7f", "\x85", "\ud800"])
def test_an_emulated_header_that_would_end_its_line_is_left_out(value: str) -> None:
    assert emulated({"Authorization": value, "X-A": "zoë\t"}, frozenset({"authorization", "x-a"})) == {"x-a": "zoë"}


def test_emulated_headers_are_kept_by_the_list_and_within_bounds() -> None:
    names = frozenset({"authorization", "x-a"})
    assert emulated({"AUTHORIZATION": "b", "Cookie": "c"}, names) == {"authorization": "b"}
    assert emulated({"Authorization": "b"}, frozenset()) == {}
    longest = {"authorization": "x" * MAX_EMULATED_LENGTH, "x-a": ""}
    assert emulated(longest, names) == longest
    with pytest.raises(Rejected, match="the headers of the connect have more than 8192 characters"):
        emulated(longest | {"x-a": "y"}, names)
    assert emulated(longest | {"x-other": "y"}, names) == longest, "only what backends get counts"


def test_what_is_kept_of_clients_is_what_any_backend_gets() -> None:
    a = BackendSettings(name="aa", url=URL, http_headers=["Cookie"], emulated_headers=["X-A"])
    b = BackendSettings(name="bb", url=URL, http_headers=["cookie", "Origin"])
    assert wanted([a, b]) == {"cookie", "origin"} and wanted_emulated([a, b]) == {"x-a"}
    assert wanted([]) == wanted_emulated([]) == frozenset()


def test_the_form_of_the_body_is_the_operator_s() -> None:
    assert form_of(BackendSettings(name="app", url=URL)) == QuestionForm(
        meta=False, headers=False, binary=False, arrival=False
    )
    told = BackendSettings(name="app", url=URL, include_connection_meta=True, binary_encoding=True)
    assert form_of(told) == QuestionForm(meta=True, headers=False, binary=True, arrival=False)
    assert form_of(BackendSettings(name="app", url=URL, include_client_request=True)).arrival
