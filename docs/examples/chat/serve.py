"""Serves the chat page, and the tokens that its visitors connect with: run `make up`, then this.

    .venv/bin/python docs/examples/chat/serve.py [--port 8080] [--address ws://127.0.0.1:8000/connection/websocket]

The page loads the stock JavaScript client as npm installs it; `make test` does that too:

    PATH="$PWD/.venv/bin:$PATH" npm install --no-package-lock --prefix docs/examples/chat

Open http://127.0.0.1:8080 in two windows. Every visitor gets a token under any name, which is fine on a machine of your
own; a real backend gives tokens to users who have signed in, under the name that it knows. Edges accept pages whose
origin is in `client.allowed_origins`: the local stack accepts every origin, name yours in production.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import jwt
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
SECRETS = ROOT / ".fairlead" / "secrets.env"
SDK = "node_modules/centrifuge/dist/centrifuge.js"  # as npm installs it
TOKEN_TTL_S = 600  # the client asks for a new one in time
MAX_NAME_LENGTH = 32


def token(user: str, secret: str) -> str:
    """A connection token for `user`."""
    return jwt.encode({"sub": user, "exp": int(time.time()) + TOKEN_TTL_S}, secret, algorithm="HS256")


def application(secret: str, sdk: Path, address: str) -> Starlette:
    """`address` is where the page's clients connect to."""
    server = urlsplit(address)
    policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; base-uri 'none'; "
    policy += f"form-action 'none'; frame-ancestors 'none'; connect-src 'self' {server.scheme}://{server.netloc}"
    headers = {"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}

    def file(path: str, served: Path) -> Route:
        async def answer(request: Request) -> Response:
            return FileResponse(served, headers=headers)

        return Route(path, answer)

    async def give_token(request: Request) -> Response:
        user = request.query_params.get("user", "").strip()
        if not 0 < len(user) <= MAX_NAME_LENGTH:
            return JSONResponse({"error": f"expected a name of 1 to {MAX_NAME_LENGTH} characters"}, 400, headers)
        return JSONResponse({"token": token(user, secret), "address": address}, headers=headers)

    pages = {"/": "index.html", "/chat.js": "chat.js", "/chat.css": "chat.css"}
    return Starlette(
        routes=[
            *(file(path, HERE / name) for path, name in pages.items()),
            file("/centrifuge.js", sdk),
            Route("/token", give_token),
        ],
        # Another site must not reach the tokens through a host name that resolves to this machine (DNS rebinding).
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Serves the chat page on 127.0.0.1.")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--address", default="ws://127.0.0.1:8000/connection/websocket", help="where clients connect")
    options = parser.parse_args()
    if not SECRETS.exists():
        sys.exit(f"{SECRETS} is not there: run `make up` first")
    lines = dict(line.split("=", 1) for line in SECRETS.read_text().splitlines() if "=" in line and line[0] != "#")
    sdk = next((folder / SDK for folder in (HERE, ROOT / "tests/js") if (folder / SDK).exists()), None)
    if sdk is None:
        sys.exit("the JavaScript client is missing: the first lines of this file say how to install it")
    print(f"the chat is at http://127.0.0.1:{options.port} (Ctrl-C ends it)", flush=True)
    secret = lines["FAIRLEAD_CLIENT_TOKEN_HMAC_SECRET_KEY"].strip()
    uvicorn.run(application(secret, sdk, options.address), host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
