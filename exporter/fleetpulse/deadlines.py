"""Deadlines by key: which are past, at a cost that depends on how many are past and not on how many there are."""

from heapq import heappop, heappush


class Deadlines:
    """One deadline a key, in seconds on any clock.

    A deadline that moves later, as with every heartbeat, costs nothing: it is found to have moved when the earlier
    one comes up. So a key has a few entries at the most, and what `past` gives may have moved: ask again.
    """

    def __init__(self) -> None:
        self._entries: list[tuple[float, str]] = []
        self._next: dict[str, float] = {}

    def set(self, key: str, when: float) -> None:
        """Wakes the key no later than this."""
        before = self._next.get(key)
        if before is None or when < before:
            self._next[key] = when
            heappush(self._entries, (when, key))

    def discard(self, key: str) -> None:
        """Forgets a key."""
        self._next.pop(key, None)

    def past(self, now: float) -> str | None:
        """A key whose deadline is before `now`, the earliest first; its deadline is used up. None where none is."""
        while self._entries and self._entries[0][0] < now:
            when, key = heappop(self._entries)
            if self._next.get(key) == when:
                del self._next[key]
                return key
        return None

    def any_past(self, now: float) -> bool:
        """Whether there may be more of them."""
        return bool(self._entries) and self._entries[0][0] < now
