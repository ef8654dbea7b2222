"""Bounds on clients: seats taken before anything is awaited, and the rate of what a client sends."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from fleetpulse.errors import OverloadedError

RETRY_SECONDS = 30
BURST_SECONDS = 2.0


class Seats:
    """Connections open or being opened, in all and per address."""

    def __init__(self, total: int, per_ip: int) -> None:
        self._total = total
        self._per_ip = per_ip
        self._taken: Counter[str] = Counter()
        self.closed = False

    @contextmanager
    def take(self, ip: str) -> Iterator[None]:
        """Holds a seat; raises OverloadedError where none is free. Synchronous, so two cannot take the last one."""
        if self.closed:
            raise OverloadedError("the live feed is shutting down", RETRY_SECONDS)
        if self._taken.total() >= self._total:
            raise OverloadedError("live.max_connections is reached", RETRY_SECONDS)
        if self._taken[ip] >= self._per_ip:
            raise OverloadedError("live.max_connections_per_ip is reached", RETRY_SECONDS)
        self._taken[ip] += 1
        try:
            yield
        finally:
            self._taken[ip] -= 1
            if not self._taken[ip]:
                del self._taken[ip]


class TokenBucket:
    """Allows `rate` messages a second on average, and two seconds' worth at once."""

    __slots__ = ("_at", "_rate", "_tokens")

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._tokens = rate * BURST_SECONDS
        self._at = now

    def take(self, now: float) -> bool:
        """Takes one message's token; False when there is none."""
        refilled = self._tokens + (now - self._at) * self._rate
        self._tokens = min(refilled, self._rate * BURST_SECONDS)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
