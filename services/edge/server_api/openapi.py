"""The OpenAPI description of the server API, made from the structs of its calls and answers.

`docs/openapi.json` holds it; `python -m services.edge.server_api.openapi > docs/openapi.json` writes it.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import msgspec

from services.chassis.http.openapi import SCHEMA_REF, document, json_content, operation
from services.chassis.process.api_keys import ALL
from services.edge.server_api.answers import BATCH, METHODS, BatchAnswer, Failure, Problem
from services.edge.server_api.calls import OldCall

ERROR_MODE: Final = "X-Centrifugo-Error-Mode"
TRANSPORT: Final = "transport"
STATUSES: Final = {100: 500, 102: 404, 103: 403, 104: 404, 106: 413, 107: 400, 108: 400, 111: 429, 112: 416, 113: 409}
"""The status of each error in this mode: Centrifugo's status, or our own for errors that Centrifugo does not have."""
OTHER_ERROR_STATUS: Final = 500
"""Centrifugo's status for unknown errors, such as a backend's own error in the answer to an RPC."""

_ERRORS = {
    "400": "The body is not JSON of the method's shape. In the error mode `transport`: error 107 or 108.",
    "401": "The API key is missing or unknown, or none is configured.",
    "403": "The scope of the API key does not reach the method. In the error mode `transport`: also error 103.",
    "404": "The method does not exist. In the error mode `transport`: error 102 or 104.",
    "409": "In the error mode `transport`: error 113.",
    "413": "The body is too large. In the error mode `transport`: error 106.",
    "416": "In the error mode `transport`: error 112.",
    "429": "In the error mode `transport`: error 111.",
    "500": "In the error mode `transport`: error 100, or a backend's own error.",
}
_DESCRIPTION = """\
Shapes are Centrifugo's, so its API libraries work unmodified. Every answer with status 200 has `result` or `error` (a
batch: `replies`). It is the same over NATS: a request to a method's subject has the same body and the same answer."""


def describe() -> dict[str, Any]:
    """The description, as OpenAPI 3.1."""
    types = [each for method in METHODS.values() for each in (method.call, method.answer)]
    refs, schemas = msgspec.json.schema_components([*types, OldCall, Failure, Problem], ref_template=SCHEMA_REF)
    old, failure, problem = refs[len(types) :]
    calls = [*(method.call for method in METHODS.values()), OldCall]
    for name in msgspec.json.schema_components(calls, ref_template=SCHEMA_REF)[1]:
        _allow_null(schemas[name])
    paths: dict[str, Any] = {}
    for place, (name, method) in enumerate(METHODS.items()):
        call, answer = refs[2 * place], refs[2 * place + 1]
        done = answer if method.answer is BatchAnswer else _wrapped(answer)
        needed = bool(schemas[method.call.__name__]["required"])
        path = _operation(name, method.summary, call, needed, {"anyOf": [done, failure]})
        paths[f"/api/{name}"] = {"post": {"description": _scopes(name, method.scope), **path}}
    old_call = _operation("call", "Any method, for old clients", old, True, {"type": "object"})
    paths["/api"] = {"post": {"deprecated": True, **old_call}}
    either = json_content({"anyOf": [failure, problem]})
    error_mode = {
        "name": ERROR_MODE,
        "in": "header",
        "required": False,
        "description": "An error is the whole body, with a status of its own.",
        "schema": {"type": "string", "enum": [TRANSPORT]},
    }
    return document(
        "Fairlead server API",
        _DESCRIPTION,
        "http_api.key, or one of http_api.keys; also taken as `Authorization: apikey <key>` and as `?api_key=<key>`.",
        paths,
        {
            "schemas": schemas,
            "responses": {status: {"description": text, "content": either} for status, text in _ERRORS.items()},
            "parameters": {"ErrorMode": error_mode},
        },
    )


def _scopes(name: str, scope: str) -> str:
    if name == BATCH:
        return "Needs an API key that reaches each of its commands."
    return "Needs an API key of the scope " + (f"`{scope}`." if scope == ALL else f"`{scope}` or `{ALL}`.")


def _allow_null(schema: dict[str, Any]) -> None:
    """Null is the same as leaving out an optional field."""
    for name, field in schema["properties"].items():
        if name in schema["required"]:
            continue
        if "type" in field:
            field["type"] = [field["type"], "null"]
        elif "anyOf" in field:
            field["anyOf"] = [*(each for each in field["anyOf"] if each != {"type": "null"}), {"type": "null"}]


def _wrapped(answer: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"result": answer},
        "required": ["result"],
        "additionalProperties": False,
    }


def _operation(
    name: str, summary: str, call: dict[str, Any], needs_body: bool, answer: dict[str, Any]
) -> dict[str, Any]:
    errors = {status: {"$ref": f"#/components/responses/{status}"} for status in _ERRORS}
    body = {"required": needs_body, "content": json_content(call)}
    return operation(summary, name, [{"$ref": "#/components/parameters/ErrorMode"}], answer, errors, body)


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(describe()), indent=1) + b"\n")
