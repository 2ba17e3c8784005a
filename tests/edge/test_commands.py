"""What `token` and `publish` say where the edge's settings let them do nothing: each says what to do instead."""

from __future__ import annotations

import threading
from argparse import Namespace
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import msgspec
import pytest

from services.edge.commands import COMMANDS
from services.edge.settings import EdgeSettings
from tests.edge.read_settings import SECRET, read

KEY_OF_ITS_OWN = SECRET | {"FAIRLEAD_HTTP_API_KEY": "key"}
PUBLICATION = Namespace(channel="room:x", data=msgspec.Raw(b"1"))


class _Page(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def website() -> Iterator[int]:
    """The port of a server that is no edge."""
    with HTTPServer(("127.0.0.1", 0), _Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def said(name: str, arguments: Namespace, settings: EdgeSettings) -> str:
    with pytest.raises(SystemExit) as ended:
        COMMANDS[name].run(settings, arguments)
    return str(ended.value.code)


def test_without_the_secret_key_a_token_is_the_backends_to_make(tmp_path: Path) -> None:
    key = '[[client.token_keys]]\nalgorithm = "HS256"\nkid = "new"\nsecret = "a secret of the tests, longer"\n'
    answer = said("token", Namespace(user="alice", ttl=60.0), read(tmp_path, key, {}))
    assert "client.token_hmac_secret_key is not set, and this command signs with no other key" in answer


@pytest.mark.parametrize("toml", ["", '[[http_api.keys]]\nname = "dashboard"\nkey = "key"\nscope = "read"\n'])
def test_without_a_key_that_may_publish_it_names_what_to_set(tmp_path: Path, toml: str) -> None:
    answer = said("publish", PUBLICATION, read(tmp_path, toml))
    assert "set http_api.key, or a key with the scope publish in http_api.keys" in answer


def test_another_server_at_the_edges_port_is_said(tmp_path: Path, website: int) -> None:
    settings = read(tmp_path, environ=KEY_OF_ITS_OWN | {"FAIRLEAD_EDGE_PORT": str(website)})
    assert (
        said("publish", PUBLICATION, settings) == f"fairlead-edge: what answers at 127.0.0.1:{website} is not an edge"
    )
