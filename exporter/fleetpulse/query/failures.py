"""What failed most in a window of time: failed requests by status and text of the error.

Reads the rows of the window in steps on a thread, each a read transaction of its own, so that neither the event
loop nor the journal's checkpoints wait. Memory is bounded: past some thousand different texts, rare ones are
estimated.
"""

import asyncio
from contextlib import closing
from typing import NamedTuple

from datasketches import (  # type: ignore[import-untyped]  # ships no types
    frequent_items_error_type,
    frequent_strings_sketch,
)

from fleetpulse.journal import Journal
from fleetpulse.journal.positions import first_since

STEP_ROWS = 20_000
TEXT_CHARACTERS = 200
LG_KINDS = 13  # 6,144 kinds are counted exactly
SEPARATOR = "\0"  # in no status
SUCCESS = "success"


class Failure(NamedTuple):
    """One kind of failure: the status, the beginning of the error's text (maybe empty), and how many requests."""

    status: str
    error: str
    requests: int


async def top_errors(
    journal: Journal, start: float, end: float, source: str | None = None, limit: int = 10
) -> list[Failure]:
    """The most frequent kinds of failure among requests received from `start` up to `end` (Unix seconds).

    A request failed when its status is not `success`. The most frequent come first, equals by name.
    """
    kinds = frequent_strings_sketch(LG_KINDS)
    low, high = await asyncio.to_thread(_ids, journal, start, end)
    for first in range(low, high, STEP_ROWS):
        step = (first, min(first + STEP_ROWS, high), start, end, source)
        for key, requests in await asyncio.to_thread(_count, journal, step):
            kinds.update(key, requests)
    found = kinds.get_frequent_items(frequent_items_error_type.NO_FALSE_NEGATIVES)
    every = [_failure(key, estimate) for key, estimate, _, _ in found]
    return sorted(every, key=lambda each: (-each.requests, each))[:limit]


def _failure(key: str, requests: int) -> Failure:
    status, _, error = key.partition(SEPARATOR)
    return Failure(status, error, requests)


def _ids(journal: Journal, start: float, end: float) -> tuple[int, int]:
    """From which id up to which the window lies."""
    with closing(journal.reader()) as reader:
        return first_since(reader, start), first_since(reader, end)


def _count(journal: Journal, step: tuple[int, int, float, float, str | None]) -> list[tuple[str, int]]:
    """Failures of some rows: status and error as one key, and how many."""
    with closing(journal.reader()) as reader:
        rows = reader.execute(
            "SELECT status, substr(coalesce(error, ''), 1, ?6), count(*) FROM requests "
            "WHERE id >= ?1 AND id < ?2 AND received_at >= ?3 AND received_at < ?4 AND (?5 IS NULL OR source = ?5) "
            "AND status != ?7 GROUP BY 1, 2",
            (*step, TEXT_CHARACTERS, SUCCESS),
        )
        return [(f"{status}{SEPARATOR}{error}", requests) for status, error, requests in rows]
