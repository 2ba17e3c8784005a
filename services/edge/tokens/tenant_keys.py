"""Keys of many issuers, each with an endpoint of its own: the JWKS address has placeholders for named groups of the
patterns that `iss` and `aud` match. Pure.

The claims of a token are read before its signature is checked, as they say whose keys it needs. Only a name without "/"
and the like goes into the address, so that a token can only choose among the addresses that the settings intend.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from services.edge.token_settings import PLACE
from services.edge.tokens.token_keys import InvalidToken, KeySet

MOST: Final = 4096
"""The most issuers that are remembered: any token can make one up."""
MAX_NAME_LENGTH: Final = 128

_NAME: Final = re.compile(r"[A-Za-z0-9_~-]+(?:\.[A-Za-z0-9_~-]+)*")


class TenantKeySet(KeySet):
    """The keys of all issuers. `template` is the address, `setting` the name of its option."""

    def __init__(self, template: str, setting: str) -> None:
        super().__init__(fetched=True)
        self._template = template
        self._setting = setting
        self._by_url: OrderedDict[str, KeySet] = OrderedDict()

    def of(self, names: Mapping[str, str | None]) -> KeySet:
        """The keys of one issuer: only its own tokens are checked with them. Raises `InvalidToken`."""
        url = PLACE.sub(lambda place: _checked(place[1], names), self._template)
        keys = self._by_url.get(url)
        if keys is None:
            if len(self._by_url) >= MOST:
                self._forget_one()
            keys = self._by_url[url] = KeySet(fetched=True, url=url, setting=self._setting)
        return keys

    def _forget_one(self) -> None:
        """Drops the oldest issuer without keys. Issuers with keys are far fewer: see `jwks_fetchers.MOST_TENANTS`."""
        oldest = next((url for url, keys in self._by_url.items() if not keys.has_fetched), next(iter(self._by_url)))
        del self._by_url[oldest]


def _checked(place: str, names: Mapping[str, str | None]) -> str:
    name = names.get(place) or ""
    if len(name) > MAX_NAME_LENGTH or not _NAME.fullmatch(name):
        raise InvalidToken(f"the {place} in its iss or aud is not a valid name of an issuer")
    return name
