"""The shapes are those of docs/hooks.md, whose messages an edge sends and accepts, with every field that it reads."""

from __future__ import annotations

import json
import re
from typing import Any, Final, get_type_hints

import msgspec
import pytest

from fairlead import hooks
from services.edge.backend import hook_answers, hook_questions
from services.edge.grants import Override
from tests.support.source_tree import ROOT

PAGE: Final = (ROOT / "docs/hooks.md").read_text()
SHAPES: Final[dict[str, tuple[Any, Any]]] = {
    "connect": (hooks.ConnectQuestion, hooks.Answer[hooks.ConnectResult]),
    "subscribe": (hooks.SubscribeQuestion, hooks.Answer[hooks.SubscribeResult]),
    "publish": (hooks.PublishQuestion, hooks.Answer[hooks.PublishResult]),
    "refresh": (hooks.RefreshQuestion, hooks.Answer[hooks.RefreshResult]),
    "sub_refresh": (hooks.SubRefreshQuestion, hooks.Answer[hooks.RefreshResult]),
    "Over HTTP": (hooks.RPCQuestion, hooks.Answer[hooks.RPCResult]),
}
NOT_OFFERED: Final = {"server_tags_filter"}  # an answer that has it is a bad one


@pytest.mark.parametrize("section", SHAPES)
def test_the_messages_of_the_page_have_these_shapes(section: str):
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    messages = [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)]
    question, answer = SHAPES[section]
    assert any("client" in message for message in messages)
    for message in messages:
        shape = question if "client" in message else answer
        assert msgspec.convert(message, shape) == message, "a field of it is not in the shape"


@pytest.mark.parametrize(
    ("shape", "read"),
    [
        (hooks.ConnectResult, hook_answers._ConnectResult),
        (hooks.SubscribeResult, hook_answers._SubscribeResult),
        (hooks.PublishResult, hook_answers._PublishResult),
        (hooks.RefreshResult, hook_answers._RefreshResult),
        (hooks.RPCResult, hook_answers._RPCResult),
        (hooks.Error, hook_answers._Error),
        (hooks.Disconnect, hook_answers._Disconnect),
        (hooks.Answer, hook_answers._Answer),
        (hooks.Override, Override),
    ],
)
def test_an_answer_may_have_each_field_that_an_edge_reads(shape: Any, read: Any):
    assert set(get_type_hints(shape)) == set(read.__struct_fields__) - NOT_OFFERED


def test_the_questions_have_each_field_that_an_edge_writes():
    fields = {field for question, _ in SHAPES.values() for field in get_type_hints(question)}
    assert fields == set(hook_questions._Question.__struct_fields__)
