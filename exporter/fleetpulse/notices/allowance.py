"""How much one recipient is told over one channel: so many notifications in a window of time."""

from collections import OrderedDict
from collections.abc import Hashable

MOST_WINDOWS = 50_000  # past it the oldest is forgotten: its recipient may be told more for once


class Allowance:
    """Counts what was told in windows, each of which begins with its first notification."""

    def __init__(self, limit: int, seconds: float) -> None:
        self._limit = limit
        self._seconds = seconds
        self._windows: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()

    def take(self, key: Hashable, now: float) -> float | None:
        """Counts one more; where that is too many, nothing is counted, and the end of the window is returned."""
        end = self.full_until(key, now)
        if end is not None:
            return end
        start, told = self._windows.get(key, (now, 0))
        fresh = now - start >= self._seconds
        self._windows[key] = (now, 1) if fresh else (start, told + 1)
        self._windows.move_to_end(key)
        if len(self._windows) > MOST_WINDOWS:
            self._windows.popitem(last=False)
        return None

    def full_until(self, key: Hashable, now: float) -> float | None:
        """Until when no more may be told, or None."""
        start, told = self._windows.get(key, (now, 0))
        return start + self._seconds if told >= self._limit and now - start < self._seconds else None
