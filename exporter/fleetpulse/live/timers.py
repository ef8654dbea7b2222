"""When the hub's work is done: flushes as they are due, with a rest after each, and regular sweeps."""

import asyncio
from collections.abc import Callable

DRAIN_SECONDS = 0.01  # how often clients that are behind are looked at, at least
BURST_SECONDS = 0.002  # between the flushes of a burst too large for one
WRITE_COST = 10e-6  # seconds of one socket write
REST = 2.0  # how long the loop is left alone after writes, in terms of their cost: what comes meanwhile is joined
MAX_PAUSE = 1.0


class Timers:
    """Calls `flush`, which returns its number of writes, when asked to, and `sweep` every `interval` seconds.

    `more` says after a flush when the next one is due (seconds), None where nothing waits.
    """

    def __init__(
        self,
        flush: Callable[[], int],
        more: Callable[[], float | None],
        sweep: Callable[[], None],
        interval: float,
    ) -> None:
        self._flush = flush
        self._more = more
        self._sweep = sweep
        self._interval = interval
        self._loop: asyncio.AbstractEventLoop | None = None
        self._rest_until = 0.0
        self._flushing: asyncio.TimerHandle | None = None
        self._sweeping: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begins, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._sweeping = self._loop.call_later(self._interval, self._sweep_regularly)

    def stop(self) -> None:
        """Calls nothing any more."""
        for handle in (self._flushing, self._sweeping):
            if handle is not None:
                handle.cancel()
        self._loop = None

    def ask(self, delay: float) -> None:
        """Asks for a flush, so many seconds from now, or after the rest if that lasts longer."""
        if self._flushing is None and self._loop is not None:
            rest = self._rest_until - self._loop.time()
            self._flushing = self._loop.call_later(max(delay, rest), self._flush_now)

    def _flush_now(self) -> None:
        writes = 0
        try:
            writes = self._flush()
        finally:
            self._flushing = None
            if self._loop is not None:
                self._rest_until = self._loop.time() + min(MAX_PAUSE, REST * writes * WRITE_COST)
            due = self._more()
            if due is not None:
                self.ask(due)

    def _sweep_regularly(self) -> None:
        try:
            self._sweep()
        finally:
            if self._loop is not None:
                self._sweeping = self._loop.call_later(self._interval, self._sweep_regularly)
