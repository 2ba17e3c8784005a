"""A shared shopping list on FastAPI: its session cookie logs in, its code decides, its transactions publish.

    uvicorn fastapi_app:app --port 8080

fairlead.toml beside this file is the edges' configuration; docs/python.md says how to start everything. The views that
Fairlead asks are below "realtime"; each has what any other view has: the session, the database, the permissions.
"""

from __future__ import annotations

import json
import logging
import os
import pathlib
import re
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import asyncpg
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Path, Request, Response
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field, ValidationError
from starlette.middleware.sessions import SessionMiddleware

from fairlead import SIGNATURE_HEADER, AsyncFairlead, BadSignature, FairleadError, verify
from fairlead.events import WebhookBody
from fairlead.hooks import (
    Answer,
    ConnectResult,
    RefreshResult,
    RPCQuestion,
    RPCResult,
    SubscribeQuestion,
    SubscribeResult,
)

log = logging.getLogger(__name__)

FAIRLEAD_URL = os.environ.get("FAIRLEAD_URL", "http://127.0.0.1:8000")
REALTIME = FAIRLEAD_URL.replace("http", "ws", 1) + "/connection/websocket"
API_KEY = os.environ["FAIRLEAD_HTTP_API_KEY"]
HOOK_SECRET = os.environ.get("HOOK_SECRET", "the-example-s-own-secret")
DATABASE_URL = os.environ["DATABASE_URL"]
HERE = pathlib.Path(__file__).resolve().parent
OUTBOX = pathlib.Path(os.environ.get("OUTBOX_SQL", HERE.parents[2] / "services/sessions/outbox/outbox.sql"))
OUTBOX_SQL = OUTBOX.read_text()
ASK_AGAIN_S = float(os.environ.get("ASK_AGAIN_S", "60"))

PASSWORDS = {"alice": "wonderland", "bob": "builder", "carol": "singer"}  # yours are hashed, in a table
MOST_ITEMS = 5
SESSION_ENDED = {"code": 4000, "reason": "session ended"}  # clients connect again; a user still logged in may
TABLES = """
CREATE TABLE IF NOT EXISTS logins (id text PRIMARY KEY, username text NOT NULL, ends_at timestamptz NOT NULL);
CREATE TABLE IF NOT EXISTS lists (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE IF NOT EXISTS members (list_id int REFERENCES lists, username text, PRIMARY KEY (list_id, username));
CREATE TABLE IF NOT EXISTS items (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    list_id int NOT NULL REFERENCES lists,
    text text NOT NULL,
    bought bool NOT NULL DEFAULT false
);
CREATE TABLE IF NOT EXISTS visits (id text PRIMARY KEY, list_id int, username text, ended_at timestamptz);
INSERT INTO lists VALUES (1, 'Party'), (2, 'Surprise for Alice') ON CONFLICT DO NOTHING;
INSERT INTO members VALUES (1, 'alice'), (1, 'bob'), (2, 'bob') ON CONFLICT DO NOTHING;
"""


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    async with (
        asyncpg.create_pool(DATABASE_URL, min_size=1, max_size=10) as pool,
        AsyncFairlead(FAIRLEAD_URL, API_KEY) as fairlead,
    ):
        await pool.execute(OUTBOX_SQL)  # in your application, a migration
        await pool.execute(TABLES)
        yield {"pool": pool, "fairlead": fairlead}


app = FastAPI(lifespan=lifespan)
app.add_middleware(SessionMiddleware, secret_key=os.environ["SESSION_SECRET"])


# --- who may do what: the same for views and for Fairlead ------------------------------------------------------------


async def transaction(request: Request) -> AsyncIterator[asyncpg.Connection]:
    """A connection in a transaction, which an exception of the view rolls back."""
    async with request.state.pool.acquire() as connection, connection.transaction():
        yield connection


Database = Annotated[asyncpg.Connection, Depends(transaction, scope="function")]  # committed before the answer is sent


