"""What a real NATS forbids is counted, each time. Its users are those of a native one, whatever TEST_BACKEND is."""

from __future__ import annotations

import pytest

from tests.support.eventually import eventually
from tests.support.links import linked
from tests.support.servers_native import NativeNats

pytestmark = pytest.mark.integration

USERS = """
authorization {
  users = [{
    user: edge, password: "a-password-of-the-tests"
    permissions { publish { deny: ["forbidden.>"] }, subscribe { deny: ["secret.>"] } }
  }]
}
"""


async def test_a_publish_and_a_subscription_that_are_forbidden_are_counted(tmp_path, caplog):
    server = NativeNats(tmp_path / "nats")
    server.configure(USERS)
    try:
        server.start()
        async with linked(server.url.replace("//", "//edge:a-password-of-the-tests@")) as link:
            link.publish("allowed.x", b"1")
            await link.flush()
            assert link.permission_violations == 0
            link.publish("forbidden.x", b"1")
            await eventually(lambda: link.permission_violations == 1)
            link.subscribe("secret.x", lambda subject, reply, headers, data: None)
            await eventually(lambda: link.permission_violations == 2)
            link.publish("forbidden.x", b"1")
            await eventually(lambda: link.permission_violations == 3)
    finally:
        server.close()
    assert "forbidden.x" in caplog.text and "secret.x" in caplog.text
