"""How long to wait before the next attempt: exponential with full jitter.

Source: Brooker, "Exponential Backoff And Jitter": a random part of a growing bound spreads many clients that were
cut at the same moment best, so the first wait is random too.
"""

import random
from dataclasses import dataclass, field

MAX_DOUBLINGS = 30


@dataclass
class Backoff:
    """Waits of 0 to `first` seconds at first, then to twice that and so on, never over `longest`.

    A connection that lasted `stable` seconds begins anew; one that ends at once goes on growing.
    """

    first: float = 2.0
    longest: float = 75.0
    stable: float = 20.0
    rng: random.Random = field(default_factory=random.Random, repr=False)
    _failures: int = field(default=0, init=False)

    def wait(self, asked: float | None = None) -> float:
        """Seconds until the next attempt; at least what the server asked for, where it did (`Retry-After`)."""
        bound = min(self.longest, self.first * 2 ** min(self._failures, MAX_DOUBLINGS))
        self._failures += 1
        return min(asked or 0.0, self.longest) + self.rng.uniform(0, bound)

    def lasted(self, seconds: float) -> None:
        """A connection has ended after that time."""
        if seconds >= self.stable:
            self._failures = 0
