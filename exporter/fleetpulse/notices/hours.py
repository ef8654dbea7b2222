"""Quiet hours: whether a moment lies in them, and when they end. Pure arithmetic by the local clock.

A time that a clock change skips is as much later as the clock went ahead; one that comes twice is the first.
"""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from fleetpulse.config.alerting import QuietHours

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
JOINED = 16  # hours that follow each other are one; such as never end are looked at again after these


def quiet_until(hours: Sequence[QuietHours], zone: str, now: float) -> float | None:
    """When the quiet hours that hold `now` end (Unix seconds); None where it lies in none.

    `zone` is for those that name no time zone.
    """
    until = now
    for _ in range(JOINED):
        ends = [end for each in hours if (end := _end(each, each.timezone or zone, until)) is not None]
        if not ends:
            break
        until = max(ends)
    return until if until > now else None


def _end(hours: QuietHours, zone: str, moment: float) -> float | None:
    """The end of the occurrence that holds a moment: it began today or yesterday."""
    local = ZoneInfo(zone)
    today = datetime.fromtimestamp(moment, local).date()
    for day in (today - timedelta(days=1), today):
        if hours.weekdays and WEEKDAYS[day.weekday()] not in hours.weekdays:
            continue
        last = day if hours.end > hours.start else day + timedelta(days=1)
        if _at(day, hours.start, local) <= moment < (end := _at(last, hours.end, local)):
            return end
    return None


def _at(day: date, clock: str, zone: ZoneInfo) -> float:
    return datetime.combine(day, time.fromisoformat(clock), zone).timestamp()
