"""Verifies tokens (JWT) and reads their claims. Reads no clock: the time is passed in.

The compact form is read strictly: three parts in canonical base64, a header without extensions. Claims are decoded into
their types at once, so that no claim of a wrong type gets past this module.
"""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from functools import lru_cache
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from msgspec.structs import replace

from proto import codes
from proto.json_decoder import JsonDecoder
from proto.messages import NO_DATA
from proto.nesting import TooDeep
from services.edge.grants import Grant, Terms, grant_from, json_field
from services.edge.rejection import Rejected
from services.edge.token_settings import Tokens, TokenSettings, connection_tokens
from services.edge.tokens.token_keys import InvalidToken as InvalidToken
from services.edge.tokens.token_keys import KeySet
from services.edge.tokens.token_keys import UnknownKey as UnknownKey

TOKEN_CHANNELS_LIMIT: Final = 1000
"""Server-side channels of one token: the client is subscribed to each of them before the connect reply is sent."""

_SHORT_HEADER: Final = 256
"""The longest header that is remembered, in bytes; longer ones are somebody's attempt to fill the memory."""

_TO_STANDARD: Final = bytes.maketrans(b"-_+/=", b"+/!!!")
"""From the alphabet of base64url to the standard one. Characters of the latter only, and padding, become invalid."""

Seconds = Annotated[int, Meta(ge=0, lt=2**53)] | Annotated[float, Meta(ge=0, lt=2**53)]
Name = Annotated[str, Meta(min_length=1)]


class ExpiredToken(Exception):
    """The token of `user` has expired or is not valid yet: `exp` or `expire_at` is past, or `nbf` is ahead.

    The text says which, for the log.
    """

    def __init__(self, user: str, why: str) -> None:
        super().__init__(why)
        self.user = user


class Identity(Struct, frozen=True):
    """The client that a connection token is for. `user` "" is anonymous; `expires_at` is in Unix seconds, 0 for never.

    `grants` are the server-side channels. `info` is shown to other clients, `meta` only to backends.
    """

    user: str = ""
    expires_at: int = 0
    info: Raw = NO_DATA
    session_key: str = ""
    meta: Raw = NO_DATA
    grants: dict[str, Grant] = {}


class SubscriptionClaims(Struct, frozen=True):
    """What a subscription token allows: `channel` to `user`, and only to its connection `client` unless that is ""."""

    channel: str
    user: str = ""
    client: str = ""
    grant: Grant = Grant()


class _Header(Struct, frozen=True):
    alg: str
    kid: str = ""
    b64: bool = True
    crit: Raw | UnsetType = UNSET


class _Claims(Terms, frozen=True):
    sub: str = ""
    exp: Seconds = 0
    nbf: Seconds = 0
    expire_at: Seconds | UnsetType = UNSET
    aud: str | list[str] = ""
    iss: str = ""
    channel: str | UnsetType = UNSET
    client: str = ""
    sid: Raw = NO_DATA
    meta: Raw = NO_DATA
    subs: dict[Name, Terms] | None = None
    channels: list[Name] | None = None


_headers: JsonDecoder[_Header] = JsonDecoder(_Header)
_claims: JsonDecoder[_Claims] = JsonDecoder(_Claims)
_decode_text = JsonDecoder[str](str).decode
_decode_all = JsonDecoder[dict[str, Raw]](dict[str, Raw]).decode
_decode_id = JsonDecoder[str | int](str | int).decode

ANY_CLAIMS: Final = connection_tokens(TokenSettings())
MAX_CLAIM_LENGTH: Final = 512
"""The most characters of `iss`, and of each `aud`. Longer ones do not match, as patterns could take long with them."""
MAX_AUDIENCES_LENGTH: Final = 4096
"""How far the audiences (`aud`) of a token are examined: characters in all, and one more for each. Further ones are
ignored."""


