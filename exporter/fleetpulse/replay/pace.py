"""Decides when each row is sent: at once, or when its own time comes at a chosen multiple of real time."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from fleetpulse.errors import InvalidInputError
from fleetpulse.replay.shape import format_time, parse_time

FLUSH_SECONDS = 0.25


@dataclass
class Batch:
    """Rows that travel together: their numbers in the file, and their request logs."""

    numbers: list[int] = field(default_factory=list)
    items: list[dict[str, Any]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.items)

    def add(self, number: int, item: dict[str, Any]) -> None:
        """Appends one row."""
        self.numbers.append(number)
        self.items.append(item)


def parse_speed(text: str) -> float | None:
    """`max` is None (no waiting); a number is a multiple of real time. Raises InvalidInputError."""
    if text == "max":
        return None
    try:
        speed = float(text.removesuffix("x"))
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise InvalidInputError(f"--speed {text}: give a multiple of real time such as 1, 60 or 0.5, or max")
    return speed


@dataclass
class Pace:
    """Cuts rows into batches and yields each when it is due; never early, at most FLUSH_SECONDS late by design.

    `speed` as from parse_speed. With `now`, each row's timestamp becomes the moment it is sent. Rows without a
    readable timestamp are due with the row before them; rows out of order are due at once.
    """

    speed: float | None = None
    now: bool = False
    batch_rows: int = 1_000
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Any] = asyncio.sleep

    async def batches(self, rows: Iterable[tuple[int, dict[str, Any]]]) -> AsyncIterator[Batch]:
        """Batches of the rows, in order, each when its last row is due."""
        batch, schedule = Batch(), _Schedule(self.speed, self.clock)
        for number, item in rows:
            wait = schedule.wait(item)
            if batch.items and (wait > 0 or len(batch) >= self.batch_rows):
                yield batch
                batch = Batch()
                wait = schedule.wait(item)
            if wait > 0:
                await self.sleep(max(wait, FLUSH_SECONDS))
            batch.add(number, self._stamped(item))
        if batch.items:
            yield batch

    def _stamped(self, item: dict[str, Any]) -> dict[str, Any]:
        return item | {"timestamp": format_time(datetime.now(UTC))} if self.now else item


class _Schedule:
    """When rows are due, counted from the first row that carries a time."""

    def __init__(self, speed: float | None, clock: Callable[[], float]) -> None:
        self._speed = speed
        self._clock = clock
        self._origin: tuple[float, datetime] | None = None
        self._due = 0.0

    def wait(self, item: dict[str, Any]) -> float:
        """Seconds until the row is due; 0 or less when it is due now."""
        if self._speed is None:
            return 0.0
        moment = parse_time(item.get("timestamp"))
        if moment is not None:
            start, first = self._origin = self._origin or (self._clock(), moment)
            self._due = start + (moment - first).total_seconds() / self._speed
        return self._due - self._clock()
