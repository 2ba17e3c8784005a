"""The report names each option, and is short enough to be read."""

from __future__ import annotations

from services.edge.moving.report import Line, Verdict, report


def gone(says: str, *options: str) -> list[Line]:
    return [Line(option, Verdict.NOT_THERE, says=says) for option in options]


def test_a_table_of_which_one_thing_is_said_is_one_line() -> None:
    lines = [
        *gone("no gRPC", "grpc.port", "grpc.tls.key", "grpc.tls.cert", "client.grpc"),
        Line("client.pong", Verdict.SAME),
        *gone("files only", "tls.pem", "tls.name"),
    ]
    assert list(report(lines)) == [
        "same (1)",
        "  client.pong",
        "not there (6)",
        "  no gRPC:",
        "    grpc.* (3 options)",
        "    client.grpc",
        "  tls.* (2 options): files only",
    ]


def test_a_table_with_another_verdict_in_it_is_named_option_by_option() -> None:
    lines = [*gone("no", "a.b.x", "a.b.y"), Line("a.c", Verdict.RENAMED, "c")]
    assert list(report(lines)) == ["renamed (1)", "  a.c -> c", "not there (2)", "  a.b.* (2 options): no"]


def test_a_dot_in_a_name_is_a_part_of_it() -> None:
    lines = gone("no", "channel.namespaces[a.b].map.mode", "channel.namespaces[a.b].map.ttl")
    lines.append(Line("channel.namespaces[a.b].name", Verdict.SAME))
    assert "  channel.namespaces[a.b].map.* (2 options): no" in list(report(lines))