class TokenVerifier:
    """Checks tokens against `keys`, and their claims against `tokens`; `subscriptions`, if any, checks subscription
    tokens.

    `insecure`: what a valid token permits never ends. All methods raise `InvalidToken`, `ExpiredToken` or `UnknownKey`,
    and `Rejected` for a payload that nests too deep; `now` is Unix time in seconds, and the clock of a token's signer
    may be ahead of it by `nbf_leeway_s`.
    """

    def __init__(
        self,
        keys: KeySet,
        tokens: Tokens = ANY_CLAIMS,
        insecure: bool = False,
        nbf_leeway_s: float = 0,
        subscriptions: TokenVerifier | None = None,
    ) -> None:
        self._keys = keys
        self._tokens = tokens
        self._audience = re.compile(tokens.audience_regex or re.escape(tokens.audience))
        self._issuer = re.compile(tokens.issuer_regex or re.escape(tokens.issuer))
        self._insecure = insecure
        self._nbf_leeway_s = nbf_leeway_s
        self._subscriptions = subscriptions

    def connection(self, token: str, now: float) -> Identity:
        """The client that a connection token is for."""
        claims = self._claims(token)
        if claims.channel is not UNSET:
            raise InvalidToken("it is a subscription token")
        if len(claims.subs or claims.channels or ()) > TOKEN_CHANNELS_LIMIT:
            raise InvalidToken(f"it has more than {TOKEN_CHANNELS_LIMIT} channels")
        expires_at = self._expires_at(claims, now)
        try:
            if claims.subs:
                grants = {channel: grant_from(terms) for channel, terms in claims.subs.items()}
            else:
                grants = {channel: Grant() for channel in claims.channels or ()}
            return Identity(
                user=claims.sub,
                expires_at=expires_at,
                info=json_field("info", claims.info, claims.b64info),
                session_key=_text(claims.sid),
                meta=json_field("meta", claims.meta),
                grants=grants,
            )
        except TooDeep as error:
            raise Rejected(codes.BAD_REQUEST, f"the token's {error}") from None
        except ValueError as error:
            raise InvalidToken(f"its {error}") from None

    def subscription(self, token: str, now: float) -> SubscriptionClaims:
        """What a subscription token allows. The caller compares that with what the client asks for."""
        if self._subscriptions is not None:
            return self._subscriptions.subscription(token, now)
        claims = self._claims(token)
        if claims.channel is UNSET or not claims.channel:
            raise InvalidToken("it is not a subscription token: it has no channel")
        expires_at = self._expires_at(claims, now)
        try:
            grant = grant_from(claims, expires_at)
        except TooDeep as error:
            raise Rejected(codes.BAD_REQUEST, f"the token's {error}") from None
        except ValueError as error:
            raise InvalidToken(f"its {error}") from None
        return SubscriptionClaims(channel=claims.channel, user=claims.sub, client=claims.client, grant=grant)

    def _claims(self, token: str) -> _Claims:
        """The claims of a token that has a valid signature and is meant for us."""
        try:
            message, _, signature = token.encode("ascii").rpartition(b".")
            head, _, body = message.partition(b".")
            header = _header(head) if len(head) <= _SHORT_HEADER else _headers.decode(_unpack(head))
            signed = _unpack(signature)
        except ValueError:
            raise InvalidToken("it is not a JWT") from None
        if header.crit is not UNSET or not header.b64:
            raise InvalidToken("it uses an extension of JWT")
        if not self._tokens.is_template:  # otherwise its claims say whose keys it needs
            self._keys.check(header.alg, header.kid, message, signed)
        try:
            claims = _claims.decode(_unpack(body))
        except ValueError as error:
            # The library's text names the claim and the types, not the value.
            kind = error if isinstance(error, msgspec.ValidationError) else "they are not JSON"
            raise InvalidToken(f"its claims are malformed: {kind}") from None
        names = self._expect(claims)
        if self._tokens.is_template:
            self._keys.of(names).check(header.alg, header.kid, message, signed)
        if self._tokens.user_id_claim:
            return replace(claims, sub=self._user(_unpack(body)))
        return claims

    def _expect(self, claims: _Claims) -> dict[str, str | None]:
        """The named groups of the patterns that the claims match. Raises `InvalidToken` if they do not match."""
        tokens = self._tokens
        names: dict[str, str | None] = {}
        if tokens.audience or tokens.audience_regex:
            audiences = [claims.aud] if isinstance(claims.aud, str) else claims.aud
            match = _first_match(self._audience, audiences)
            if match is None:
                raise InvalidToken(f"its aud is not what client.{tokens.prefix}audience says")
            names = match.groupdict()
        if tokens.issuer or tokens.issuer_regex:
            match = _first_match(self._issuer, [claims.iss])
            if match is None:
                raise InvalidToken(f"its iss is not what client.{tokens.prefix}issuer says")
            names |= match.groupdict()
        return names

    def _user(self, body: bytes) -> str:
        """The user's id in the claim that the settings name. Raises `InvalidToken`."""
        setting = f"client.{self._tokens.prefix}user_id_claim"
        try:
            return _user_id(_decode_all(body)[self._tokens.user_id_claim])
        except KeyError:
            raise InvalidToken(f"it has no claim {self._tokens.user_id_claim!r} ({setting})") from None
        except ValueError:
            raise InvalidToken(f"the claim of its user is neither text nor a whole number ({setting})") from None

    def _expires_at(self, claims: _Claims, now: float) -> int:
        """When the token's permission ends, 0 for never. Raises `ExpiredToken` if it, or the token, has expired."""
        end = claims.exp if claims.expire_at is UNSET else claims.expire_at
        if 0 < claims.exp <= now or 0 < end <= now or claims.nbf > now + self._nbf_leeway_s:
            raise ExpiredToken(claims.sub, _why_expired(claims, end, now))
        return 0 if self._insecure else int(end)


def _why_expired(claims: _Claims, end: float, now: float) -> str:
    ended = [each for each in (claims.exp, end) if 0 < each <= now]
    if ended:
        return f"the token expired {now - min(ended):.0f} s ago"
    return f"the token becomes valid in {claims.nbf - now:.0f} s (its nbf; client.token_nbf_leeway)"


def _unpack(part: bytes) -> bytes:
    """Decodes base64url without padding. Raises ValueError for anything but the canonical form."""
    standard = part.translate(_TO_STANDARD) + b"=" * (-len(part) % 4)
    data = a2b_base64(standard)
    if b2a_base64(data, newline=False) != standard:  # the decoder skips unknown characters
        raise ValueError("not base64url")
    return data


@lru_cache(maxsize=64)
def _header(head: bytes) -> _Header:
    """The header of a token. The tokens of one signer share it, so it is remembered. Raises ValueError."""
    return _headers.decode(_unpack(head))


def _first_match(pattern: re.Pattern[str], texts: list[str]) -> re.Match[str] | None:
    room = MAX_AUDIENCES_LENGTH
    for text in texts:
        room -= len(text) + 1
        if room < 0:
            break
        if len(text) <= MAX_CLAIM_LENGTH and (match := pattern.fullmatch(text)):
            return match
    return None


def _user_id(value: Raw) -> str:
    """Raises ValueError."""
    return str(_decode_id(bytes(value)))


def _text(value: Raw) -> str:
    """A string, or "" for any other type: identity providers use `sid` for their own purposes."""
    try:
        return _decode_text(bytes(value)) if bytes(value) else ""
    except msgspec.DecodeError:
        return ""
