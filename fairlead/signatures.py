"""Checks that a hook's question or a webhook comes from Fairlead.

    from fairlead import BadSignature, verify

    try:
        verify(SECRET, request.headers.get("Fairlead-Signature"), await request.body())
    except BadSignature:
        return Response(status_code=401)

Check the bytes as they were received, before they are parsed. The header is `t=<Unix seconds>,v1=<HMAC-SHA256 in hex>`;
the signature covers the seconds, a dot, and the body.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Iterable
from typing import Final

from fairlead.errors import BadSignature

SIGNATURE_HEADER: Final = "Fairlead-Signature"
TOLERANCE_S: Final = 300.0
"""How far Fairlead's clock and yours may be apart, in seconds. An older request may have been recorded and replayed."""

_FORM: Final = re.compile(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})")


def verify(
    secrets: str | Iterable[str],
    signature: str | None,
    body: bytes,
    *,
    tolerance_s: float = TOLERANCE_S,
    now: float | None = None,
) -> None:
    """Returns if `signature`, the header's value, is valid for the body. Raises `BadSignature` otherwise.

    Pass several secrets while you replace one. `now` is in Unix seconds, by default the present. Raises ValueError
    without any secret, as no signature could be valid.
    """
    accepted = [secrets] if isinstance(secrets, str) else list(secrets)
    if not all(accepted) or not accepted:
        raise ValueError("expected a secret that is not empty")
    if not signature:
        raise BadSignature(f"there is no header {SIGNATURE_HEADER}")
    found = _FORM.fullmatch(signature)
    if found is None:
        raise BadSignature(f"{SIGNATURE_HEADER}: expected t=<Unix seconds>,v1=<64 hexadecimal digits>")
    if not any(hmac.compare_digest(_digest(secret, found[1], body), found[2]) for secret in accepted):
        raise BadSignature("it was signed with another secret, or for another body")
    age_s = (time.time() if now is None else now) - int(found[1])
    if abs(age_s) > tolerance_s:
        raise BadSignature(f"it was signed {age_s:.0f} s ago, and {tolerance_s:.0f} s are allowed: compare the clocks")


def sign(secret: str, body: bytes, *, now: float | None = None) -> str:
    """The header's value as Fairlead would send it, for your application's tests."""
    seconds = str(int(time.time() if now is None else now))
    return f"t={seconds},v1={_digest(secret, seconds, body)}"


def _digest(secret: str, seconds: str, body: bytes) -> str:
    return hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
