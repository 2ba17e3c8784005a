"""What a reload changes in a running edge: the only place that puts new settings into force.

Changes that need NATS come first, and may be refused. The rest is one step of the event loop, which cannot fail: no
command is decided by only a part of the new settings. Then subscriptions end that do not fit the new namespaces.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from services.chassis.http.api_key import ApiKeys
from services.chassis.nats.credential_files import BadFile
from services.chassis.process.reload import ReloadRefused, news
from services.chassis.process.tasks import Tasks
from services.edge.adapters import Adapters
from services.edge.backend.configured_backends import ConfiguredBackends
from services.edge.backend.question_headers import form_of, kept, wanted_emulated
from services.edge.broker.broker import BrokerAway, BrokerRefused
from services.edge.cautions import cautions
from services.edge.channels.namespaces import Namespaces
from services.edge.channels.node import Node
from services.edge.connection.door import Door
from services.edge.hook_settings import COMMAND_DEADLINE_S
from services.edge.origins import Origins
from services.edge.session.policy import CurrentPolicy
from services.edge.settings import EdgeSettings
from services.edge.token_settings import connection_tokens, subscription_tokens
from services.edge.tokens.configured_keys import KeySets, keys_of
from services.edge.tokens.tokens import TokenVerifier

log = logging.getLogger(__name__)

RELOADABLE: Final = frozenset(
    {
        "http_api",
        "limits",
        "backends",
        "rpc",
        "channel.namespaces",
        "channel.without_namespace",
        "channel.history_max_bytes",
        "client.allowed_origins",
        "client.connect_backend",
        "client.refresh_backend",
        "client.token_hmac_secret_key",
        "client.token_rsa_public_key",
        "client.token_ecdsa_public_key",
        "client.token_ed25519_public_key",
        "client.token_keys",
        "client.token_audience",
        "client.token_audience_regex",
        "client.token_issuer",
        "client.token_issuer_regex",
        "client.token_user_id_claim",
        "client.token_nbf_leeway",
        "client.subscription_token_hmac_secret_key",
        "client.subscription_token_rsa_public_key",
        "client.subscription_token_ecdsa_public_key",
        "client.subscription_token_ed25519_public_key",
        "client.subscription_token_keys",
        "client.subscription_token_audience",
        "client.subscription_token_audience_regex",
        "client.subscription_token_issuer",
        "client.subscription_token_issuer_regex",
        "client.subscription_token_user_id_claim",
    }
)
"""The sections and keys that a reload may change."""


def verifier_of(settings: EdgeSettings, keys: KeySets) -> TokenVerifier:
    """The verifier of tokens for these settings. `keys` are shared with the verifiers of earlier settings."""
    client = settings.client
    insecure, leeway_s, subscription = client.insecure, client.token_nbf_leeway, subscription_tokens(client)
    own = None if subscription is None else TokenVerifier(keys.subscription, subscription, insecure, leeway_s)
    return TokenVerifier(keys.connection, connection_tokens(client), insecure, leeway_s, own)


class Adoption:
    """Puts settings into force. `keys` are those of tokens; `adopted` is called after each change."""

    def __init__(
        self,
        settings: EdgeSettings,
        current: CurrentPolicy,
        keys: KeySets,
        door: Door,
        adapters: Adapters,
        node: Node,
        api_keys: ApiKeys,
        backends: ConfiguredBackends,
        adopted: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._current = current
        self._keys = keys
        self._door = door
        self._adapters = adapters
        self._node = node
        self._api_keys = api_keys
        self._backends = backends
        self._adopted = adopted
        self._tasks = Tasks()

    async def adopt(self, settings: EdgeSettings) -> None:
        """Puts the settings into force. Raises `ReloadRefused`, in which case nothing has changed."""
        before, policy = self._settings, self._current.policy
        keys, namespaces = keys_of(connection_tokens(settings.client)), Namespaces(settings.channel)
        subscription_keys = keys_of(subscription_tokens(settings.client))
        renewed = replace(
            policy,
            section=settings.client,
            namespaces=namespaces,
            verifier=verifier_of(settings, self._keys),
            allowances=policy.allowances.renewed(settings.limits, settings.client, settings.channel),
            origins=Origins(settings.client.allowed_origins),
            kept=kept(settings.client, settings.backends),
            emulated_headers=wanted_emulated(settings.backends),
            forms={each.name: form_of(each) for each in settings.backends},
        )
        try:
            backends = self._backends.prepared(settings)
        except BadFile as error:
            raise ReloadRefused(str(error)) from None
        warnings = news(cautions(before), cautions(settings))
        if namespaces.history_classes() != policy.namespaces.history_classes():
            try:
                await self._adapters.adopt(namespaces.history_classes())
            except (BrokerAway, BrokerRefused) as error:
                raise ReloadRefused(f"the streams of the namespaces cannot be made or changed: {error}") from None
        # One step from here on: nothing is awaited, and nothing fails.
        self._keys.connection.replace_configured(keys)
        self._keys.subscription.replace_configured(subscription_keys)
        self._backends.adopt(backends)
        self._current.replace(renewed)
        self._api_keys.replace(settings.http_api)
        if settings.limits != before.limits:
            self._door.limit(settings.limits)
        self._settings = settings
        self._adopted()
        for warning in warnings:
            log.warning("%s", warning)
        self._tasks.start(self._retire())

    async def _retire(self) -> None:
        """Ends subscriptions that do not fit the namespaces, and later those that were being made meanwhile."""
        for wait_s in (0.0, COMMAND_DEADLINE_S):
            await asyncio.sleep(wait_s)
            ended = await self._node.sync.retire(self._current.policy.namespaces.named)
            if ended:
                log.info(
                    "%d subscriptions ended: their namespaces are gone, or their history was switched on or off", ended
                )

    async def stop(self) -> None:
        """Stops ending subscriptions."""
        await self._tasks.stop()
