"""Receives webhooks with the standard library alone: it checks the signature, and prints each event once.

    WEBHOOK_SECRET=... .venv/bin/python docs/examples/webhook_receiver.py [PORT]

docs/events.md describes the events, and what they promise.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRETS = os.environ["WEBHOOK_SECRET"].split()  # two, separated by a space, while you replace one
PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 9000

seen: set[str] = set()  # in an application: a unique column of its database, written in the transaction of the event
one_at_a_time = threading.Lock()


def is_signed(signature: str, body: bytes) -> bool:
    """`signature` is "t=<Unix seconds>,v1=<HMAC-SHA256 of "t.body", in hexadecimal>"."""
    at, _, digest = signature.removeprefix("t=").partition(",v1=")
    expected = [hmac.new(one.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest() for one in SECRETS]
    known = any(hmac.compare_digest(digest.encode(), one.encode()) for one in expected)
    return known and abs(time.time() - int(at)) < 300


class Webhook(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps the connection open for the next request

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        signed = is_signed(self.headers.get("Fairlead-Signature", ""), body)
        for event in json.loads(body)["events"] if signed else ():
            with one_at_a_time:
                if event["id"] not in seen:
                    seen.add(event["id"])
                    print(event["type"], event.get("user", ""), event.get("channel", ""), flush=True)
        self.send_response(204 if signed else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Prints no line for each request."""


if __name__ == "__main__":
    # A thread for each connection: a replayed dead letter comes over another connection than new events.
    ThreadingHTTPServer(("127.0.0.1", PORT), Webhook).serve_forever()
