"""The signature that shows a backend that a question or an event comes from Fairlead, and how old it is.

It travels in a header of HTTP requests and NATS messages:

    Fairlead-Signature: t=1796000000,v1=<64 hexadecimal digits>

`t` is when it was signed, in Unix seconds. `v1` is the HMAC-SHA256, in hexadecimal, of the digits of `t`, a dot and the
body, byte for byte as it was sent. While a secret is being replaced, a verifier accepts several.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from typing import Final

HEADER: Final = "Fairlead-Signature"

TOLERANCE_S: Final = 300
"""How far the signer's clock and ours may be apart, in seconds: an older signature may have been recorded and
replayed."""

MIN_SECRET_LENGTH: Final = 16
"""In characters: a shorter secret can be guessed from one signature."""

_FORM: Final = re.compile(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})")


def sign(secret: str, timestamp: int, body: bytes) -> str:
    """The header's value for a body that is sent at `timestamp`, in Unix seconds."""
    return f"t={timestamp},v1={_digest(secret, str(timestamp), body)}"


def is_signed(secrets: Iterable[str], signature: str, body: bytes, now: float) -> bool:
    """Whether `signature` is the header's value for this body, with one of the secrets and at about `now`.

    `now` is in Unix seconds. A malformed signature gives False, never an error; so does any signature if there is no
    secret.
    """
    found = _FORM.fullmatch(signature)
    if found is None or abs(now - int(found[1])) > TOLERANCE_S:
        return False
    return any(hmac.compare_digest(_digest(secret, found[1], body), found[2]) for secret in secrets if secret)


def _digest(secret: str, timestamp: str, body: bytes) -> str:
    return hmac.new(secret.encode(), b"%b.%b" % (timestamp.encode(), body), hashlib.sha256).hexdigest()
