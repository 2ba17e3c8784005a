"""The OpenAPI description of the read API, made from its questions and the structs of its answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct

from services.chassis.http.openapi import SCHEMA_REF, document, json_content, operation
from services.sessions.api.calls import AFTER_POSITION
from services.sessions.api.parameters import Parameter
from services.sessions.api.questions import Question
from services.sessions.api.views import Failure

_ERRORS: Final = {
    "400": "A parameter is invalid.",
    "401": "The API key is missing or unknown, or none is configured.",
    "403": "The scope of the API key is neither `read` nor `all`.",
    "409": "`after_position` is of another session log than the rows.",
    "500": "The sessions service failed to answer; its log says why.",
    "503": "PostgreSQL is unavailable or too slow for these filters, or the rows have not reached `after_position`.",
}
_UNCHANGED: Final = {"304": {"description": "The answer is the one whose ETag was sent as If-None-Match."}}


class Other(NamedTuple):
    """A call whose answer is not JSON, but may contain `shapes`."""

    path: str
    name: str
    summary: str
    parameters: Sequence[Parameter]
    content: dict[str, Any]
    shapes: tuple[type[Struct], ...] = ()


def describe(questions: Sequence[Question], others: Sequence[Other] = ()) -> dict[str, Any]:
    """The description, as OpenAPI 3.1."""
    views = list(dict.fromkeys(question.view for question in questions))
    inner = [shape for other in others for shape in other.shapes]
    (failure, *shapes), schemas = msgspec.json.schema_components((Failure, *views, *inner), ref_template=SCHEMA_REF)
    shape_of = dict(zip(views, shapes, strict=False))
    paths = {
        question.described_path: {
            "get": operation(
                question.summary,
                question.name,
                [_parameter(each) for each in (*question.parameters, AFTER_POSITION)],
                shape_of[question.view],
                _responses(question, failure),
            )
        }
        for question in questions
    }
    for other in others:
        said = {**_ERRORS, "429": "The most that may run at a time are running."}
        errors = {code: {"description": text, "content": json_content(failure)} for code, text in sorted(said.items())}
        described = operation(other.summary, other.name, [_parameter(each) for each in other.parameters], {}, errors)
        described["responses"]["200"]["content"] = other.content
        paths[other.path] = {"get": described}
    return document(
        "Fairlead sessions",
        "Who is and was connected. Times are in UTC; the newest comes first. Every answer has an `ETag`, and the "
        "header `Fairlead-Position`: the answer includes the session log up to there. What ended before the time in "
        "the header `Fairlead-Kept-Since` is removed sooner or later (`sessions.keep`): an answer about earlier times "
        "is incomplete. Without this header nothing is removed.",
        "http_api.key, or one of http_api.keys; also taken as `Authorization: apikey <key>`.",
        paths,
        {
            "schemas": schemas,
            "responses": {"Failure": {"description": "What was wrong.", "content": json_content(failure)}},
        },
    )


def _responses(question: Question, failure: dict[str, Any]) -> dict[str, Any]:
    errors = {**_ERRORS, "404": "There is no such thing."} if question.missing else _ERRORS
    said = {code: {"description": text, "content": json_content(failure)} for code, text in sorted(errors.items())}
    return {**_UNCHANGED, **said}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": "path" if parameter.in_path else "query",
        "description": parameter.description,
        "required": parameter.in_path,
        "schema": parameter.schema,
    }
