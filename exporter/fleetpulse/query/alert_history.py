"""Alerts that fired at some time in a window, from the journal's alert events.

An event is one change of one alert; here the two of each, fired and resolved, are one again. Alerts of severity
`none` (the watchdog, which always fires) are left out.
"""

import sqlite3
from datetime import datetime

from fleetpulse.query.report import AlertCount, AlertLine, Alerts

COUNTED = 100  # names of alerts at most
LISTED = 50

# An alert that fires is there until its end is known. One without a label `source` is every source's.
_FIRED = """
    FROM alert_events AS fired LEFT JOIN alert_events AS resolved
        ON resolved.event_key = fired.fingerprint || '/' || fired.starts_at || '/resolved'
    WHERE fired.status = 'firing' AND fired.severity <> 'none' AND fired.received_at < :end
        AND (fired.received_at >= :start OR resolved.event_key IS NULL OR resolved.received_at >= :start)
        AND (:source IS NULL OR coalesce(json_extract(fired.labels, '$.source'), :source) = :source)
"""
_COUNTS = f"""
    SELECT fired.alertname, fired.severity, count(*) {_FIRED}
    GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2
"""
_LINES = f"""
    SELECT fired.alertname, fired.severity, fired.starts_at, resolved.ends_at,
        coalesce(json_extract(fired.annotations, '$.summary'), fired.alertname) {_FIRED}
    ORDER BY fired.id DESC LIMIT {LISTED}
"""


def alerts_between(connection: sqlite3.Connection, start: float, end: float, source: str | None) -> Alerts:
    """Counts by name, and the newest of them; `start` and `end` are Unix seconds."""
    window = {"start": start, "end": end, "source": source}
    counts = [
        AlertCount(alertname=name, severity=severity, times=times)
        for name, severity, times in connection.execute(_COUNTS, window)
    ]
    lines = [_line(*row) for row in connection.execute(_LINES, window)]
    return Alerts(total=sum(count.times for count in counts), by_name=counts[:COUNTED], items=lines)


def _line(alertname: str, severity: str, starts_at: str, ends_at: str | None, summary: str) -> AlertLine:
    return AlertLine(
        alertname=alertname,
        severity=severity,
        summary=summary,
        starts_at=datetime.fromisoformat(starts_at),
        ends_at=datetime.fromisoformat(ends_at) if ends_at else None,
    )
