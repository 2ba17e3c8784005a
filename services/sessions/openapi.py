"""The OpenAPI description of the read API, made from the structs of its answers."""

from __future__ import annotations

from typing import Any, Final, get_args

import msgspec

from services.chassis.http.openapi import SCHEMA_REF, document, json_content, operation
from services.sessions.views import Failure, SessionDetail, SessionsPage, SessionState

_ERRORS: Final = {
    "400": "A parameter is invalid.",
    "401": "The API key is missing or unknown, or none is configured.",
    "403": "The scope of the API key is neither `read` nor `all`.",
    "503": "PostgreSQL is unavailable; try again.",
}


def describe(max_limit: int, default_limit: int) -> dict[str, Any]:
    """The description, as OpenAPI 3.1."""
    (page, detail, failure), schemas = msgspec.json.schema_components(
        (SessionsPage, SessionDetail, Failure), ref_template=SCHEMA_REF
    )
    state = _query("state", "Only sessions in this state.", {"type": "string", "enum": list(get_args(SessionState))})
    edge = _query("edge", "Only sessions on the edge of this name, now or at last.", {"type": "string"})
    user = _query("user", "Only sessions of this user; empty for anonymous ones.", {"type": "string"})
    limit = _query(
        "limit",
        "Maximum number of sessions in the answer.",
        {"type": "integer", "minimum": 1, "maximum": max_limit, "default": default_limit},
    )
    cursor = _query("cursor", "`next` of the previous page.", {"type": "string"})
    errors = _responses(_ERRORS, failure)
    paths = {
        "/sessions": {
            "get": operation("List sessions", "listSessions", [state, user, edge, limit, cursor], page, errors)
        },
        "/sessions/{id}": {
            "get": operation(
                "Get a session, by its id or that of one of its connections",
                "getSession",
                [_path("id")],
                detail,
                _responses({**_ERRORS, "404": "There is no such session."}, failure),
            )
        },
        "/users/{user}/sessions": {
            "get": operation(
                "List the sessions of a user",
                "listUserSessions",
                [_path("user"), state, edge, limit, cursor],
                page,
                errors,
            )
        },
    }
    return document(
        "Fairlead sessions",
        "Who is and was connected. Times are in UTC; the newest session comes first.",
        "http_api.key, or one of http_api.keys; also taken as `Authorization: apikey <key>`.",
        paths,
        {
            "schemas": schemas,
            "responses": {"Failure": {"description": "What was wrong.", "content": json_content(failure)}},
        },
    )


def _responses(errors: dict[str, str], failure: dict[str, Any]) -> dict[str, Any]:
    return {code: {"description": text, "content": json_content(failure)} for code, text in sorted(errors.items())}


def _query(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "required": False, "schema": schema}


def _path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
