"""The info of a client that is refreshed, as other clients see it on other edges."""

from __future__ import annotations

import functools

import pytest

from tests.edge.conversation import token
from tests.edge.signers import SECRET
from tests.edge.talks import Talk, connected
from tests.support.cluster import START, EdgeCluster, TestEdge, settled
from tests.support.eventually import eventually


def saw_leave(witness: Talk, client: str) -> bool:
    return ("leave", "room:x", client) in witness.members


@pytest.mark.parametrize("end", ["leaves", "is lost with its edge"])
async def test_presence_and_the_leave_show_it_and_nobody_joins_twice(end: str) -> None:
    cluster = EdgeCluster()
    a, b = [await TestEdge(cluster, token_hmac_secret_key=SECRET, ping_interval=0).start() for _ in range(2)]
    alice, near, far = Talk(a), await connected(a), await connected(b)
    await alice.connect({"sub": "42", "exp": START + 60, "info": {"name": "Al"}})
    for talk in (alice, near, far):
        await talk.subscribe("room:x")
    await alice.ask(refresh={"token": token(sub="42", exp=START + 600, info={"name": "Alice"})})
    await settled()
    members = await b.node.presence.members("room:x")
    assert bytes(members[alice.id].conn_info) == b'{"name":"Alice"}'
    await far.ask(publish={"channel": "room:x", "data": 1})
    if end == "leaves":
        await alice.ask(unsubscribe={"channel": "room:x"})
    else:
        a.kill()
    witnesses = (near, far) if end == "leaves" else (far,)
    for witness in witnesses:
        await eventually(functools.partial(saw_leave, witness, alice.id))
        left = [push["leave"]["info"] for push in witness.pushes if "leave" in push]
        assert {"user": "42", "client": alice.id, "conn_info": {"name": "Alice"}} in left
        assert len([who for kind, _, who in witness.members if (kind, who) == ("join", alice.id)]) <= 1
