"""The server API, and the HTTP side of an edge, as backends and strangers meet it."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from tests.support.edges import API_KEY, api, connected, start_edge, wire_client
from tests.support.eventually import eventually
from tests.support.plain_http import http_client

pytestmark = [pytest.mark.integration, pytest.mark.once]


async def test_a_backend_publishes_to_subscribers_of_every_edge(shared_pair, x):
    a, b = shared_pair
    async with connected(b) as reader:
        await reader.subscribe(f"chat:{x}")
        await reader.subscribe(f"live:{x}")
        stored = (await api(a, "publish", {"channel": f"chat:{x}", "data": {"n": 1}, "tags": {"k": "v"}})).json()
        push = await reader.push(f"chat:{x}")
        assert push["pub"] == {"data": {"n": 1}, "offset": stored["result"]["offset"], "tags": {"k": "v"}}
        assert stored["result"]["epoch"]
        assert (await api(a, "publish", {"channel": f"live:{x}", "data": "now"})).json() == {"result": {}}
        assert await reader.publications(f"live:{x}", 1) == ["now"]


async def test_payload_bytes_arrive_as_they_were_sent_but_for_line_breaks(shared_pair, x):
    a, b = shared_pair
    async with connected(b) as reader, http_client() as http:
        await reader.subscribe(f"chat:{x}")
        body = f'{{"channel":"chat:{x}","data":{{\n  "big": 12345678901234567890.10,\r\n "text": "a\\nb"\n}}}}'
        await http.post(f"{a.url}/api/publish", content=body, headers={"X-API-Key": API_KEY})
        frame = await reader.socket.recv()
        assert '"data":{  "big": 12345678901234567890.10, "text": "a\\nb"},' in frame


async def test_an_idempotency_key_stores_once_across_edges(shared_pair, x):
    a, b = shared_pair
    call = {"channel": f"chat:{x}", "data": 1, "idempotency_key": "order 7\r\nX: y"}
    first, again = (await api(a, "publish", call)).json(), (await api(b, "publish", call)).json()
    assert first == again and first["result"]["offset"]
    other = (await api(b, "publish", {**call, "channel": f"chat:{x}-other"})).json()
    assert other["result"] != first["result"], "keys belong to their channel"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"channel": "nope:x", "data": 1}, 102),
        ({"channel": "", "data": 1}, 107),
        ({"channel": "chat:x"}, 107),
        ({"channel": "chat:" + "x" * 300, "data": 1}, 107),
        ({"channel": "chat:\N{GRINNING FACE}", "data": 1}, 107),
        ({"channel": "chat:x", "b64data": "!"}, 107),
        ({"channel": "chat:x", "b64data": ""}, 107),
        ({"channel": "chat:x", "data": 1, "idempotency_key": "x" * 257}, 107),
        ({"channel": "chat:x", "data": 1, "version": 1, "version_epoch": "a\r\nb"}, 107),
        ({"channel": "chat:x", "data": 1, "version": 1, "version_epoch": " a"}, 107),
        ({"channel": "chat:x", "data": 1, "version": 1, "skip_history": True}, 107),
        ({"channel": "live:x", "data": 1, "version": 1}, 108),
    ],
)
async def test_a_call_that_cannot_be_done_gets_an_error_in_the_body(shared_edge, body, code):
    answer = await api(shared_edge, "publish", body)
    assert answer.status_code == 200 and answer.json()["error"]["code"] == code


async def test_the_key_is_asked_for_in_each_of_its_forms(shared_edge):
    async with http_client() as http:
        url = f"{shared_edge.url}/api/info"
        body: dict[str, str] = {}
        for headers in ({}, {"X-API-Key": "wrong"}, {"Authorization": "apikey wrong"}, {"Authorization": "Bearer x"}):
            answer = await http.post(url, json=body, headers=headers)
            assert answer.status_code == 401 and "X-API-Key" in answer.json()["error"]["message"]
        for headers in ({"X-API-Key": API_KEY}, {"Authorization": f"apikey {API_KEY}"}):
            assert (await http.post(url, json=body, headers=headers)).status_code == 200
        assert (await http.post(f"{url}?api_key={API_KEY}", json=body)).status_code == 200


async def test_requests_that_are_none_get_an_http_status(shared_edge):
    async with http_client(headers={"X-API-Key": API_KEY}) as http:
        url = f"{shared_edge.url}/api/publish"
        assert (await http.get(url)).status_code == 405
        for body in ("{", "[]", '{"channel":7,"data":1}', "\xff"):
            assert (await http.post(url, content=body.encode("latin-1"))).status_code == 400
        assert (await http.post(url, content=b"x" * 800_000)).status_code == 413
        assert (await http.post(f"{shared_edge.url}/api/nothing", json={})).status_code == 404
        assert (await http.post(f"{url}/", json={})).status_code == 404, "no redirect, which would resend the body"


async def test_info_names_every_edge(shared_pair):
    a, b = shared_pair
    async with connected(a, "alice") as client:
        await client.subscribe("chat:info")

        async def both_are_there() -> None:
            nodes = {node["name"]: node for node in (await api(b, "info", {})).json()["result"]["nodes"]}
            assert set(nodes) == {"edge-a", "edge-b"}
            assert nodes["edge-a"]["num_clients"] == 1 == nodes["edge-a"]["num_users"]
            assert nodes["edge-a"]["num_subs"] == 1 and nodes["edge-a"]["uid"] != nodes["edge-b"]["uid"]

        await eventually(both_are_there)


EVERY_METHOD = {
    "publish": {"channel": "chat:x", "data": 1},
    "broadcast": {"channels": ["chat:x", "live:x"], "data": 1},
    "subscribe": {"user": "7", "channel": "chat:x"},
    "unsubscribe": {"user": "7"},
    "disconnect": {"user": "7"},
    "refresh": {"user": "7"},
    "send": {"user": "7", "data": 1},
    "presence": {"channel": "lobby:x"},
    "presence_stats": {"channel": "lobby:x"},
    "history": {"channel": "chat:x", "limit": 1},
    "history_remove": {"channel": "chat:x"},
    "channels": {},
    "rpc": {"method": "nobody"},
    "batch": {"commands": [{"publish": {"channel": "chat:x", "data": 1}}]},
    "info": {},
}


async def answers_of_every_method(edge):
    """The answer of each method: the code of an error, 0 for none."""
    bodies = await asyncio.gather(*(api(edge, method, call) for method, call in EVERY_METHOD.items()))
    found = {}
    for method, body in zip(EVERY_METHOD, bodies, strict=True):
        answer = body.json()
        if "replies" in answer:
            answer = answer["replies"][0]
        if "responses" in answer.get("result", {}):
            answer = answer["result"]["responses"][0]
        found[method] = answer.get("error", {}).get("code", 0)
    return found


async def test_without_nats_every_method_has_its_answer_and_with_it_each_works(services, nats_server):
    nats_server.stop()
    edge = start_edge(services, nats_server, "edge-a")

    async def it_listens() -> None:
        async with http_client() as http:
            assert (await http.get(f"{edge.url}/livez")).status_code == 200

    await eventually(it_listens)
    away = dict.fromkeys(EVERY_METHOD, 100) | {"info": 0}
    assert await answers_of_every_method(edge) == away
    nats_server.start()
    await edge.ready()
    there = dict.fromkeys(EVERY_METHOD, 0) | {"rpc": 108}
    assert await answers_of_every_method(edge) == there
    nats_server.stop()
    assert await answers_of_every_method(edge) == away
    nats_server.start()

    async def all_is_well_again() -> None:
        assert await answers_of_every_method(edge) == there

    await eventually(all_is_well_again)


async def raw(edge, head: str) -> bytes:
    """The edge's answer to these bytes, up to the end of the connection or of the answer's head."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(head.encode("latin-1"))
    try:
        return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 15)
    except asyncio.IncompleteReadError as end:
        return end.partial
    finally:
        writer.close()


