"""When scheduled reports are due, by the local clock: every day, every Monday, every first of the month.

Pure arithmetic. A time that a clock change skips is due as much later as the clock went ahead; one that comes twice
is due the first time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from zoneinfo import ZoneInfo

from fleetpulse import config
from fleetpulse.query.periods import Kind, Period, current, period_of


@dataclass(frozen=True)
class Schedule:
    """One report's: it is due at `at` on the first day of each day, week or month, and is of the one before."""

    kind: Kind
    at: time
    zone: ZoneInfo

    def latest(self, now: datetime) -> datetime:
        """The last moment up to `now` when it was due."""
        period = current(self.kind, now, self.zone)
        due = self._due(period.first)
        return due if due.timestamp() <= now.timestamp() else self._due(period.before().first)

    def following(self, now: datetime) -> datetime:
        """The first moment after `now` when it is due."""
        period = current(self.kind, now, self.zone)
        due = self._due(period.first)
        return due if due.timestamp() > now.timestamp() else self._due(period.after)

    def period(self, due: datetime) -> Period:
        """What a report that is due at that moment is of."""
        return period_of(self.kind, due.astimezone(self.zone).date(), self.zone).before()

    def _due(self, day: date) -> datetime:
        begun = datetime.combine(day, self.at, self.zone)
        return datetime.fromtimestamp(begun.timestamp(), self.zone)


def schedules(settings: config.Reports, zone: ZoneInfo) -> Iterator[Schedule]:
    """Those that are set."""
    times: tuple[tuple[Kind, str | None], ...] = (
        ("daily", settings.daily_at),
        ("weekly", settings.weekly_at),
        ("monthly", settings.monthly_at),
    )
    for kind, at in times:
        if at is not None:
            yield Schedule(kind, time.fromisoformat(at), zone)
