"""Who wrote in recorded streams, from the rows: what the counts of users begin with after a start."""

import sqlite3
from typing import NamedTuple


class Talker(NamedTuple):
    """What one user wrote in one stream within some rows; when they were received, in Unix seconds."""

    stream: str
    user_id: str
    messages: int
    first: float
    last: float


def read_talkers(
    connection: sqlite3.Connection, after: int, last: int, since: float, day: float
) -> list[Talker] | None:
    """Who wrote in the rows with `after` < id <= `last` that were received since then; who wrote last, last.

    What lies before `day` and what does not are told apart: a user may be there twice. None where there are rows,
    and all are older, so that a reader that goes back knows that it is done.
    """
    newest = connection.execute(
        "SELECT max(received_at) FROM messages WHERE id > ?1 AND id <= ?2", (after, last)
    ).fetchone()[0]
    if newest is not None and newest < since:
        return None
    rows = connection.execute(
        "SELECT stream, user_id, count(*), min(received_at), max(received_at) AS heard FROM messages "
        "WHERE id > ?1 AND id <= ?2 AND received_at >= ?3 AND connection IS NOT NULL AND user_id != '' "
        "GROUP BY received_at >= ?4, stream, user_id ORDER BY heard",
        (after, last, since, day),
    )
    return [Talker(*row) for row in rows]
