"""Plays a file to the exporter: several batches in flight, exact sums, resumable.

Owns the order of things. Promises: every row is settled (accepted, duplicate or rejected) or an error is raised;
memory is bounded by the batches in flight; the checkpoint never runs ahead of the first unsettled row.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from fleetpulse.errors import TooLargeError, UpstreamError
from fleetpulse.replay.checkpoint import Checkpoint, CheckpointFile
from fleetpulse.replay.pace import Batch, Pace
from fleetpulse.replay.shape import Shape
from fleetpulse.replay.source import Source
from fleetpulse.replay.tally import Tally
from fleetpulse.sender import Sender

PATH = "/api/log-request"
IN_FLIGHT = 4
SAVE_SECONDS = 0.5


@dataclass(frozen=True)
class Job:
    """One file to play, and how."""

    source: Source
    shape: Shape
    pace: Pace
    checkpoint: CheckpointFile | None = None


class Player:
    """Plays one job once; `tally` may be read meanwhile, and `on_progress` is called when it changes.

    `resumed_at` rows were settled by an earlier run and are not in the tally.
    """

    def __init__(self, sender: Sender, job: Job, on_progress: Callable[[Tally], None] | None = None) -> None:
        self.tally = Tally()
        self.resumed_at = 0
        self._sender = sender
        self._job = job
        self._on_progress = on_progress or (lambda _: None)
        self._frontier = _Frontier()
        self._saved_at = time.monotonic()

    async def play(self) -> Tally:
        """Sends every row; raises what the sender raises, and UpstreamError on an answer that is not one."""
        await self._resume()
        slots = asyncio.Semaphore(IN_FLIGHT)
        try:
            async with asyncio.TaskGroup() as group:
                async for batch in self._job.pace.batches(self._rows()):
                    self._frontier.open(batch)
                    await slots.acquire()
                    group.create_task(self._settle(batch)).add_done_callback(lambda _: slots.release())
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            self._save()
        if self._job.checkpoint:
            self._job.checkpoint.clear()
        return self.tally

    def _rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for record in self._job.source.records():
            if record.number < self.resumed_at:
                continue
            if record.error is None:
                yield record.number, self._job.shape.request(record)
            else:
                self.tally.reject(record.number, record.error)

    async def _settle(self, batch: Batch) -> None:
        """Sends a batch, in halves where the exporter finds it too large, and books the outcome."""
        try:
            answer = await self._sender.post(PATH, batch.items)
        except TooLargeError as error:
            if len(batch) > 1:
                await self._halves(batch)
            else:
                self.tally.reject(batch.numbers[0], error.detail)
                self._frontier.close(batch, {batch.numbers[0]})
            return
        try:
            rejected = self.tally.answered(batch, answer)
        except (KeyError, IndexError, TypeError) as error:
            raise UpstreamError("exporter", f"{self._sender.url} gave no {error}: is it Fleetpulse?") from error
        self._frontier.close(batch, rejected)
        self._on_progress(self.tally)
        if time.monotonic() - self._saved_at > SAVE_SECONDS:
            self._save()

    async def _halves(self, batch: Batch) -> None:
        middle = len(batch) // 2
        halves = [
            Batch(batch.numbers[part], batch.items[part]) for part in (slice(None, middle), slice(middle, None))
        ]
        self._frontier.split(batch, halves)
        for half in halves:
            await self._settle(half)

    async def _resume(self) -> None:
        """Takes up an unfinished replay, if the exporter still holds what it is said to hold."""
        found = self._job.checkpoint.load() if self._job.checkpoint else None
        if found and await self._holds(found.probe):
            self.resumed_at = found.position
            self._frontier = _Frontier(found.position, found.probe)

    async def _holds(self, number: int) -> bool:
        record = next((one for one in self._job.source.records() if one.number == number), None)
        if record is None or record.error:
            return False
        answer = await self._sender.post(PATH, [self._job.shape.request(record)])
        return bool(answer.get("duplicates"))

    def _save(self) -> None:
        self._saved_at = time.monotonic()
        if self._job.checkpoint and self._frontier.probe is not None:
            self._job.checkpoint.save(Checkpoint(self._frontier.position, self._frontier.probe))


class _Frontier:
    """The first row that is not settled, while batches are settled in any order."""

    def __init__(self, position: int = 0, probe: int | None = None) -> None:
        self.probe = probe
        self._position = position
        self._open: dict[int, Batch] = {}

    @property
    def position(self) -> int:
        """All rows below are settled."""
        return min(self._open, default=self._position)

    def open(self, batch: Batch) -> None:
        """A batch is about to be sent."""
        self._open[batch.numbers[0]] = batch
        self._position = max(self._position, batch.numbers[-1] + 1)

    def split(self, batch: Batch, halves: list[Batch]) -> None:
        """A batch goes on as several."""
        del self._open[batch.numbers[0]]
        for half in halves:
            self.open(half)

    def close(self, batch: Batch, rejected: set[int]) -> None:
        """A batch is settled; one of its rows that was taken can be asked for again."""
        del self._open[batch.numbers[0]]
        self.probe = next((number for number in reversed(batch.numbers) if number not in rejected), self.probe)
