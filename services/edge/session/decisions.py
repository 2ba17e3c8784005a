"""Decisions: the session makes exactly one on each command of the client or a backend. Pure.

A check that fails raises `Rejected` instead.
"""

from __future__ import annotations

from msgspec import Raw, Struct

from proto.codes import CloseCode, UnsubscribeCode
from proto.events import BY_EDGE
from proto.replies import Reply
from services.edge.session.actions import Action


class Close(Struct, frozen=True, gc=False):
    """End the connection with this code. `detail` is for the log, `by` who wants it (`proto.events.BY_EDGE`, ...).

    `reason`: why the client is refused, for the session log, if the code's own reason, which the protocol fixes, does
    not say it.
    """

    close: CloseCode
    detail: str = ""
    by: str = BY_EDGE
    reason: str = ""


class Unsubscribe(Struct, frozen=True, gc=False):
    """End the client's subscription to a channel, then send the reply."""

    channel: str
    reply: Reply


class EndSubscriptions(Struct, frozen=True, gc=False):
    """End the client's subscriptions to these channels for the server; an unsubscribe push gives the reason.

    Then send the reply, if a command waits for one. `by` is who wants it.
    """

    channels: tuple[str, ...]
    why: UnsubscribeCode
    reply: Reply | None = None
    by: str = BY_EDGE


class Renewed(Struct, frozen=True, gc=False):
    """The connection, or with `channel` its subscription there, has a new expiry: record it, and send the reply if
    there is one."""

    reply: Reply | None = None
    channel: str = ""


class ForwardMessage(Struct, frozen=True, gc=False):
    """Forward a message to the backends, which do not answer it."""

    data: Raw


class Nothing(Struct, frozen=True, gc=False):
    """The command needs no answer."""


NOTHING = Nothing()

Decision = Reply | Close | Unsubscribe | EndSubscriptions | Renewed | ForwardMessage | Nothing | Action
