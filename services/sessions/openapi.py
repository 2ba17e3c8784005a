"""The OpenAPI description of the read API, made from the structs that make its answers."""

from __future__ import annotations

from typing import Any, get_args

import msgspec

from services.chassis.process.heartbeat import VERSION
from services.sessions.views import Failure, SessionDetail, SessionsPage, SessionState

_REF = "#/components/schemas/{name}"


def describe(max_limit: int, default_limit: int) -> dict[str, Any]:
    """The description, as OpenAPI 3.1."""
    (page, detail, failure), schemas = msgspec.json.schema_components(
        (SessionsPage, SessionDetail, Failure), ref_template=_REF
    )
    state = _query("state", "Only sessions in this state.", {"type": "string", "enum": list(get_args(SessionState))})
    edge = _query("edge", "Only sessions that are, or were last, on the edge of this name.", {"type": "string"})
    user = _query("user", "Only sessions of this user; empty for anonymous ones.", {"type": "string"})
    limit = _query(
        "limit",
        "Sessions in one answer.",
        {"type": "integer", "minimum": 1, "maximum": max_limit, "default": default_limit},
    )
    cursor = _query("cursor", "`next` of the answer before.", {"type": "string"})
    errors = {"400": "A parameter is not usable.", "401": "The API key is missing or wrong.", "503": "Try again."}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Fairlead sessions",
            "version": VERSION,
            "description": "Who is and was connected. Times are UTC; sessions are listed newest first.",
        },
        "security": [{"key": []}],
        "paths": {
            "/sessions": {
                "get": _operation("List sessions", "listSessions", [state, user, edge, limit, cursor], page, errors)
            },
            "/sessions/{id}": {
                "get": _operation(
                    "One session, by its id or by that of one of its connections",
                    "getSession",
                    [_path("id")],
                    detail,
                    errors | {"404": "There is no such session."},
                )
            },
            "/users/{user}/sessions": {
                "get": _operation(
                    "List sessions of a user",
                    "listUserSessions",
                    [_path("user"), state, edge, limit, cursor],
                    page,
                    errors,
                )
            },
        },
        "components": {
            "schemas": schemas,
            "responses": {"Failure": {"description": "What was wrong.", "content": _content(failure)}},
            "securitySchemes": {
                "key": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "X-API-Key",
                    "description": "http_api.key; also taken as `Authorization: apikey <key>`.",
                }
            },
        },
    }


def _operation(
    summary: str, name: str, parameters: list[dict[str, Any]], answer: dict[str, Any], errors: dict[str, str]
) -> dict[str, Any]:
    failure = {"$ref": "#/components/schemas/Failure"}
    responses: dict[str, Any] = {"200": {"description": summary, "content": _content(answer)}}
    responses |= {code: {"description": text, "content": _content(failure)} for code, text in sorted(errors.items())}
    return {"summary": summary, "operationId": name, "parameters": parameters, "responses": responses}


def _content(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _query(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "required": False, "schema": schema}


def _path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
