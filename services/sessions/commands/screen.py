"""How answers look: tables as wide as the terminal, times in the local zone, durations and counts as people say them.

Control characters in texts of clients never reach a terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, Protocol

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from services.sessions.commands.moments import REST_OF_SECOND
from services.sessions.commands.plot import condensed, curve
from services.sessions.commands.tables import GAP, INDENT, listed, shortened, stacked, width, widths
from services.sessions.printing import printable
from services.sessions.queries.periods import DAY_S, HOUR_S, MINUTE_S, Period, Point

ANONYMOUS: Final = "(anonymous)"
"""The user of clients without one."""

_UNBOUND: Final = 10_000
"""Columns of output that is not a terminal: a file or a pipe gets whole lines."""
_PLOT: Final = 100
"""Columns of a plot in such output."""
_WIDEST: Final = 6
"""Columns of one value, in a plot of few values."""

_NARROW: Final = 20
"""A column of at most this width is not broken."""
_LEAST: Final = 8
"""The least width of a column that may be broken."""


class Counted(Protocol):
    """Anything that has a count."""

    @property
    def count(self) -> int: ...


class Screen:
    """Prints one answer at `now`, as wide as the terminal; NO_COLOR switches bold text off."""

    def __init__(self, now: datetime) -> None:
        self.now = now.astimezone()
        terminal = sys.stdout.isatty()
        self._console = Console(
            file=sys.stdout,
            width=None if terminal else _UNBOUND,
            markup=False,
            highlight=False,
            emoji=False,
            soft_wrap=False,
        )
        self._bold = "" if self._console.no_color else "bold"
        self._plot_width = min(self._console.width, 200) if terminal else _PLOT

    def say(self, sentence: str = "") -> None:
        """Prints a sentence. Texts of clients in it must be `printable`."""
        self._console.print(Text(sentence))

    def heading(self, text: str) -> None:
        """Prints a line that names what follows."""
        self._console.print(Text(text, style=self._bold))

    def block(self, heading: str, sentences: Sequence[str]) -> None:
        """Prints a heading, and below it, indented, the sentences that belong to it. Lines that are too long go on
        indented, too."""
        room = max(1, self._console.width - INDENT)
        head, *more = [heading] if cell_len(heading) <= self._console.width else self._lines(heading, room)
        self.heading(head)
        for line in more:
            self.heading(" " * INDENT + line)
        for sentence in sentences:
            for line in self._lines(sentence, room):
                self.say(" " * INDENT + line)

    def _lines(self, text: str, room: int) -> list[str]:
        return [line.plain.rstrip() for line in Text(text).wrap(self._console, room)]

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[str]],
        numbers: Sequence[int] = (),
        *,
        ids: Sequence[int] = (),
        below: int | None = None,
        together: Sequence[int] = (),
    ) -> bool:
        """Prints rows; the columns at the places `numbers` are numbers. Cells may hold any text. A column that is empty
        in each row is left out; of the columns `together`, all are left out or none.

        If there is no room, ids in the columns `ids` are cut to what tells them apart, and the column `below` is
        printed below each row. If narrow columns would be broken nevertheless, cells are printed below each other.
        Returns whether ids were cut.
        """
        empty = {place for place in range(len(columns)) if rows and not any(row[place] for row in rows)}
        if not empty.issuperset(together):
            empty.difference_update(together)
        shown = [place for place in range(len(columns)) if place not in empty]
        columns = [columns[place] for place in shown]
        numbers, ids = (_moved(places, shown) for places in (numbers, ids))
        below = None if below is None else next(iter(_moved([below], shown)), None)
        cells = [[printable(row[place]) for place in shown] for row in rows]
        room = self._console.width
        short = shortened(cells, ids) if width(columns, cells) > room else cells
        if below is not None and width(columns, short) > room:
            head, *lines = stacked(columns, short, numbers, below, room) or [""]
            if head:
                self.heading(head)
                for line in lines:
                    self.say(line)
                return short != cells
        self._print(columns, short, numbers)
        return short != cells

    def _print(self, columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int]) -> None:
        whole = self._whole(columns, rows)
        is_broken = any(room <= _NARROW and place not in whole for place, room in enumerate(widths(columns, rows)))
        if rows and is_broken and width(columns, rows) > self._console.width:
            for line in listed(columns, rows, self._console.width):
                self.say(line)
            return
        shown = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style=self._bold)
        for place, name in enumerate(columns):
            justify: Literal["left", "right"] = "right" if place in numbers else "left"
            shown.add_column(name, justify=justify, overflow="fold", no_wrap=place in whole)
        for row in rows:
            shown.add_row(*map(Text, row))
        with self._console.capture() as printed:
            self._console.print(shown)
        for line in printed.get().splitlines():
            sys.stdout.write(line.rstrip() + "\n")

    def _whole(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> set[int]:
        """The places of the columns that are not broken, so that their texts can be read and copied: the narrow ones,
        as long as there is room for the others."""
        lengths = widths(columns, rows)
        room = self._console.width - len(columns) * GAP - _LEAST * len(columns)
        whole = set[int]()
        for length, place in sorted(zip(lengths, range(len(lengths)), strict=True)):
            room -= max(0, length - _LEAST)
            if room < 0 or length > _NARROW:
                break
            whole.add(place)
        return whole

    def rest(self, shown: Sequence[Counted], total: int, most: int, what: str) -> None:
        """Says what a table of at most `most` groups leaves out."""
        left = total - sum(one.count for one in shown)
        if len(shown) >= most and left > 0:
            self.say()
            self.say(f"These are the {most} largest groups. {counted(left, what)} in other groups.")

    def plot(self, points: Sequence[Point], step_s: int, what: str, peaks: bool = False) -> None:
        """Prints an empty line, and a curve of `what` per step, with its title. If there is no room for each step,
        several are added up, or for `peaks` their greatest is taken. A single step is not a curve. Days are those of
        UTC, as they are counted, and the title says so."""
        if len(points) < 2:
            return
        is_of_days = self.now - points[0].at.astimezone() >= timedelta(hours=24)
        ends_at = points[-1].at + timedelta(seconds=step_s)
        end = "now" if ends_at >= self.now else self._mark(ends_at, step_s, is_of_days)
        room = self._plot_width - 3 - max(len(str(sum(one.count for one in points))), 1) - len(end)
        values, size = condensed([one.count for one in points], room, max if peaks else sum)
        marks = [self._mark(one.at, step_s, is_of_days) for one in points[::size]]
        wide = max(1, min(_WIDEST, room // len(values)))
        self.say()
        days = " (days in UTC)" if step_s >= DAY_S else ""
        self.heading(f"{what} per {spoken(timedelta(seconds=step_s * size)).removeprefix('1 ')}{days}")
        for line in curve(values, marks, end, wide):
            self._console.print(Text(line))

    def _mark(self, at: datetime, step_s: int, with_day: bool) -> str:
        if step_s >= DAY_S:
            of_utc = at.astimezone(UTC)
            return f"{of_utc.day} {of_utc:%b}"
        local = at.astimezone()
        return f"{local.day} {local:%b} {self.hour(at)}" if with_day else self.hour(at)

    def time(self, at: datetime | None, seconds: bool = True, rest: str = "") -> str:
        """A moment in the local zone, without the day if that is today; "" for None. `rest` is printed
        after the seconds: their fraction."""
        if at is None:
            return ""
        of_day = self._of_day(at, ("%H:%M:%S" if seconds else "%H:%M"), rest)
        if at.astimezone().date() == self.now.date():
            return of_day
        return f"{self.day(at)} {of_day}"

    def hour(self, at: datetime) -> str:
        """A moment in the local zone, to the minute, without its day."""
        return self._of_day(at, "%H:%M")

    def _of_day(self, at: datetime, form: str, rest: str = "") -> str:
        """With its distance to UTC if clocks have been set forward or back since then: `zone` is that of `now`."""
        local = at.astimezone()
        offset = "" if local.utcoffset() == self.now.utcoffset() else _offset(local)
        return f"{local.strftime(form)}{rest}{offset}"

    def exact(self, at: datetime) -> str:
        """A moment in the form that `moments.of_presence` reads: without a fraction it is the end of the second."""
        is_end = at - at.replace(microsecond=0) == REST_OF_SECOND
        return self.time(at, rest="" if is_end else fraction(at) or ".0")

    def day(self, at: datetime) -> str:
        """The day of a moment in the local zone, with the year if that is another one."""
        local = at.astimezone()
        return f"{local.day} {local:%b}" + (f" {local.year}" if local.year != self.now.year else "")

    @property
    def zone(self) -> str:
        """The zone of the times that do not name another one, and the day of those without one: "28 Nov 2026, UTC"."""
        return f"{self.now.day} {self.now:%b %Y}, {zone_of(self.now)}"

    def period(self, period: Period) -> str:
        """The period in words, with its zone: to the minute, or as exact as its bounds. A rounded period may end in the
        future."""
        until = "now" if period.until > self.now - timedelta(seconds=1) else self._bound(period.until)
        return f"from {self._bound(period.since)} to {until} ({self.zone})"

    def _bound(self, at: datetime) -> str:
        return self.time(at, seconds=bool(at.second or at.microsecond), rest=fraction(at))


def fraction(at: datetime) -> str:
    """The fraction of the second of a moment: ".8", or "" for none."""
    return f".{at.microsecond:06}".rstrip("0.")


def _moved(places: Sequence[int], shown: Sequence[int]) -> list[int]:
    """Where the columns at these places stand among those that are shown."""
    return [shown.index(place) for place in places if place in shown]


def zone_of(at: datetime) -> str:
    """The zone of a moment: its name, and its distance to UTC if the name does not say it."""
    shown, name = _offset(at), at.tzname() or ""
    if name == "UTC":
        return name
    return f"{name} ({shown})" if name and name[0] not in "+-" else shown


def _offset(at: datetime) -> str:
    """The distance of a local moment to UTC: "+01:00"."""
    offset = at.strftime("%z")
    return f"{offset[:3]}:{offset[3:]}"


def spoken(length: timedelta) -> str:
    """A duration as people say it: "3.2 s", "4 min", "2 h 5 min", "3 d 4 h"."""
    seconds = length.total_seconds()
    if seconds < 0:
        return "-" + spoken(-length)
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    if seconds < 10:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    if round(seconds) < MINUTE_S:
        return f"{round(seconds)} s"
    if round(seconds) < HOUR_S:
        return _two(round(seconds), MINUTE_S, "min", 1, "s")
    if seconds < 24 * HOUR_S:
        return _two(round(seconds), HOUR_S, "h", MINUTE_S, "min")
    return _two(round(seconds), 24 * HOUR_S, "d", HOUR_S, "h")


def _two(seconds: int, large_s: int, large: str, small_s: int, small: str) -> str:
    whole, rest = seconds // large_s, seconds % large_s // small_s
    return f"{whole} {large}" + (f" {rest} {small}" if rest else "")


def sized(count: int) -> str:
    """A number of bytes: "812 B", "4.1 KiB"."""
    size, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{count} B" if units[0] == "B" else f"{size:.1f} {units[0]}"


def counted(count: int, one: str, many: str = "") -> str:
    """The number with its noun: "1 session", "2 sessions", "1,200 sessions"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def newest(count: int) -> str:
    """How to call these rows: "the newest", "the 20 newest"."""
    return "the newest" if count == 1 else f"the {count:,} newest"


def share(part: int, whole: int) -> str:
    """A part in percent: "12 %", and below ten with one more digit."""
    percent = 100 * part / whole if whole else 0.0
    return f"{percent:.1f} %" if 0 < percent < 10 else f"{percent:.0f} %"


def client_of(name: str, version: str) -> str:
    """A client's name and version in one: "js 5.8.0"; "?" if it gave neither."""
    return " ".join(part for part in (name, version) if part) or "?"
