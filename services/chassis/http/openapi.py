"""The parts that the OpenAPI descriptions of all our HTTP APIs have in common. A schema is a dict with JSON's names."""

from __future__ import annotations

from typing import Any, Final

from services.chassis.process.heartbeat import VERSION

SCHEMA_REF: Final = "#/components/schemas/{name}"
"""Where `document` puts the schema `name`: for `msgspec.json.schema_components`."""


def document(
    title: str, description: str, key_description: str, paths: dict[str, Any], components: dict[str, Any]
) -> dict[str, Any]:
    """A complete OpenAPI 3.1 description of an API all of whose calls need the API key."""
    key = {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": key_description}
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": VERSION, "description": description},
        "security": [{"key": []}],
        "paths": paths,
        "components": {**components, "securitySchemes": {"key": key}},
    }


def operation(
    summary: str,
    name: str,
    parameters: list[dict[str, Any]],
    answer: dict[str, Any],
    errors: dict[str, Any],
    body: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """One call. `answer` is the schema of the response with status 200, `errors` has its other responses by status, and
    `body` describes its request body."""
    responses = {"200": {"description": summary, "content": json_content(answer)}, **errors}
    of_body = {} if body is None else {"requestBody": body}
    return {"summary": summary, "operationId": name, "parameters": parameters, **of_body, "responses": responses}


def json_content(schema: dict[str, Any]) -> dict[str, Any]:
    """The body of a request or response: JSON of this schema."""
    return {"application/json": {"schema": schema}}
