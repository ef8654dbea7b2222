"""Windows of time, and the local hours and days within them.

A window is half open, `[start, end)`, and knows its time zone. Days begin at local midnight, so some have 23 or 25
hours; where a clock change skips midnight, the day begins with the change.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Literal, get_args
from zoneinfo import ZoneInfo

from fleetpulse.errors import InvalidInputError

Range = Literal["today", "yesterday", "7d", "30d"]
RANGES: tuple[Range, ...] = get_args(Range)
DAYS: dict[Range, int] = {"today": 1, "7d": 7, "30d": 30}
MAX_DAYS = 400
QUARTER_SECONDS = 900  # every offset from UTC in use since 1972 is a multiple of it
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
TIME = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?([Zz]|[+-]\d{2}:\d{2})")
PLUS_LOST = re.compile(r" (\d{2}:\d{2})$")  # an unescaped + in a query string is a blank


@dataclass(frozen=True)
class Window:
    """`[start, end)`; both are aware, in the time zone whose hours and days count."""

    start: datetime
    end: datetime

    @classmethod
    def of(cls, name: Range, now: datetime) -> "Window":
        """A named one, as seen from `now` (aware, in the zone): up to now, but `yesterday` ends at midnight.

        `7d` and `30d` are whole local days, today the last of them.
        """
        today = midnight(now.date(), now)
        if name == "yesterday":
            return cls(midnight(now.date() - timedelta(days=1), now), today)
        return cls(midnight(now.date() - timedelta(days=DAYS[name] - 1), now), now)

    @classmethod
    def between(cls, start: str, end: str | None, now: datetime) -> "Window":
        """From two texts: RFC 3339 with an offset, or a date, which is its midnight in the zone of `now`.

        Without `end`, it is up to now. Raises InvalidInputError.
        """
        began = moment("start", start, now)
        ended = now if end is None else moment("end", end, now)
        if began.timestamp() > now.timestamp():
            raise _wrong("start", "lies in the future")
        if ended.timestamp() <= began.timestamp():
            raise _wrong("end", "must be after start")
        if ended.timestamp() - began.timestamp() > MAX_DAYS * 86_400:
            raise _wrong("end", f"is more than {MAX_DAYS} days after start")
        return cls(began, ended)

    def days(self) -> list[datetime]:
        """Where the window begins, every midnight within it, and where it ends."""
        day = self.start.date()
        edges = [self.start]
        while (edge := midnight(day := day + timedelta(days=1), self.start)).timestamp() < self._ended:
            if edge.timestamp() > edges[-1].timestamp():  # a zone may leave a whole day out
                edges.append(edge)
        return [*edges, self.end]

    def hours(self) -> list[datetime]:
        """Where the window begins, every full hour of the local clock within it, and where it ends."""
        first = int(self.start.timestamp() // QUARTER_SECONDS + 1) * QUARTER_SECONDS
        quarters = range(first, math.ceil(self._ended), QUARTER_SECONDS)
        local = (datetime.fromtimestamp(seconds, self.start.tzinfo) for seconds in quarters)
        return [
            self.start,
            *(edge for edge in local if edge.minute == 0 and edge.timestamp() < self._ended),
            self.end,
        ]

    @property
    def _ended(self) -> float:
        return self.end.timestamp()


def midnight(day: date, like: datetime) -> datetime:
    """When a day begins in the zone of `like`. Where clocks are set back at midnight, with the first of the two."""
    begun = datetime.combine(day, time(), like.tzinfo)
    return datetime.fromtimestamp(begun.timestamp(), like.tzinfo)  # where there is no midnight: what follows it


def moment(name: str, text: str, now: datetime) -> datetime:
    """A time of a query string, in the zone of `now`. Raises InvalidInputError that names the parameter."""
    text = PLUS_LOST.sub(r"+\1", text)
    try:
        if DATE.fullmatch(text):
            return midnight(date.fromisoformat(text), now)
        if TIME.fullmatch(text):
            return datetime.fromisoformat(text.upper()).astimezone(now.tzinfo)
    except (ValueError, OverflowError):  # no such day, or a calendar's end
        pass
    raise _wrong(name, "is neither a date (2025-01-31) nor a time with an offset (2025-01-31T14:00:00Z)")


def zoned(seconds: float, zone: ZoneInfo) -> datetime:
    """Unix seconds in a time zone."""
    return datetime.fromtimestamp(seconds, zone)


def stamps(edges: Sequence[datetime]) -> list[float]:
    """Unix seconds, to the millisecond as Prometheus keeps them."""
    return [round(edge.timestamp(), 3) for edge in edges]


def _wrong(name: str, message: str) -> InvalidInputError:
    return InvalidInputError("the query does not validate", [{"loc": ["query", name], "msg": message}])
