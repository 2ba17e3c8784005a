"""New settings are put into force in a running edge in one step, or not at all."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import pytest
from msgspec.structs import replace

from services.chassis.http.api_key import ApiKeys
from services.chassis.process.reload import ReloadRefused
from services.chassis.process.settings import Duration, Rate
from services.edge.adapters import Adapters
from services.edge.adoption import RELOADABLE, Adoption
from services.edge.backend.configured_backends import ConfiguredBackends
from services.edge.backend_settings import BackendSettings, RPCSection
from services.edge.broker.broker import BrokerRefused
from services.edge.channel_settings import ChannelOptions, ChannelSection, Namespace
from services.edge.client_settings import ClientSection
from services.edge.limit_settings import NO_LIMITS
from services.edge.settings import EdgeSettings
from services.edge.tally import Tally
from services.edge.tokens.configured_keys import key_sets
from services.edge.tokens.tokens import InvalidToken
from tests.edge.signers import Signer
from tests.support.certificates import Authority
from tests.support.cluster import EdgeCluster, TestEdge
from tests.support.function_backend import FunctionBackend
from tests.support.settings_tables import tables_of

SECRET = "a secret of the tests, " * 3
BEFORE = EdgeSettings(client=ClientSection(token_hmac_secret_key=SECRET), limits=NO_LIMITS)
KEPT = Namespace(name="kept", history_size=10, history_ttl=Duration(60))
AFTER = replace(
    BEFORE,
    client=replace(BEFORE.client, token_hmac_secret_key=SECRET[::-1], allowed_origins=["https://a.example"]),
    channel=ChannelSection(namespaces=[KEPT]),
    limits=replace(NO_LIMITS, address_connects=Rate(1, 60)),
    backends=[
        BackendSettings(
            name="app", url="http://127.0.0.1/", http_headers=["Cookie"], emulated_headers=["X-A"], binary_encoding=True
        )
    ],
    rpc=RPCSection(backend="app"),
)


class FakeAdapters:
    """Adapters whose broker takes other namespaces, or `refuses` them."""

    refuses = False

    def __init__(self) -> None:
        self.classes: list[dict[str, ChannelOptions]] = []

    async def adopt(self, classes: dict[str, ChannelOptions]) -> None:
        if self.refuses:
            raise BrokerRefused("insufficient storage")
        self.classes.append(classes)


class Adopting:
    """An edge that runs by `BEFORE`."""

    def __init__(self) -> None:
        self.edge = TestEdge(EdgeCluster())
        self.adapters = FakeAdapters()
        self.keys = key_sets(BEFORE.client)
        context = self.edge.context
        self.backends = ConfiguredBackends(BEFORE, FunctionBackend(), None, Tally(), lambda: 0.0, lambda: 0.0)
        adapters = cast("Adapters", self.adapters)
        self.adoption = Adoption(
            BEFORE,
            context.current,
            self.keys,
            context.door,
            adapters,
            self.edge.node,
            ApiKeys(BEFORE.http_api),
            self.backends,
            lambda: None,
        )

    def state(self) -> tuple[Any, ...]:
        """What commands and new clients are decided by."""
        policy, knock = self.edge.context.policy, self.edge.context.door.knock
        knocks = [knock("192.0.2.1", 0.0) is None for _ in range(2)]
        kept = policy.namespaces.named("kept") is not None
        backends = self.backends.backends
        asked = backends.names, backends.of_method("greet"), policy.emulated_headers, policy.form("app").binary
        return kept, asked, policy.origins.allow("https://a.example"), policy.section.token_hmac_secret_key, knocks


@pytest.fixture
async def adopting():
    it = Adopting()
    await it.edge.start()
    yield it
    await it.adoption.stop()
    await it.backends.close()


async def test_everything_holds_at_once(adopting):
    await adopting.adoption.adopt(AFTER)
    asked = ["nats", "app"], "app", {"x-a"}, True
    assert adopting.state() == (True, asked, True, SECRET[::-1], [True, False])
    assert adopting.edge.context.policy.kept.headers == {"cookie"}
    assert [list(classes) for classes in adopting.adapters.classes] == [["kept"]]


async def test_a_key_of_subscription_tokens_that_was_taken_away_counts_no_longer(adopting):
    """They have keys of their own, then another one, then none: that of connection tokens counts again."""

    async def accepted(key: str) -> list[bool]:
        client = replace(BEFORE.client, subscription_token_hmac_secret_key=key)
        await adopting.adoption.adopt(replace(BEFORE, client=client))
        return [
            subscribes(each)
            for each in (SECRET, "the first of the two keys, of 32 bytes", "the second of the two keys, of 32 bytes")
        ]

    def subscribes(key: str) -> bool:
        token = Signer("HS256", key=key).token(channel="news", sub="alice")
        try:
            return bool(adopting.edge.context.policy.verifier.subscription(token, 0.0).user)
        except InvalidToken:
            return False

    assert await accepted("the first of the two keys, of 32 bytes") == [False, True, False]
    assert await accepted("the second of the two keys, of 32 bytes") == [False, False, True]
    assert await accepted("") == [True, False, False]


async def test_nothing_does_when_the_broker_refuses(adopting):
    before, adopting.adapters.refuses = adopting.state(), True
    with pytest.raises(ReloadRefused, match="the streams of the namespaces cannot be made or changed: insufficient"):
        await adopting.adoption.adopt(AFTER)
    assert adopting.state() == before


async def test_nothing_does_when_a_backend_s_certificate_is_gone(adopting, tmp_path):
    before, ca = adopting.state(), Authority(tmp_path).file
    (app,) = AFTER.backends
    after = replace(AFTER, backends=[replace(app, url="https://127.0.0.1/", ca_file=str(ca))])
    ca.unlink()
    with pytest.raises(ReloadRefused, match="ca_file"):
        await adopting.adoption.adopt(after)
    assert adopting.state() == before and adopting.adapters.classes == []


async def test_the_broker_is_asked_only_for_namespaces_that_it_keeps(adopting):
    await adopting.adoption.adopt(AFTER)
    adopting.adapters.refuses = True
    await adopting.adoption.adopt(replace(AFTER, channel=ChannelSection(namespaces=[KEPT, Namespace(name="live")])))
    assert adopting.edge.context.policy.namespaces.named("live") is not None


async def test_counters_go_on(adopting):
    adopting.edge.context.policy.count("publish", 103)
    adopting.edge.context.policy.allowances.refused["limits.commands"] += 1
    await adopting.adoption.adopt(replace(AFTER, limits=replace(NO_LIMITS, commands=Rate(1, 1))))
    policy = adopting.edge.context.policy
    assert policy.commands["publish", 103] == 1 and policy.allowances.refused["limits.commands"] == 1


async def test_an_operator_is_warned_of_what_is_new(adopting, caplog):
    await adopting.adoption.adopt(replace(AFTER, client=replace(AFTER.client, allowed_origins=["null"])))
    assert caplog.text.count('client.allowed_origins: "null" lets in more pages') == 1
    caplog.clear()
    await adopting.adoption.adopt(replace(AFTER, client=replace(AFTER.client, allowed_origins=["null", "*"])))
    assert '"null"' not in caplog.text


def test_what_may_change_exists() -> None:
    sections = tables_of(EdgeSettings)
    keys = {f"{name}.{key.name}" for name, section in sections.items() for key in msgspec.structs.fields(section)}
    assert keys | sections.keys() >= RELOADABLE
