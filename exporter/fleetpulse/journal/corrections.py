"""Costs given afterwards: the stored requests without one, and the transaction that corrects some of them.

A request is corrected once: its row, the totals it stands for and the entry that says who did it change in one
transaction, which leaves alone whatever has a cost by then. So a run that was cut off is simply begun again.

The rows are found by an index of unpriced rows alone, which priced ones neither fill nor slow.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import chain
from typing import Literal, NamedTuple

from fleetpulse.journal.rows import chunks
from fleetpulse.journal.totals import Deltas, Key, read_total
from fleetpulse.journal.writes import Counted
from fleetpulse.pricing import matches

CORRECTED = "corrected"
Reason = Literal["no_model", "tokens_not_split", "no_price"]
Kept = Callable[[Key], float]


class UnpricedRow(NamedTuple):
    """A stored request without a cost: what it takes to price it, and to count it then. Times are Unix seconds."""

    id: int
    received_at: float
    made_at: float | None
    source: str
    user_id: str
    account_id: str | None
    status: str
    model: str | None
    provider: str | None
    tokens_used: int
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None

    @property
    def cost(self) -> None:
        """None was reported."""
        return None

    @property
    def total_tokens(self) -> int:
        """All tokens, as stored."""
        return self.tokens_used

    @property
    def timestamp(self) -> datetime:
        """When it was made, as far as is known."""
        return datetime.fromtimestamp(self.received_at if self.made_at is None else self.made_at, UTC)


class Correction(NamedTuple):
    """A request and the cost it is to have, in USD; `price` says by which price, in JSON."""

    row: UnpricedRow
    cost: float
    price: str


FoldCorrections = Callable[[Sequence[Correction], Kept], Deltas]


@dataclass(frozen=True)
class Corrected(Counted):
    """What a write has corrected: requests, and USD."""

    requests: int
    cost: float


@dataclass(frozen=True)
class Correct:
    """Gives requests their costs; the result is a Corrected.

    `run` names the run it belongs to: a run has one entry for each source, model, provider and price.
    """

    corrections: Sequence[Correction]
    fold: FoldCorrections
    run_id: str
    made_by: str
    now: float

    @property
    def size(self) -> int:
        """Rows it adds to the queue."""
        return len(self.corrections)

    def run(self, connection: sqlite3.Connection) -> Corrected:
        """Corrects those that still have no cost."""
        done = [each for chunk in chunks(self.corrections) for each in _price(connection, chunk)]
        self._enter(connection, done)
        deltas = self.fold(done, lambda key: read_total(connection, key))
        return Corrected(deltas, len(done), sum(each.cost for each in done))

    def _enter(self, connection: sqlite3.Connection, done: Sequence[Correction]) -> None:
        entries: dict[tuple[str, str, str, str], list[float]] = {}
        for row, cost, price in done:
            key = (row.source, row.model or "", row.provider or "", price)
            entries.setdefault(key, []).append(cost)
        connection.executemany(
            "INSERT INTO corrections (run_id, made_at, made_by, source, model, provider, price, requests, cost) "
            "VALUES (?,?,?,?,?,?,?,?,?) ON CONFLICT (run_id, source, model, provider, price) DO UPDATE SET "
            "requests = requests + excluded.requests, cost = cost + excluded.cost",
            [(self.run_id, self.now, self.made_by, *key, len(costs), sum(costs)) for key, costs in entries.items()],
        )


def _price(connection: sqlite3.Connection, corrections: Sequence[Correction]) -> list[Correction]:
    """Writes the costs of those that have none; which those were."""
    values = chain.from_iterable((each.row.id, each.cost) for each in corrections)
    written = {number for (number,) in connection.execute(_update(len(corrections)), list(values))}
    return [each for each in corrections if each.row.id in written]


@cache
def _update(rows: int) -> str:
    # The plus keeps the planner from walking the index of unpriced rows: it is to go by id.
    return (
        f"WITH given (id, cost) AS (VALUES {','.join(['(?,?)'] * rows)}) "  # noqa: S608 - marks only
        f"UPDATE requests SET cost = given.cost, cost_source = '{CORRECTED}' FROM given "
        "WHERE requests.id = given.id AND +requests.cost_source = 'unknown' RETURNING id"
    )


# Reading ------------------------------------------------------------------------------------------------------
class Unpriced(NamedTuple):
    """Stored requests without a cost that have the same source, model and provider, and the same reason."""

    source: str
    model: str | None
    provider: str | None
    reason: Reason
    requests: int
    tokens: int
    first: float
    last: float


class Entry(NamedTuple):
    """What one run has corrected of one source, model and provider, by one price (JSON)."""

    id: int
    run_id: str
    made_at: float
    made_by: str
    source: str
    model: str
    provider: str
    requests: int
    cost: float
    price: str


async def unpriced(
    reader: Callable[[], sqlite3.Connection], model: str | None, last: int, limit: int
) -> AsyncIterator[list[UnpricedRow]]:
    """The requests without a cost and with a model, up to an id, at most `limit` at a time; read in other threads.

    Only those of one model where that is given, with `*` for any text. They may be corrected meanwhile. Each part
    is read through a connection of its own: a cancellation would close a shared one while a thread reads from it.
    """
    if model is not None and "*" not in model:
        async for rows in _rows_of(reader, model, last, limit):
            yield rows
        return
    found: str | None = ""
    while (found := await asyncio.to_thread(_next_model_apart, reader, found or "")) is not None:
        if model is None or matches(model, found):
            async for rows in _rows_of(reader, found, last, limit):
                yield rows


async def _rows_of(
    reader: Callable[[], sqlite3.Connection], model: str, last: int, limit: int
) -> AsyncIterator[list[UnpricedRow]]:
    after = 0
    while rows := await asyncio.to_thread(_rows_after, reader, model, after, last, limit):
        after = rows[-1].id
        yield rows


def _rows_after(
    reader: Callable[[], sqlite3.Connection], model: str, after: int, last: int, limit: int
) -> list[UnpricedRow]:
    with closing(reader()) as connection:
        rows = connection.execute(
            "SELECT id, received_at, timestamp, source, user_id, account_id, status, model, provider, tokens_used, "
            "input_tokens, output_tokens, cached_tokens FROM requests INDEXED BY requests_unpriced "
            "WHERE cost_source = 'unknown' AND model = ? AND id > ? AND id <= ? ORDER BY id LIMIT ?",
            (model, after, last, limit),
        )
        return [UnpricedRow(*row) for row in rows]


def _next_model_apart(reader: Callable[[], sqlite3.Connection], after: str) -> str | None:
    with closing(reader()) as connection:
        return _next_model(connection, after)


def _next_model(connection: sqlite3.Connection, after: str) -> str | None:
    """The first model in order past `after` that has requests without a cost."""
    row = connection.execute(
        "SELECT model FROM requests INDEXED BY requests_unpriced "
        "WHERE cost_source = 'unknown' AND model > ? ORDER BY model LIMIT 1",
        (after,),
    ).fetchone()
    return None if row is None else str(row[0])


def unpriced_from(connection: sqlite3.Connection, model: str | None) -> Iterator[Unpriced]:
    """What has no cost, by model from this one on (None: those without one, which come first), then by source."""
    at = model
    while True:
        yield from _unpriced_of(connection, at)
        at = _next_model(connection, at or "")
        if at is None:
            return


def _unpriced_of(connection: sqlite3.Connection, model: str | None) -> list[Unpriced]:
    rows = connection.execute(
        "SELECT source, model, provider, CASE WHEN model IS NULL THEN 'no_model' "
        "WHEN tokens_used > coalesce(input_tokens, 0) + coalesce(output_tokens, 0) THEN 'tokens_not_split' "
        "ELSE 'no_price' END AS reason, count(*), total(tokens_used), min(received_at), max(received_at) "
        "FROM requests INDEXED BY requests_unpriced WHERE cost_source = 'unknown' AND model IS ? "
        "GROUP BY 1, 3, 4 ORDER BY 1, coalesce(provider, ''), 4",
        (model,),
    )
    return [Unpriced(*row)._replace(tokens=int(row[5])) for row in rows]


def corrections_before(connection: sqlite3.Connection, before: int, limit: int, run_id: str | None) -> list[Entry]:
    """The newest entries with an id below `before`, newest first; of one run where that is given."""
    rows = connection.execute(
        f"SELECT {','.join(Entry._fields)} FROM corrections "  # noqa: S608 - our own names
        "WHERE id < ?1 AND (?2 IS NULL OR run_id = ?2) ORDER BY id DESC LIMIT ?3",
        (before, run_id, limit),
    )
    return [Entry(*row) for row in rows]


def corrections_of(connection: sqlite3.Connection, run_id: str, limit: int) -> list[Entry]:
    """The entries of one run."""
    rows = connection.execute(
        f"SELECT {','.join(Entry._fields)} FROM corrections WHERE run_id = ? ORDER BY id LIMIT ?",  # noqa: S608
        (run_id, limit),
    )
    return [Entry(*row) for row in rows]


def corrected_by(connection: sqlite3.Connection, run_id: str) -> tuple[int, float]:
    """What a run has corrected so far: requests, and USD."""
    requests, cost = connection.execute(
        "SELECT coalesce(sum(requests), 0), total(cost) FROM corrections WHERE run_id = ?", (run_id,)
    ).fetchone()
    return int(requests), float(cost)
