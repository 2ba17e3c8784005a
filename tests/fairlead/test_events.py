"""The shapes of webhooks are those that the sessions service sends."""

from __future__ import annotations

import json
import re
from typing import Any, Final, get_args, get_type_hints

import msgspec
import pytest

from fairlead.events import Event, WebhookBody
from services.sessions.webhooks import payload
from tests.support.source_tree import ROOT

PAGE: Final = (ROOT / "docs/events.md").read_text()
BLOCKS: Final = re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SENT: Final = {kind.__struct_config__.tag: kind for kind in get_args(payload.WebhookEvent)}
SHAPES: Final = {get_args(get_type_hints(shape)["type"])[0]: shape for shape in get_args(Event)}


@pytest.mark.parametrize("kind", SENT)
def test_an_event_has_each_field_that_is_sent(kind: str):
    shape = SHAPES[kind]
    assert set(get_type_hints(shape)) == {"type", *SENT[kind].__struct_fields__}
    always = {field.name for field in msgspec.structs.fields(SENT[kind]) if field.required}
    assert set(shape.__required_keys__) == {"type", *always}


def test_the_events_of_the_page_have_these_shapes():
    for line in BLOCKS[1].splitlines():
        event = json.loads(line)
        shape: Any = SHAPES[event["type"]]
        assert msgspec.convert(event, shape) == event


def test_the_body_of_the_page_has_this_shape():
    body = json.loads(BLOCKS[0])
    assert set(body) == set(get_type_hints(WebhookBody))
    assert body["events"][0]["type"] in SHAPES