UPGRADE = "Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
VERSION = "Sec-WebSocket-Version: 13\r\n"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (f"GET /connection/websocket HTTP/1.1\r\n{UPGRADE}{KEY}{VERSION}\r\n", 101),
        (f"GET /connection/websocket HTTP/1.1\r\n{UPGRADE}{KEY}{VERSION}Sec-WebSocket-Protocol:\r\n\r\n", 101),
        (f"GET /connection/websocket HTTP/1.1\r\n{UPGRADE}{VERSION}\r\n", 400),
        (f"GET /connection/websocket HTTP/1.1\r\n{UPGRADE}Sec-WebSocket-Key: short\r\n{VERSION}\r\n", 400),
        (f"GET /connection/websocket HTTP/1.1\r\n{UPGRADE}{KEY}Sec-WebSocket-Version: 8\r\n\r\n", 426),
        (f"POST /connection/websocket HTTP/1.1\r\n{UPGRADE}{KEY}{VERSION}\r\n", 405),
        (f"GET /elsewhere HTTP/1.1\r\n{UPGRADE}{KEY}{VERSION}\r\n", 404),
        (f"GET /connection/websocket?cf_protocol=protobuf HTTP/1.1\r\n{UPGRADE}{KEY}{VERSION}\r\n", 101),
        (f"GET /connection/websocket HTTP/1.1\r\n{UPGRADE}{KEY}{VERSION}Origin: https://evil.example\r\n\r\n", 403),
        (f"GET /connection/websocket HTTP/1.1\r\n{UPGRADE}{KEY}{VERSION}X: {'x' * 200_000}\r\n\r\n", 431),
        ("GET /connection/websocket HTTP/1.1\r\nHost: x\r\n\r\n", 426),
        ("complete nonsense\r\n\r\n", 400),
    ],
)
async def test_an_upgrade_is_accepted_or_refused_with_its_status(shared_edge, head, status):
    answer = await raw(shared_edge, head)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer[:200]


