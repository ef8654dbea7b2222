"""Times as Alertmanager takes them: within one day each, in a time zone."""

from typing import Any, get_args

from fleetpulse.config.alerting import QUIET_HOURS, Alerting, TimeInterval, Weekday

DAYS: tuple[str, ...] = get_args(Weekday)
MIDNIGHT = "24:00"


def time_intervals(settings: Alerting, zone: str) -> list[dict[str, Any]]:
    """Every named time, quiet hours among them; `zone` where an interval names none."""
    quiet = [TimeInterval(name=QUIET_HOURS, **each.model_dump()) for each in settings.quiet_hours]
    windows: dict[str, list[dict[str, Any]]] = {}
    for interval in (*settings.time_intervals, *quiet):
        windows.setdefault(interval.name, []).extend(_windows(interval, interval.timezone or zone))
    return [{"name": name, "time_intervals": parts} for name, parts in windows.items()]


def _windows(interval: TimeInterval, zone: str) -> list[dict[str, Any]]:
    """One window, or two for what goes on after midnight: the second is on the days after."""
    start, end = interval.start or "00:00", interval.end or "00:00"
    if not interval.overnight:
        return [_window(interval, start, MIDNIGHT if end == "00:00" else end, interval.weekdays, zone)]
    after = tuple(DAYS[(DAYS.index(day) + 1) % len(DAYS)] for day in interval.weekdays)
    return [
        _window(interval, start, MIDNIGHT, interval.weekdays, zone),
        _window(interval, "00:00", end, after, zone),
    ]


def _window(interval: TimeInterval, start: str, end: str, weekdays: tuple[str, ...], zone: str) -> dict[str, Any]:
    narrowed = {
        "weekdays": list(weekdays),
        "days_of_month": list(interval.days_of_month),
        "months": [str(month) for month in interval.months],
    }
    return {
        "times": [{"start_time": start, "end_time": end}],
        **{name: values for name, values in narrowed.items() if values},
        "location": zone,
    }
