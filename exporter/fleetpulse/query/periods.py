"""Days, weeks and months in the configured time zone: which one a report is of, and which one came before.

They begin at local midnight, weeks on Monday, so days of 23 or 25 hours are right. Where clocks are turned back at
midnight, the day begins with the first of the two; where midnight is skipped, with the first moment after.
"""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

Kind = Literal["daily", "weekly", "monthly"]
KINDS: tuple[Kind, ...] = ("daily", "weekly", "monthly")


@dataclass(frozen=True)
class Period:
    """A local day, week or month: from midnight of `first` up to midnight of `after`."""

    kind: Kind
    first: date
    after: date
    zone: ZoneInfo

    @property
    def start(self) -> datetime:
        """Its first moment."""
        return midnight(self.first, self.zone)

    @property
    def end(self) -> datetime:
        """The first moment after it."""
        return midnight(self.after, self.zone)

    @property
    def last(self) -> date:
        """Its last day."""
        return self.after - timedelta(days=1)

    def before(self) -> "Period":
        """The period before."""
        return period_of(self.kind, self.first - timedelta(days=1), self.zone)

    def same_part(self, now: datetime) -> datetime:
        """The moment of this period that its clocks and calendars show as they show `now` in the period after.

        So on the 12th at 14:05, the month before is taken up to its own 12th, 14:05; or whole, where it is shorter.
        """
        local = now.astimezone(self.zone).replace(tzinfo=None)
        passed = local - datetime.combine(self.after, time())
        moment = (datetime.combine(self.first, time()) + passed).replace(tzinfo=self.zone)
        return min(moment, self.end, key=datetime.timestamp)


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """When a local day begins."""
    begun = datetime.combine(day, time(), zone)
    return datetime.fromtimestamp(begun.timestamp(), zone)


def period_of(kind: Kind, day: date, zone: ZoneInfo) -> Period:
    """The period that holds a local day."""
    if kind == "daily":
        return Period(kind, day, day + timedelta(days=1), zone)
    if kind == "weekly":
        monday = day - timedelta(days=day.weekday())
        return Period(kind, monday, monday + timedelta(days=7), zone)
    first = day.replace(day=1)
    return Period(kind, first, (first + timedelta(days=31)).replace(day=1), zone)


def current(kind: Kind, now: datetime, zone: ZoneInfo) -> Period:
    """The period that holds a moment."""
    return period_of(kind, now.astimezone(zone).date(), zone)
