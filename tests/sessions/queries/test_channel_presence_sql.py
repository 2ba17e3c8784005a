from __future__ import annotations

from services.sessions.queries.channel_presence_sql import IN_CHANNEL, present_in_channel


def test_its_values_are_those_that_are_given() -> None:
    assert IN_CHANNEL.replace("$1", "then").replace("$2", "an_edge").replace("$3", "news").replace(
        "$4", "since"
    ) == present_in_channel("then", "an_edge", "news", "since")
    assert "$" not in present_in_channel("then", "NULL", "news", "since", "s.*")
