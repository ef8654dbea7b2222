"""Who was active when, from the rows: what the counts of users begin with after a start."""

import sqlite3
from typing import NamedTuple

SLOT_SECONDS = 300


class Activity(NamedTuple):
    """What one user did within one slot of SLOT_SECONDS, or within a part of it; cost in USD."""

    moment: float
    user_id: str
    requests: int
    cost: float


def read_activity(connection: sqlite3.Connection, after: int, last: int, since: float) -> list[Activity]:
    """What users did in the rows with `after` < id <= `last` that were received since then (Unix seconds).

    Requests without a user count for one without a name, so that an empty answer means there are no such rows.
    """
    rows = connection.execute(
        "SELECT CAST(received_at / ?4 AS INTEGER) * ?4, user_id, count(*), total(cost) FROM requests "
        "WHERE id > ?1 AND id <= ?2 AND received_at >= ?3 GROUP BY 1, 2",
        (after, last, since, SLOT_SECONDS),
    )
    return [Activity(*row) for row in rows]
