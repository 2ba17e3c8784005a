"""What `python -m services.edge` does instead of serving: makes a token, or publishes through the edge that runs here.

Both need no more than the edge's own configuration, so that a first try inside a container is one command.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import Final

import msgspec

from services.chassis.process.api_keys import ALL, PUBLISH
from services.chassis.process.launch import Command, argument
from services.edge.settings import EdgeSettings
from services.edge.tokens.minting import mint, parse_ttl, parse_user

_ANSWER_S: Final = 10.0
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class _Error(msgspec.Struct):
    code: int = 0
    message: str = ""


class _Answer(msgspec.Struct):
    """The server API's answer to one call."""

    result: msgspec.Raw = msgspec.Raw(b"{}")
    error: _Error | None = None


def _describe_token(parser: ArgumentParser) -> None:
    parser.add_argument("user", type=argument(parse_user), help="whom the token is for, such as alice")
    parser.add_argument("--ttl", type=argument(parse_ttl), default=3600.0, help="how long it lasts: 90, 15m, 1h")


def _token(settings: EdgeSettings, asked: Namespace) -> None:
    client = settings.client
    if not client.token_hmac_secret_key:
        sys.exit(
            "fairlead-edge: client.token_hmac_secret_key is not set, and this command signs with no other key: "
            "make the token as your backend does"
        )
    sys.stdout.write(
        mint(asked.user, client.token_hmac_secret_key, asked.ttl, client.token_audience, client.token_issuer) + "\n"
    )


def _read_json(text: str) -> msgspec.Raw:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f'expected JSON, such as \'{{"text": "hi"}}\': {error}') from None
    return msgspec.Raw(text.encode())


def _describe_publish(parser: ArgumentParser) -> None:
    parser.add_argument("channel", help="such as chat:lobby")
    parser.add_argument("data", type=argument(_read_json), help='JSON, such as \'{"text": "hi"}\'')


def _publish(settings: EdgeSettings, asked: Namespace) -> None:
    import http.client  # takes a while, which an edge that only serves can do without

    host, port = _EVERYWHERE.get(settings.edge.host, settings.edge.host), settings.edge.port
    body = msgspec.json.encode({"channel": asked.channel, "data": asked.data})
    key = next((each.key for each in settings.http_api.all_keys if each.scope in (ALL, PUBLISH)), None)
    if key is None:
        sys.exit(
            "fairlead-edge: no API key may publish: "
            f"set http_api.key, or a key with the scope {PUBLISH} in http_api.keys"
        )
    connection = http.client.HTTPConnection(host, port, timeout=_ANSWER_S)
    try:
        connection.request("POST", "/api/publish", body, {"X-API-Key": key})
        response = connection.getresponse()
        text = response.read()
    except (OSError, http.client.HTTPException) as error:
        sys.exit(f"fairlead-edge: the edge at {host}:{port} does not answer: {str(error) or type(error).__name__}")
    finally:
        connection.close()
    if response.status != 200:
        sys.exit(f"fairlead-edge: refused with status {response.status}: {text.decode(errors='replace')}")
    try:
        answer = msgspec.json.decode(text, type=_Answer)
    except msgspec.MsgspecError:
        sys.exit(f"fairlead-edge: what answers at {host}:{port} is not an edge")
    if answer.error is not None:
        sys.exit(f"fairlead-edge: refused with error {answer.error.code}: {answer.error.message}")
    sys.stdout.write(f"{bytes(answer.result).decode()}\n")


COMMANDS: Final[Mapping[str, Command[EdgeSettings]]] = {
    "token": Command("make a connection token (JWT) for a user", _token, _describe_token),
    "publish": Command("publish to a channel, through the edge that runs here", _publish, _describe_publish),
}
