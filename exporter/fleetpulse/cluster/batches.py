"""Rows on their way between replicas: some of a table's rows, after one id and up to another.

A batch is JSON: `{"epoch", "table", "after", "upto", "rows": [[id, column, …], …]}`. It speaks for every id in
(after, upto]: one that is not in it is gone. Batches are bounded in rows and in bytes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import orjson

from fleetpulse.journal import MessageRow, Numbered, Row, Table
from fleetpulse.journal.rows import TABLES

BATCH_ROWS = 256
BATCH_BYTES = 256 * 2**10
MAX_ID = 2**63 - 1
_TABLES = {table.name: table for table in TABLES}


class Batch(NamedTuple):
    """Some rows of a table of the replica whose journal has this epoch."""

    epoch: str
    table: Table
    after: int
    upto: int
    rows: Sequence[Numbered]


def packed(epoch: str, table: Table, after: int, upto: int, rows: Iterable[Numbered]) -> Iterator[dict[str, Any]]:
    """The rows with ids in (after, upto] as payloads for the bus: as many as it takes, one at least."""
    part: list[bytes] = []
    size = 0
    for number, row in ((each.number, each.row) for each in rows):
        one = orjson.dumps([number, *_light(row)])
        if part and (len(part) == BATCH_ROWS or size + len(one) > BATCH_BYTES):
            yield _payload(epoch, table, after, number - 1, part)
            after, part, size = number - 1, [], 0
        part.append(one)
        size += len(one)
    yield _payload(epoch, table, after, upto, part)


def unpacked(payload: Mapping[str, Any]) -> Batch:
    """The batch of a payload; raises KeyError, TypeError or ValueError for what is none.

    A newer version's columns come last and are left out; an older one's are filled with defaults.
    """
    table = _TABLES[payload["table"]]
    width = len(table.columns) + 1
    after, upto = row_id(payload["after"]), row_id(payload["upto"])
    if len(payload["rows"]) > BATCH_ROWS:
        raise ValueError(f"{len(payload['rows'])} rows are too many for one batch")
    rows = [Numbered(row_id(row[0]), table.row(*map(_plain, row[1:width]))) for row in payload["rows"]]
    places = [after, *(each.number for each in rows), upto + 1]
    if any(later <= earlier for earlier, later in pairwise(places)):
        raise ValueError("the rows are not those between `after` and `upto`, in order")
    return Batch(str(payload["epoch"]), table, after, upto, rows)


def row_id(value: object) -> int:
    """An id that came over the bus; raises ValueError for what cannot be one."""
    if type(value) is not int or not 0 <= value <= MAX_ID:
        raise ValueError(f"no id of a row: {str(value)[:100]}")
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, list | dict):
        raise TypeError("a column holds neither an array nor an object")
    return value


def _light(row: Row) -> Row:
    """A recorded message without its payload, which stays at its replica: it may be large, and bytes."""
    return row._replace(raw=None) if isinstance(row, MessageRow) and row.raw is not None else row


def _payload(epoch: str, table: Table, after: int, upto: int, rows: Sequence[bytes]) -> dict[str, Any]:
    body = orjson.Fragment(b"[" + b",".join(rows) + b"]")
    return {"epoch": epoch, "table": table.name, "after": after, "upto": upto, "rows": body}
