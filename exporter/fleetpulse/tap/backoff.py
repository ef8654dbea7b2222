"""When to try again: exponential with full jitter, bounded in attempts and in time.

Source: Brooker, "Exponential Backoff And Jitter": a random part of a growing bound spreads many clients that were
cut at the same moment best, so the very first wait is random too.
"""

import random
from collections.abc import Callable

from fleetpulse.config.tap import Reconnect

MAX_DOUBLINGS = 30
LONGEST_ASKED = 3_600.0  # what a server may ask for with Retry-After


class Backoff:
    """The waits of one stream. `failures` are attempts in a row that brought no stable connection."""

    def __init__(self, settings: Reconnect, timer: Callable[[], float], rng: random.Random) -> None:
        """`timer` is a monotonic clock, in seconds."""
        self.failures = 0
        self._settings = settings
        self._timer = timer
        self._rng = rng
        self._since = timer()

    @property
    def unconnected(self) -> float:
        """Seconds since the last connection ended, or since the start."""
        return self._timer() - self._since

    def first(self) -> float:
        """Seconds to wait before the very first attempt."""
        return self._rng.uniform(0, self._settings.first_seconds)

    def ended(self, lasted: float) -> None:
        """A connection has ended after so many seconds; one that was stable begins anew, another one failed."""
        self._since = self._timer()
        self.failures = 0 if lasted >= self._settings.stable_seconds else self.failures + 1

    def failed(self) -> None:
        """An attempt has brought no connection."""
        self.failures += 1

    def wait(self, asked: float | None = None) -> float | None:
        """Seconds until the next attempt, at least what the server asked for; None: give up.

        The last wait is cut short, so that an attempt is made at the end of `max_seconds`.
        """
        delay = min(asked or 0.0, LONGEST_ASKED) + self._rng.uniform(0, self._bound())
        settings = self._settings
        if settings.max_attempts and self.failures >= settings.max_attempts:
            return None
        if not settings.max_seconds:
            return delay
        left = settings.max_seconds - self.unconnected
        return None if left <= (asked or 0.0) else min(delay, left)

    def _bound(self) -> float:
        doublings = min(max(self.failures - 1, 0), MAX_DOUBLINGS)
        return float(min(self._settings.cap_seconds, self._settings.base_seconds * 2**doublings))
