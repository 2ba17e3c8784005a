"""Connection tokens: a JWT in, an identity out, or why not. Reads no clock: the time is handed in."""

from __future__ import annotations

import base64
import json
import warnings
from typing import Any

import jwt
from jwt.types import Options
from jwt.warnings import InsecureKeyLengthWarning
from msgspec import Raw, Struct

from proto.codec import payload
from proto.messages import NO_DATA

# PyJWT would say so for every token; `app.serve` says it once, at the start.
warnings.filterwarnings("ignore", category=InsecureKeyLengthWarning)

_ALGORITHMS = ["HS256", "HS384", "HS512"]
_SIGNATURE_ONLY: Options = {
    "verify_exp": False,  # ours, with the clock that is handed in: expired is another answer than invalid
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}


class InvalidToken(Exception):
    """The token is forged, malformed, or meant for something else. The text is for the log; it holds no secret."""


class ExpiredToken(Exception):
    """The token was good, or is not good yet: `exp` is past, or `nbf` is ahead."""


class Identity(Struct, frozen=True):
    """Who a token speaks for: `user` "" is anonymous, `expires_at` (Unix seconds) is 0 for never."""

    user: str = ""
    expires_at: int = 0
    info: Raw = NO_DATA
    session_key: str = ""


class TokenVerifier:
    """Checks connection tokens against one HMAC secret."""

    def __init__(self, secret: str, insecure: bool = False) -> None:
        self._secret = secret
        self._insecure = insecure

    def verify(self, token: str, now: float) -> Identity:
        """The identity that `token` proves at Unix time `now`. Raises `InvalidToken` or `ExpiredToken`."""
        claims = self._claims(token)
        if "channel" in claims:
            raise InvalidToken("it is a subscription token")
        user = claims.get("sub", "")
        if not isinstance(user, str) or not _is_unicode(user):
            raise InvalidToken("its sub is not a string")
        expires, not_before = _time(claims, "exp"), _time(claims, "nbf")
        if not self._insecure and ((expires and expires <= now) or not_before > now):
            raise ExpiredToken
        key = claims.get("sid", "")
        return Identity(
            user=user,
            expires_at=0 if self._insecure else _time(claims, "expire_at") if "expire_at" in claims else expires,
            info=_info(claims),
            session_key=key if isinstance(key, str) and _is_unicode(key) else "",
        )

    def _claims(self, token: str) -> dict[str, Any]:
        if not self._secret:
            raise InvalidToken("no secret is configured (client.token_hmac_secret_key)")
        try:
            claims: dict[str, Any] = jwt.decode(token, self._secret, algorithms=_ALGORITHMS, options=_SIGNATURE_ONLY)
        except (jwt.PyJWTError, ValueError, RecursionError) as error:
            raise InvalidToken(str(error)) from None
        return claims


def _time(claims: dict[str, Any], name: str) -> int:
    value = claims.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 2**53:
        raise InvalidToken(f"its {name} is not a time")
    return int(value)


def _is_unicode(text: str) -> bool:
    """False for text with half a surrogate pair, which JSON can spell and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _info(claims: dict[str, Any]) -> Raw:
    if "b64info" in claims:
        try:
            return payload(base64.b64decode(claims["b64info"], validate=True))
        except (TypeError, ValueError):
            raise InvalidToken("its b64info is not JSON in base64") from None
    if claims.get("info") is None:
        return NO_DATA
    try:  # the library reads NaN and half surrogate pairs, which no other JSON reader takes
        return payload(json.dumps(claims["info"], ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode())
    except (ValueError, RecursionError):
        raise InvalidToken("its info is not JSON") from None
