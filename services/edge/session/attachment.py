"""The effects of attaching a client to channels and of detaching it from one: replies, pushes, facts. Pure.

Each function changes the state and returns the effects in the same step: subscribed means live.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from proto.codes import UnsubscribeCode
from proto.events import BY_CLIENT, MAX_COUNT, MAX_NATURAL, Opened, Refreshed, SessionEvent, Subscribed, Unsubscribed
from proto.messages import StreamPosition
from proto.replies import ConnectResult, Push, Reply, SubscribeResult, reply_to
from proto.replies import Unsubscribe as UnsubscribePush
from services.edge.channels.subscription import AttachRequest
from services.edge.session.actions import Connect
from services.edge.session.details import details as details_of
from services.edge.session.details import needed
from services.edge.session.effects import (
    Announce,
    CatchUp,
    CloseOthers,
    Detach,
    Effect,
    Flush,
    Record,
    Reschedule,
    Send,
)
from services.edge.session.outcomes import Attached
from services.edge.session.results import connect_reply, fit_into_reply, subscribe_pushes, tailored
from services.edge.session.state import SessionState

_LATEST_S: Final = 2**53
"""The latest expiry that a fact contains, in Unix seconds: in milliseconds it still fits into 64 bits."""


def milliseconds(state: SessionState, now: float) -> int:
    """`now` as facts contain it: Unix milliseconds, by the wall clock of this moment."""
    return int(state.unix(now) * 1000)


def opened(state: SessionState, command_id: int, result: ConnectResult, now: float) -> list[Effect]:
    """Opens the session: records the fact, and sends the reply to connect."""
    identity = state.identity
    fact = Opened(
        at=milliseconds(state, now),
        connection=state.id,
        user=identity.user,
        session_key=identity.session_key,
        client_name=state.name,
        client_version=state.version,
        encoding=state.format.codec.name,
        **details(state),
    )
    state.arrival.settle(needed(state.policy.section))
    # The first ping may be due before the time limit for connecting.
    effects: list[Effect] = [_record(state, fact), Send(connect_reply(state.format, command_id, result)), Reschedule()]
    if identity.user and state.policy.section.single_connection:
        effects.append(CloseOthers(identity.user, state.admitted_at))
    return effects


def details(state: SessionState) -> dict[str, str]:
    """How the client connected, as far as the settings ask for it: for its `Opened` fact, and for refusals before and
    after that. Details that a reload adds are not known for clients that were connected before it."""
    return details_of(state.policy.section, state.arrival, state.format.transport)


def connected(state: SessionState, action: Connect, attached: dict[str, Attached], now: float) -> list[Effect]:
    """Opens the session with the channels that the reply to connect contains."""
    for request in action.requests:
        state.channels[request.channel] = request.subscription
    results = {
        request.channel: tailored(state.format, request.subscription, attached[request.channel].result)
        for request in action.requests
    }
    subs, positions = fit_into_reply(results)
    for channel, each in attached.items():
        if (position := each.behind or each.position) is not None:
            positions.setdefault(channel, position)
    effects = opened(state, action.command_id, replace(action.result, subs=subs), now)
    effects.append(CatchUp(positions))
    for request in action.requests:
        effects += _entered(state, request, results[request.channel], attached[request.channel], now)
    return effects


def subscribed(
    state: SessionState, request: AttachRequest, attached: Attached, blocked: bool, now: float
) -> tuple[list[Effect], bool]:
    """Subscribes the client to a channel. A client that is `blocked` continues from its position in the log.

    Also returns whether the client has to catch up before anything else is written.
    """
    channel, subscription = request.channel, request.subscription
    state.channels[channel] = subscription
    whole = result = tailored(state.format, subscription, attached.result)
    positions: dict[str, StreamPosition] = {}
    if result.publications:
        fitted, positions = fit_into_reply({channel: result})
        result = fitted[channel]
    if request.command_id:
        effects: list[Effect] = [Send(reply_to(request.command_id, result))]
    else:
        effects = [Send(push) for push in subscribe_pushes(channel, result)]
    if attached.behind is not None:
        positions.setdefault(channel, attached.behind)
    elif blocked and attached.position is not None:
        positions.setdefault(channel, attached.position)
    if positions:
        effects.append(CatchUp(positions))
    effects += _entered(state, request, whole, attached, now)
    return effects, bool(positions)


def changes(state: SessionState) -> list[Effect]:
    """Announces what a refresh has changed in what others see of the client."""
    return [Announce(channel, each) for channel, each in state.channels.items() if each.news]


def unsubscribed(state: SessionState, channel: str, reply: Reply, now: float) -> list[Effect]:
    """Unsubscribes the client from a channel at its own request."""
    fact = Unsubscribed(at=milliseconds(state, now), connection=state.id, channel=channel, by=BY_CLIENT)
    return [*_leave(state, channel), _record(state, fact), Send(reply)]


def renewed(state: SessionState, channel: str, now: float) -> list[Effect]:
    """The connection, or its subscription to `channel`, has a new expiry: records it, announces changes that others
    see, and sets the timer again."""
    expires_at = state.channels[channel].expires_at if channel else state.identity.expires_at
    fact = Refreshed(milliseconds(state, now), state.id, channel, min(max(expires_at, 0), _LATEST_S) * 1000)
    return [_record(state, fact), *changes(state), Reschedule()]


def unsubscribed_by_server(
    state: SessionState, channel: str, why: UnsubscribeCode, now: float, by: str
) -> list[Effect]:
    """Unsubscribes the client from a channel, and pushes the reason to it."""
    fact = Unsubscribed(milliseconds(state, now), state.id, channel, why.code, by, why.reason)
    push = Push(channel=channel, unsubscribe=UnsubscribePush(*why))
    return [*_leave(state, channel), _record(state, fact), Send(Reply(push=push))]


def _entered(
    state: SessionState, request: AttachRequest, result: SubscribeResult, attached: Attached, now: float
) -> list[Effect]:
    """`result` has all publications that the client gets, in the reply or in the pushes that follow it."""
    subscription, channel = request.subscription, request.channel
    subscription.show(state.identity.info)  # a refresh may have changed it meanwhile
    recovered = result.recovered if result.was_recovering else None
    since = request.recover.offset if request.recover is not None and result.was_recovering else 0
    fact = Subscribed(
        milliseconds(state, now),
        state.id,
        channel,
        recovered,
        result.offset,
        recovered_from=min(since, MAX_NATURAL),  # a client may send any number
        recovered_count=_count(result, attached) if recovered else 0,
    )
    effects: list[Effect] = [_record(state, fact)]
    if subscription.emits_join_leave and subscription.member is not None:
        effects.append(Announce(channel, subscription))
    if subscription.expires_at:
        effects.append(Reschedule())
    return effects


def _count(result: SubscribeResult, attached: Attached) -> int:
    """The publications that the client missed. Those that it has yet to catch up with are counted by their offsets."""
    count = len(result.publications)
    if attached.behind is not None and attached.position is not None:
        count += max(0, attached.position.offset - attached.behind.offset)
    return min(count, MAX_COUNT)


def _leave(state: SessionState, channel: str) -> tuple[Flush, Detach]:
    """Publications that are pending are written before the client is detached."""
    del state.channels[channel]
    return Flush((channel,)), Detach((channel,))


def _record(state: SessionState, fact: SessionEvent) -> Record:
    """Records what the command that is being handled has caused."""
    return Record(fact, None if state.trace is None else state.trace.context)
