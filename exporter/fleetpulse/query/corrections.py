"""Corrections of costs that were made in a window, from the journal."""

import sqlite3
from datetime import UTC, datetime

from fleetpulse.query.report import CorrectionLine, Corrections
from fleetpulse.series.fold import NO_MODEL

LISTED = 50


def corrections_between(
    connection: sqlite3.Connection, start: float, end: float, source: str | None
) -> Corrections:
    """How many, what they changed the cost by, and the newest of them; `start` and `end` are Unix seconds."""
    window = {"start": start, "end": end, "source": source}
    made = "FROM corrections WHERE made_at >= :start AND made_at < :end AND (:source IS NULL OR source = :source)"
    total, cost = connection.execute(f"SELECT count(*), total(cost) {made}", window).fetchone()
    rows = connection.execute(
        f"SELECT made_at, source, model, requests, cost {made} ORDER BY id DESC LIMIT {LISTED}",
        window,
    )
    return Corrections(total=total, cost=cost, items=[_line(*row) for row in rows])


def _line(made_at: float, source: str, model: str, requests: int, cost: float) -> CorrectionLine:
    when = datetime.fromtimestamp(made_at, UTC)
    return CorrectionLine(made_at=when, source=source, model=model or NO_MODEL, requests=requests, cost=cost)
