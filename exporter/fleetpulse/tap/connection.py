"""One open connection of a stream: its messages by number, its signs of life, its end.

Promises: every message that arrives is handed over once, in order, also those that arrive while it is being closed
by us. Any message, a ping or a pong is a sign of life; without any for `dead_seconds` the connection is over,
whatever TCP says. While the store is full nothing is read, so that TCP makes the server wait, and silence then
proves nothing.
"""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress

import aiohttp
from aiohttp import WSMsgType

from fleetpulse.tap.connecting import CLOSE_SECONDS, Socket
from fleetpulse.tap.endings import Ending, broken, closed, lost
from fleetpulse.tap.frames import BINARY, TEXT, Frame
from fleetpulse.tap.presets import Answer

BURST = 64  # messages in a row before others on the loop get their turn
GOING_AWAY = struct.pack("!H", 1001)
Take = Callable[[Frame], bool]
"""Takes a message; False: no more until there is room again."""


class Connection:
    """What `opened` has opened. `heard` is when a sign of life came, on the monotonic clock.

    `number` and `bytes` are of the messages so far, `newest_at` when the newest came, in Unix seconds.
    """

    def __init__(  # noqa: PLR0913 - what it is made of
        self,
        name: str,
        socket: Socket,
        take: Take,
        room: Callable[[], Awaitable[None]],
        clock: Callable[[], float],
        timer: Callable[[], float],
        answer: Answer | None = None,
    ) -> None:
        self.name = name
        self.socket = socket
        self.number = 0
        self.bytes = 0
        self.paused = False
        self.opened_at = self.newest_at = clock()
        self.opened = self.heard = timer()
        self._take = take
        self._room = room
        self._clock = clock
        self._timer = timer
        self._answer = answer
        self._limit = asyncio.timeout(None)
        self._ending: Ending | None = None
        self._listening = False

    @property
    def age(self) -> float:
        """Seconds since it was opened."""
        return self._timer() - self.opened

    async def listen(self) -> Ending:
        """Hands messages over until the connection ends; says how."""
        self._listening = True
        try:
            async with self._limit:
                return await self._listen()
        except TimeoutError:
            return self._ending or lost()
        finally:
            self._listening = False

    def give_up(self, ending: Ending) -> None:
        """Ends `listen` from outside."""
        if self._listening and self._ending is None:
            self._ending = ending
            self._limit.reschedule(asyncio.get_running_loop().time())

    async def leave(self) -> None:
        """Says goodbye and takes what was still under way, for a bounded time, and while there is room."""
        with suppress(TimeoutError, aiohttp.ClientError, OSError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.socket.send_frame(GOING_AWAY, WSMsgType.CLOSE)
                while await self._one() is None and not self.paused:
                    pass

    async def _listen(self) -> Ending:
        while True:
            ending = await self._one()
            if ending is not None:
                return ending
            if self.paused:
                await self._room()
                self.paused = False
                self.heard = self._timer()
            elif not self.number % BURST:
                await asyncio.sleep(0)

    async def _one(self) -> Ending | None:
        """Takes the next message, of any kind; the connection's end, if that is what it says."""
        message = await self.socket.receive()
        self.heard = self._timer()
        kind = message.type
        if kind is WSMsgType.TEXT:
            text: str = message.data
            self.paused = not self._took(TEXT, text, len(text) if text.isascii() else len(text.encode()))
            if self._answer is not None and (reply := self._answer(text)):
                await self._send(reply)
        elif kind is WSMsgType.BINARY:
            self.paused = not self._took(BINARY, message.data, len(message.data))
        else:
            return await self._control(message)
        return None

    def _took(self, opcode: int, data: str | bytes, size: int) -> bool:
        self.number += 1
        self.bytes += size
        self.newest_at = self._clock()
        clock = self.heard - self.opened
        return self._take(Frame(self.name, self.number, self.newest_at, clock, opcode, data, size))

    async def _control(self, message: aiohttp.WSMessage) -> Ending | None:
        if message.type is WSMsgType.PING:
            with suppress(aiohttp.ClientError, OSError):  # reading finds out what is wrong
                await self.socket.pong(message.data)
        elif message.type is WSMsgType.CLOSE:
            return await self._closed(int(message.data), str(message.extra or ""))
        elif message.type is WSMsgType.ERROR:
            error = message.data
            return broken(error) if isinstance(error, aiohttp.WebSocketError) else lost(type(error).__name__)
        elif message.type is not WSMsgType.PONG:
            return lost()
        return None

    async def _closed(self, code: int, reason: str) -> Ending:
        with suppress(aiohttp.ClientError, OSError):
            await self.socket.close(code=code or 1000)
        return closed(code, reason)

    async def _send(self, text: str) -> None:
        with suppress(aiohttp.ClientError, OSError):
            await self.socket.send_str(text)
