"""`channels`: which channels have the most subscribers, now or at their peaks; one channel by hour and by day."""

from __future__ import annotations

from datetime import date
from typing import Final

from msgspec import Struct

from services.chassis.postgres.pool import Pool
from services.sessions.commands.question import BadQuestion, NotFound, Question
from services.sessions.commands.screen import Screen, counted
from services.sessions.printing import printable
from services.sessions.queries.channels_postgres import ChannelCurve, ChannelHour, Channels, ChannelUse
from services.sessions.queries.periods import HOUR_S, Period, Point
from services.sessions.queries.subscribed_channels_postgres import SubscribedChannels

_NOW: Final = ("CHANNEL", "SUBSCRIBERS", "PEAK EVER", "AT", "SUBSCRIPTIONS EVER")
_PEAKS: Final = ("CHANNEL", "PEAK", "AT", "SUBSCRIBERS NOW", "SUBSCRIPTIONS")
_DAYS: Final = ("DAY", "PEAK", "IN THE HOUR FROM", "AT ITS END", "SUBSCRIPTIONS")


class ChannelList(Struct):
    """Channels: by their peaks in the period, or by their subscribers now if it is None."""

    period: Period | None
    channels: list[ChannelUse]


async def ask(pool: Pool, question: Question) -> ChannelList | ChannelCurve:
    """The channels, or the curve of one, by the arguments."""
    asked, channels = question.asked, Channels(pool)
    try:
        if asked.channel is not None:
            if asked.peak:
                raise BadQuestion("expected --peak or --channel, not both: a channel is shown with its peaks")
            question.takes_no("limit", where="with --channel: it is one")
            one = await channels.curve(asked.channel, question.period)
            if one is None:
                name = printable(asked.channel)
                raise NotFound(f"nobody ever subscribed to {name!r}, as far as is known: `channels` lists others")
            return one
        if asked.peak:
            return ChannelList(*await channels.peaks(question.period, question.limit))
    except ValueError as error:
        raise BadQuestion(f"--since and --until: {error}") from None
    question.takes_no("since", "until", where="without --peak or --channel: the list is of subscribers now")
    return ChannelList(None, await SubscribedChannels(pool).page(question.limit))


def show(answer: ChannelList | ChannelCurve, question: Question, screen: Screen) -> None:
    """Prints the answer."""
    if isinstance(answer, ChannelCurve):
        _show_curve(answer, screen)
        return
    period = answer.period
    if not answer.channels:
        screen.say("Nobody ever subscribed." if period is None else f"No subscribers {screen.period(period)}.")
        return
    if period is None:
        screen.say(f"The channels with most subscribers at {screen.time(screen.now)} ({screen.zone}).")
        rows = [(one.channel, *_numbers(one.subscribers, one.peak), _at(one, screen), *_numbers(one.subscriptions))
                for one in answer.channels]  # fmt: skip
        places = (1, 2, 4)
    else:
        screen.say(f"The channels with the highest peaks {screen.period(period)}.")
        rows = [(one.channel, *_numbers(one.peak), _at(one, screen), *_numbers(one.subscribers, one.subscriptions))
                for one in answer.channels]  # fmt: skip
        places = (1, 3, 4)
    screen.say()
    screen.table(_NOW if period is None else _PEAKS, rows, numbers=places)


def _numbers(*numbers: int) -> tuple[str, ...]:
    return tuple(f"{number:,}" for number in numbers)


def _at(one: ChannelUse, screen: Screen) -> str:
    if one.peak_at is not None:
        return screen.time(one.peak_at)
    if one.peak_hour is not None:
        return f"in the hour from {screen.time(one.peak_hour, seconds=False)}"
    return "all the time"


def _show_curve(answer: ChannelCurve, screen: Screen) -> None:
    use = answer.use
    screen.say(
        f"{printable(use.channel)}: {counted(use.subscribers, 'subscriber')} at {screen.time(screen.now)}, at most"
        f" {use.peak:,} ever, at {screen.time(use.peak_at)}; {counted(use.subscriptions, 'subscription')} ever"
        f" ({screen.zone})."
    )
    screen.plot([Point(one.at, one.peak) for one in answer.hours], HOUR_S, "most subscribers", peaks=True)
    screen.say()
    rows = []
    for peak_hour, of_day in by_day(answer.hours):
        numbers = f"{of_day.last:,}", f"{of_day.subscriptions:,}"
        rows.append((screen.day(peak_hour.at), f"{of_day.peak:,}", screen.hour(peak_hour.at), *numbers))
    screen.table(_DAYS, rows, numbers=(1, 3, 4))


def by_day(hours: list[ChannelHour]) -> list[tuple[ChannelHour, ChannelHour]]:
    """The hours joined by day of the local zone: the hour of its peak, and the whole of it."""
    days: dict[date, list[ChannelHour]] = {}
    for one in hours:
        days.setdefault(one.at.astimezone().date(), []).append(one)
    joined = []
    for parts in days.values():
        highest = max(parts, key=lambda one: one.peak)
        subscriptions = sum(one.subscriptions for one in parts)
        joined.append((highest, ChannelHour(parts[0].at, highest.peak, parts[-1].last, subscriptions)))
    return joined