async def session_user(request: Request, database: Database) -> str:
    """The user of the session, "" without one. A cookie that is only signed would be valid until it expires; the
    row of a session is deleted at logout."""
    query = "SELECT username FROM logins WHERE id = $1 AND ends_at > now()"
    return await database.fetchval(query, request.session.get("login", "")) or ""


async def may_see(database: asyncpg.Connection, user: str, list_id: int) -> bool:
    query = "SELECT EXISTS (SELECT FROM members WHERE list_id = $1 AND username = $2)"
    return await database.fetchval(query, list_id, user)


SessionUser = Annotated[str, Depends(session_user)]
ListId = Annotated[int, Path(ge=1, lt=2**31)]


async def member(list_id: ListId, user: SessionUser, database: Database) -> str:
    """The user of the session, who must be a member of the list."""
    if not await may_see(database, user, list_id):
        raise HTTPException(403, "you are not a member of this list")
    return user


Member = Annotated[str, Depends(member)]


async def publish_with(database: asyncpg.Connection, item: asyncpg.Record) -> None:
    """Publishes an item if the transaction commits, and only then."""
    data = json.dumps({"item": dict(item)})
    await database.execute("SELECT fairlead_publish($1, $2)", f"lists:{item['list_id']}", data)


# --- the application -------------------------------------------------------------------------------------------------


class Login(BaseModel):
    name: str
    password: str


class NewItem(BaseModel):
    text: str = Field(min_length=1, max_length=200)


@app.post("/login", status_code=204)
async def login(request: Request, form: Login, database: Database) -> None:
    if PASSWORDS.get(form.name) != form.password:
        raise HTTPException(400, "wrong name or password")
    request.session["login"] = secrets.token_urlsafe()
    insert = "INSERT INTO logins VALUES ($1, $2, now() + interval '1 day')"
    await database.execute(insert, request.session["login"], form.name)


@app.post("/logout", status_code=204)
async def logout(request: Request) -> None:
    login = request.session.pop("login", "")
    user = await request.state.pool.fetchval("DELETE FROM logins WHERE id = $1 RETURNING username", login)
    if user:
        try:
            await request.state.fairlead.call("disconnect", user=user, disconnect=SESSION_ENDED, repeatable=True)
        except FairleadError:
            log.exception("%s has logged out, and is connected until Fairlead asks again", user)


@app.get("/me")
async def me(user: SessionUser) -> dict[str, Any]:
    return {"user": user or None, "realtime": REALTIME, "list": 1}


@app.get("/lists/{list_id}")
async def items(list_id: ListId, user: Member, database: Database) -> dict[str, Any]:
    name = await database.fetchval("SELECT name FROM lists WHERE id = $1", list_id)
    rows = await database.fetch("SELECT id, text, bought FROM items WHERE list_id = $1 ORDER BY id", list_id)
    visits = "SELECT username, max(ended_at) AS ended_at FROM visits WHERE list_id = $1 GROUP BY username"
    left = [left_at(row["username"], row["ended_at"].timestamp()) for row in await database.fetch(visits, list_id)]
    return {"name": name, "items": [dict(row) for row in rows], "left": left}


def left_at(user: str, at: float) -> dict[str, Any]:
    return {"name": user.title(), "at": at}


@app.post("/lists/{list_id}/items", status_code=204)
async def add(list_id: ListId, new: NewItem, user: Member, database: Database) -> None:
    insert = "INSERT INTO items (list_id, text) VALUES ($1, $2) RETURNING id, list_id, text, bought"
    await publish_with(database, await database.fetchrow(insert, list_id, new.text))
    if await database.fetchval("SELECT count(*) FROM items WHERE list_id = $1", list_id) > MOST_ITEMS:
        raise HTTPException(409, "the list is full")  # rolled back: the item is not published


@app.post("/lists/{list_id}/nudge", status_code=204)
async def nudge(request: Request, list_id: ListId, user: Member) -> None:
    """Publishes to users who are there now: no row, no history."""
    await request.state.fairlead.publish(f"lists:{list_id}", {"nudge": user.title()}, skip_history=True)