async def test_half_an_upgrade_is_not_waited_for_without_end(shared_edge):
    answer = await raw(shared_edge, f"GET /connection/websocket HTTP/1.1\r\n{UPGRADE}{KEY}")
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_a_peer_that_vanishes_in_the_middle_of_anything_leaves_no_trace(shared_edge):
    for part in ("", "GET /conn", f"GET /connection/websocket HTTP/1.1\r\n{UPGRADE}"):
        _, writer = await asyncio.open_connection("127.0.0.1", shared_edge.port)
        writer.write(part.encode())
        writer.transport.abort()
    async with connected(shared_edge) as client:
        client.socket.transport.abort()

    async def nobody_is_left() -> bool:
        async with http_client() as http:
            return "fairlead_edge_connections 0.0" in (await http.get(f"{shared_edge.url}/metrics")).text

    await eventually(nobody_is_left)


async def test_metrics_and_errors_are_counted(shared_edge):
    async with connected(shared_edge) as client:
        await client.ask(subscribe={"channel": "nope:x"})
    async with http_client() as http:
        text = (await http.get(f"{shared_edge.url}/metrics")).text
    assert 'fairlead_edge_errors_total{code="102"}' in text
    assert "fairlead_edge_ready 1.0" in text and "process_resident_memory_bytes" in text


async def test_a_refused_client_leaves_a_line_in_the_log_without_its_token(shared_edge):
    async with wire_client(shared_edge) as client:
        await client.send({"id": 1, "connect": {"token": "not.a.token"}})
        assert (await client.closed())[0] == 3500
    await eventually(lambda: "a connection was closed: invalid token" in shared_edge.log())
    assert "not.a.token" not in shared_edge.log()


async def test_an_unknown_method_says_what_there_is(shared_edge):
    answer = await api(shared_edge, "shout", {})
    assert answer.status_code == 404 and "publish" in answer.json()["error"]["message"]
    assert (await api(shared_edge, "shout", {}, key="wrong")).status_code == 401, "strangers learn nothing"
    of_maps = await api(shared_edge, "map_publish", {"channel": "chat:x", "key": "k", "data": 1})
    assert of_maps.status_code == 200 and of_maps.json()["error"]["code"] == 108


async def test_old_clients_name_the_method_in_the_body(shared_edge, x):
    async with http_client(headers={"X-API-Key": API_KEY}) as http:

        async def call(body: object) -> httpx.Response:
            return await http.post(f"{shared_edge.url}/api", json=body)

        answer = await call({"method": "publish", "params": {"channel": f"chat:{x}", "data": 1}})
        assert answer.json()["result"]["offset"]
        assert len((await call({"method": "info"})).json()["result"]["nodes"]) == 2
        batch = {"method": "batch", "params": {"commands": [{"info": {}}]}}
        assert "info" in (await call(batch)).json()["replies"][0]
        answer = await call({"method": "shout", "params": {}})
        assert answer.status_code == 200 and answer.json()["error"] == {"code": 104, "message": "method not found"}
        no_calls: tuple[object, ...] = ({}, [], {"method": "publish", "params": {"data": 1}})
        for broken in no_calls:
            assert (await call(broken)).status_code == 400
        http.headers["X-API-Key"] = "wrong"
        assert (await call({"method": "info"})).status_code == 401


@pytest.mark.parametrize(
    ("method", "body", "status", "code"),
    [
        ("publish", {"channel": "nope:x", "data": 1}, 404, 102),
        ("publish", {"channel": "chat:x"}, 400, 107),
        ("publish", {"channel": 7}, 400, 107),
        ("presence", {"channel": "chat:x"}, 400, 108),
        ("shout", {}, 404, 104),
        ("history", {"channel": "chat:x", "limit": 1, "since": {"offset": 1, "epoch": "another"}}, 416, 112),
        ("rpc", {"method": "x" * 300}, 404, 104),
    ],
)
async def test_an_error_may_have_a_status_of_its_own(shared_edge, method, body, status, code):
    headers = {"X-API-Key": API_KEY, "X-Centrifugo-Error-Mode": "transport"}
    async with http_client(headers=headers) as http:
        answer = await http.post(f"{shared_edge.url}/api/{method}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        fine = await http.post(f"{shared_edge.url}/api/info", json={})
        assert fine.status_code == 200 and "nodes" in fine.json()["result"]


async def test_an_error_says_what_was_expected(shared_edge):
    answer = await api(shared_edge, "publish", {"channel": "chat:x"})
    assert answer.json()["error"] == {"code": 107, "message": "bad request: expected data"}
