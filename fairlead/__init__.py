"""What a Python application needs to work with Fairlead: publish, make tokens, check signatures.

    from fairlead import Fairlead, Tokens

    fairlead = Fairlead("http://127.0.0.1:8000", API_KEY)
    fairlead.publish("orders:17", {"status": "shipped"})

`AsyncFairlead` is the same for asyncio; `fairlead.client_nats` has both over NATS, and needs nats-py. docs/python.md is
the manual.
"""

from fairlead.calls import Member, Position
from fairlead.client_http import AsyncFairlead, Fairlead
from fairlead.errors import BadAnswer, BadSignature, CallRefused, FairleadError, Unavailable
from fairlead.signatures import SIGNATURE_HEADER, sign, verify
from fairlead.tokens import Tokens, connection_claims, subscription_claims

__all__ = [
    "SIGNATURE_HEADER",
    "AsyncFairlead",
    "BadAnswer",
    "BadSignature",
    "CallRefused",
    "Fairlead",
    "FairleadError",
    "Member",
    "Position",
    "Tokens",
    "Unavailable",
    "connection_claims",
    "sign",
    "subscription_claims",
    "verify",
]
