"""Rows on their way between replicas: some of a table's rows, after one id and up to another.

A batch is JSON: `{"epoch", "table", "after", "upto", "rows": [[id, column, …], …]}`. It speaks for every id in
(after, upto]: one that is not in it is gone. Batches are bounded in rows and in bytes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from fleetpulse.journal import Numbered, Table
from fleetpulse.journal.rows import TABLES

BATCH_ROWS = 256
BATCH_BYTES = 256 * 2**10
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
        one = orjson.dumps([number, *row])
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
    rows = [Numbered(int(row[0]), table.row(*row[1:width])) for row in payload["rows"]]
    return Batch(str(payload["epoch"]), table, int(payload["after"]), int(payload["upto"]), rows)


def _payload(epoch: str, table: Table, after: int, upto: int, rows: Sequence[bytes]) -> dict[str, Any]:
    body = orjson.Fragment(b"[" + b",".join(rows) + b"]")
    return {"epoch": epoch, "table": table.name, "after": after, "upto": upto, "rows": body}
