"""Moments and periods as people write them, in the local time zone: pure but for that zone.

A moment is "now", "14:02", "14:02:30", "14:02:30+02:00", "yesterday 14:02", "2026-11-28", "2026-11-28 14:02", ISO 8601
with or without a zone, or "10m ago", to the second. A time of day means the latest one in the past: when it is 9:00,
"14:02" is yesterday's; when clocks were set back, what was twice means the second time. Where a period begins, a
duration alone means that long ago: "1h", "1h30m", "10 min", "2 days".
"""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta, timezone
from typing import Final

from services.chassis.process.settings import Duration

EXPECTED: Final = '"14:02", "yesterday 14:02", "2026-11-28 14:02", "2026-11-28T14:02:30+01:00" or "10m ago"'

_UNITS: Final = {
    **dict.fromkeys(("sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), "m"),
    **dict.fromkeys(("hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("day", "days"), "d"),
}
_TIME: Final = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d)(\.\d{1,6})?)?(?: ?([+-])(\d\d):(\d\d))?", re.ASCII)
_FRACTION: Final = re.compile(r":\d\d[.,]\d", re.ASCII)
_DAY: Final = timedelta(days=1)
REST_OF_SECOND: Final = timedelta(milliseconds=999)
"""Up to the last moment of a second: facts have times in milliseconds."""
_EARLIEST: Final = 1970


class BadMoment(ValueError):
    """The text is not a moment, one that never was, or one in the future. The message says what was expected."""


def moment(text: str, now: datetime) -> datetime:
    """The moment that `text` means when it is `now`, in the local zone. Raises `BadMoment`."""
    found = _moment(" ".join(text.split()).lower(), now)
    if found is None:
        raise BadMoment(f"expected a time such as {EXPECTED}, not {text!r}")
    if found > now:
        raise BadMoment(f"expected a time in the past, not {text!r}: it is now {now.astimezone():%Y-%m-%d %H:%M:%S %Z}")
    if found.year < _EARLIEST:
        raise BadMoment(f"expected a time since {_EARLIEST}, not {text!r}")
    return found


def of_presence(text: str, now: datetime) -> datetime:
    """The moment for a question about who was there: the end of the second that `text` names, but not after `now`.
    Tables show times to the second, and clients that came in a second were there at its end. A time with a fraction is
    exact."""
    found = moment(text, now)
    return found if found.microsecond or _FRACTION.search(text) else min(found + REST_OF_SECOND, now)


def beginning(text: str, now: datetime) -> datetime:
    """The moment where a period begins: a duration before `now`, or a moment. Raises `BadMoment`."""
    before = _duration(" ".join(text.split()).lower())
    if before is not None:
        return _ago(before, now, text)
    try:
        return moment(text, now)
    except BadMoment as error:
        raise BadMoment(f"{error}; or a duration such as 1h" if EXPECTED in str(error) else f"{error}") from None


def _moment(text: str, now: datetime) -> datetime | None:
    if text == "now":
        return now
    if text.endswith(" ago"):
        before = _duration(text.removesuffix(" ago"))
        return None if before is None else _ago(before, now, text)
    named, _, rest = text.rpartition(" ")
    if named in ("today", "yesterday"):
        of_day = _time(rest)
        return None if of_day is None else _at(_day(named, now), of_day, now, text)
    if text in ("today", "yesterday"):
        return _beginning_of(_day(text, now))
    of_day = _time(text)
    if of_day is not None:
        return _latest(of_day, now, text)
    try:
        return _beginning_of(date.fromisoformat(text.upper()))
    except (ValueError, OverflowError, OSError):
        pass
    try:
        found = datetime.fromisoformat(text.upper())
        return _at(found.date(), found.timetz(), now, text)
    except BadMoment:
        raise
    except (ValueError, OverflowError, OSError):
        return None


def _day(named: str, now: datetime) -> date:
    today = now.astimezone().date()
    return today - _DAY if named == "yesterday" else today


def _beginning_of(day: date) -> datetime:
    """The first moment of a day: not midnight, where clocks are set forward then."""
    return datetime.fromtimestamp(datetime.combine(day, time()).timestamp()).astimezone()


def _latest(of_day: time, now: datetime, text: str) -> datetime:
    """The latest moment with this time of day: today's, or yesterday's if today's is still to come."""
    today = now.astimezone(of_day.tzinfo)
    was_today = of_day.replace(tzinfo=None) <= today.time()
    try:
        at = _at(today.date(), of_day, now, text)
    except BadMoment:
        if was_today:
            raise
    else:
        if at <= now:
            return at
    return _at(today.date() - _DAY, of_day, now, text)


def _at(day: date, of_day: time, now: datetime, text: str) -> datetime:
    """The moment when clocks showed this, in the time's own zone or the local one. When they were set back, they showed
    it twice: the second time counts if it has come. Raises `BadMoment` if they were set forward past it."""
    shown = datetime.combine(day, of_day)
    if shown.tzinfo is not None:
        return shown.astimezone()
    both = [shown.replace(fold=fold).astimezone() for fold in (1, 0)]
    found = [at for at in both if at.replace(tzinfo=None) == shown]
    if not found:
        raise BadMoment(f"expected a time that there was, not {text!r}: on {day} clocks were set forward past it")
    return next((at for at in found if at <= now), found[-1])


def _time(text: str) -> time | None:
    written = _TIME.fullmatch(text)
    if written is None:
        return None
    hours, minutes, seconds, fraction, sign, *offset = written.groups()
    try:
        zone = None
        if sign:
            east = timedelta(hours=int(offset[0]), minutes=int(offset[1]))
            zone = timezone(east if sign == "+" else -east)
        microseconds = round(float(fraction or 0) * 1e6) % 1_000_000
        return time(int(hours), int(minutes), int(seconds or 0), microseconds, zone)
    except ValueError:
        return None


def _duration(text: str) -> timedelta | None:
    """A duration as settings take it, or with a unit in words. None if it is neither, as for a bare number."""
    parts = re.findall(r"[\d.]+|[a-z]+", text, re.ASCII)
    if not parts or "".join(parts) != text.replace(" ", "") or len(parts) % 2:
        return None
    try:
        return timedelta(seconds=Duration.parse("".join(_UNITS.get(part, part) for part in parts)))
    except ValueError:
        return None


def _ago(before: timedelta, now: datetime, text: str) -> datetime:
    try:
        found = (now - before).replace(microsecond=0).astimezone()
    except (OverflowError, ValueError, OSError):
        raise BadMoment(f"expected a shorter time than {text!r}") from None
    return found
