"""Stored rows on demand: pages, single ones, exports. Reads in the reading room, never on the event loop.

Bounded: a page in time (what was found until then is answered, with the place to go on from), in rows and in
characters; an export in how much of it is in memory. Paging goes by the rows' ids, so rows that arrive or are
deleted meanwhile neither repeat nor hide others.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Generic

from fleetpulse.errors import NotFoundError
from fleetpulse.query.leases import SearchIndex
from fleetpulse.query.reader import Encode, Page, Reader
from fleetpulse.query.room import ReadingRoom
from fleetpulse.query.subject import Filter, R


class Logs(Generic[R]):
    """Answers questions about the rows of one subject; which one, the filters say."""

    def __init__(self, room: ReadingRoom, index: SearchIndex | None) -> None:
        """`index` is None where it is turned off: then rows are read one by one."""
        self.room = room
        self._reader = Reader(room.leases, index, room.settings.seconds)

    async def page(self, wanted: Filter[R], limit: int, before: int | None = None) -> Page[R]:
        """The newest wanted rows, of those before an id.

        Raises OverloadedError where too many ask at once, or nothing at all could be looked at in time.
        """
        return await self.room.in_turn(lambda: self._reader.page(wanted, limit, before))

    async def one(self, wanted: Filter[R], key: str) -> R:
        """The row of a key, if it is wanted. Raises NotFoundError, OverloadedError."""
        found = await self.room.in_turn(lambda: self._reader.one(wanted, key))
        if found is None:
            what = wanted.subject.table.name.removesuffix("s")
            raise NotFoundError(f"no {what} with this id is stored")
        return found

    async def export(self, wanted: Filter[R], encode: Encode[R]) -> AsyncGenerator[bytes, None]:
        """The wanted rows that are stored by now, the oldest first, encoded part by part as they are taken.

        Raises OverloadedError, before the first part, where too many exports run.
        """
        with self.room.export():
            async with aclosing(self.parts(wanted, encode)) as parts:
                async for part in parts:
                    yield part

    async def parts(self, wanted: Filter[R], encode: Encode[R]) -> AsyncGenerator[bytes, None]:
        """The parts of an export that holds its place already."""
        low, high = await self.room.run(lambda: self._reader.extent(wanted))
        while low <= high:
            chunk = await self.room.run(partial(self._reader.chunk, wanted, low, high, encode))
            low = chunk.reached + 1
            self.room.exported(chunk.rows)
            if chunk.data:
                yield chunk.data
