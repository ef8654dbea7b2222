"""Messages that wait for Redis: bounded in number and bytes; past that they are refused, and the caller counts."""

import asyncio
from collections import deque
from typing import NamedTuple


class Parcel(NamedTuple):
    """A message for one Redis channel."""

    channel: str
    body: bytes


class Outbox:
    """A queue in order. Belongs to the event loop's thread."""

    def __init__(self, messages: int, octets: int) -> None:
        self._most = messages
        self._most_bytes = octets
        self._waiting: deque[Parcel] = deque()
        self._bytes = 0
        self._news = asyncio.Event()

    @property
    def crowded(self) -> bool:
        """Whether it is half full: what can wait should."""
        return len(self._waiting) * 2 > self._most or self._bytes * 2 > self._most_bytes

    def put(self, parcel: Parcel) -> bool:
        """Takes a message; False where it is full. One message always fits into an empty one."""
        size = len(parcel.body)
        if self._waiting and (len(self._waiting) >= self._most or self._bytes + size > self._most_bytes):
            return False
        self._waiting.append(parcel)
        self._bytes += size
        self._news.set()
        return True

    async def take(self, limit: int) -> list[Parcel]:
        """The next messages, once there are some."""
        while not self._waiting:
            self._news.clear()
            await self._news.wait()
        taken = [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]
        self._bytes -= sum(len(parcel.body) for parcel in taken)
        return taken

    def clear(self) -> int:
        """Forgets everything; returns how many messages that were."""
        count = len(self._waiting)
        self._waiting.clear()
        self._bytes = 0
        return count
