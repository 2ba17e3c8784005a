"""Users of NATS that have keys: nkeys, and the JWTs of an operator, its accounts and their users, as of `nsc`."""

from __future__ import annotations

import base64
import binascii
import json
import time
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

OPERATOR: Final = 14 << 3
ACCOUNT: Final = 0
USER: Final = 20 << 3
_SEED: Final = 18 << 3
_STORES: Final = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)
_NO_LIMITS: Final = {
    **dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1),
    "wildcards": True,
}


class Identity:
    """A key pair of one kind."""

    def __init__(self, kind: int) -> None:
        self._kind = kind
        self._key = Ed25519PrivateKey.generate()

    @property
    def public(self) -> str:
        return _word(bytes([self._kind]), self._key.public_key().public_bytes_raw())

    @property
    def seed(self) -> str:
        return _word(bytes([_SEED | self._kind >> 5, (self._kind & 31) << 3]), self._key.private_bytes_raw())

    def vouch(self, subject: str, name: str, nats: dict[str, Any], lasts_s: float = 0) -> str:
        """A JWT about `subject`, signed by this one; it expires after `lasts_s`, by default never."""
        now = int(time.time())
        claims: dict[str, Any] = {"jti": "a", "iat": now, "iss": self.public, "name": name, "sub": subject}
        claims["nats"] = nats | {"version": 2}
        if lasts_s:
            claims["exp"] = int(now + lasts_s)
        head = _part(json.dumps({"typ": "JWT", "alg": "ed25519-nkey"}).encode())
        signed = f"{head}.{_part(json.dumps(claims).encode())}"
        return f"{signed}.{_part(self._key.sign(signed.encode()))}"


class Trust:
    """An operator with an account in which all is allowed. `configuration` is that of a server that trusts it."""

    def __init__(self) -> None:
        operator, system, self._account = Identity(OPERATOR), Identity(ACCOUNT), Identity(ACCOUNT)
        claims = {"type": "operator", "system_account": system.public}
        accounts = {
            each.public: operator.vouch(each.public, name, {"type": "account", "limits": limits})
            for each, name, limits in (
                (system, "SYS", _NO_LIMITS),
                (self._account, "FAIRLEAD", _NO_LIMITS | _STORES),
            )
        }
        preloaded = "\n".join(f"  {public}: {jwt}" for public, jwt in accounts.items())
        self.configuration = (
            f"operator: {operator.vouch(operator.public, 'O', claims)}\nsystem_account: {system.public}\n"
            f"resolver: MEMORY\nresolver_preload: {{\n{preloaded}\n}}\n"
        )

    def creds(self, lasts_s: float = 0) -> str:
        """A `.creds` file of a new user."""
        user = Identity(USER)
        nats = {"type": "user", "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1}
        jwt = self._account.vouch(user.public, "u", nats, lasts_s)
        return (
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            "************************* IMPORTANT *************************\n"
            "NKEY Seed printed below can be used to sign and prove identity.\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
        )


def _word(prefix: bytes, key: bytes) -> str:
    raw = prefix + key
    return base64.b32encode(raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little")).decode().rstrip("=")


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