# --- realtime: what Fairlead asks ------------------------------------------------------------------------------------


async def from_fairlead(request: Request) -> Any:
    """The question, if its signature is right: a dependency of the views below."""
    body = await request.body()
    try:
        verify(HOOK_SECRET, request.headers.get(SIGNATURE_HEADER), body)
    except BadSignature as error:
        raise HTTPException(401, str(error)) from None
    return json.loads(body)


realtime = APIRouter(prefix="/realtime", dependencies=[Depends(from_fairlead)])
LIST = re.compile(r"lists:([1-9][0-9]{0,8})")


def until_asked_again() -> float:
    """A connection expires after a minute, and Fairlead asks `refresh`: has its session ended?"""
    return time.time() + ASK_AGAIN_S


@realtime.post("/connect", response_model=None)
async def connect(user: SessionUser) -> Answer[ConnectResult]:
    """The cookie came along, so this is the browser's session."""
    if not user:
        return {"disconnect": {"code": 4501, "reason": "log in first"}}
    return {"result": {"user": user, "info": {"name": user.title()}, "expire_at": until_asked_again()}}


@realtime.post("/refresh", response_model=None)
async def refresh(user: SessionUser) -> Answer[RefreshResult]:
    """The cookie is the one of the connect. If its session has ended, the browser connects again with its present
    cookie."""
    if not user:
        return {"result": {"expired": True}}
    return {"result": {"expire_at": until_asked_again()}}


@realtime.post("/subscribe", response_model=None)
async def subscribe(
    question: Annotated[SubscribeQuestion, Depends(from_fairlead)], user: SessionUser, database: Database
) -> Answer[SubscribeResult]:
    found = LIST.fullmatch(question["channel"])
    if found is None or not await may_see(database, user, int(found[1])):
        return {"error": {"code": 103, "message": "permission denied"}}
    return {"result": {}}


class Purchase(BaseModel):
    item: int = Field(ge=1, lt=2**31)


@realtime.post("/rpc", response_model=None)
async def rpc(
    question: Annotated[RPCQuestion, Depends(from_fairlead)], user: SessionUser, database: Database
) -> Answer[RPCResult]:
    if question.get("method") != "buy":
        return {"error": {"code": 104, "message": "method not found"}}
    try:
        purchase = Purchase.model_validate(question.get("data"))  # a client may have sent anything
    except ValidationError:
        return {"error": {"code": 400, "message": 'expected {"item": 17}'}}
    update = (
        "UPDATE items SET bought = true FROM members WHERE id = $1 AND members.list_id = items.list_id"
        " AND username = $2 RETURNING id, items.list_id, text, bought"
    )
    item = await database.fetchrow(update, purchase.item, user)
    if item is None:
        return {"error": {"code": 404, "message": "there is no such item"}}
    await publish_with(database, item)
    return {"result": {}}


@realtime.post("/events", status_code=204)
async def events(body: Annotated[WebhookBody, Depends(from_fairlead)], database: Database) -> None:
    """Webhooks: who has left a list. An event may come again, so its id is the key of the row."""
    insert = (
        "INSERT INTO visits VALUES ($1, $2, $3, to_timestamp($4::float8)) ON CONFLICT (id) DO NOTHING RETURNING true"
    )
    for event in body["events"]:
        if event["type"] == "unsubscribed" and (found := LIST.fullmatch(event["channel"])):
            user, at = event.get("user", ""), event["at"] / 1000
            if await database.fetchval(insert, event["id"], int(found[1]), user, at):
                data = json.dumps({"left": left_at(user, at)})
                await database.execute("SELECT fairlead_publish($1, $2)", event["channel"], data)


app.include_router(realtime)
app.mount("/page", StaticFiles(directory=HERE / "page"))


@app.get("/")
async def index() -> Response:
    return FileResponse(HERE / "page/index.html")
