"""Automatic replies: what a rule sends to the server when a message matches it. None is, unless a rule says so.

Promises: at most `per_minute` replies in any minute, by stream and rule; no message is answered that says what was
just sent, so no reply answers itself when the server sends it back; a slow server holds nothing up. What is not
sent for one of these reasons is counted, as is what is. Two bots that answer each other are slowed down, not
stopped: nobody can tell them from people.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import NamedTuple

from fleetpulse import catalogue
from fleetpulse.config.tap import Message, Reply, Rule
from fleetpulse.errors import FleetpulseError
from fleetpulse.instruments import Instruments
from fleetpulse.tap.frames import TEXT, Frame, Read, Recorded

MINUTE = 60.0
ECHO_SECONDS = 60.0
REMEMBERED = 200
WAITING = 20
PREVIEW = "reply"
log = logging.getLogger(__name__)

Send = Callable[[Message], Awaitable[None]]
"""Sends a message to the server; raises FleetpulseError or OSError where it cannot."""


class Allowance:
    """At most `per_minute` in any minute; of less than one a minute, one in as many minutes as that takes."""

    def __init__(self, per_minute: float) -> None:
        self._most = max(1, int(per_minute))
        self._seconds = MINUTE * max(1.0, self._most / per_minute)
        self._taken: deque[float] = deque(maxlen=self._most)

    def take(self, now: float) -> bool:
        """Takes one, if there is one."""
        if len(self._taken) == self._most and now < self._taken[0] + self._seconds:
            return False
        self._taken.append(now)
        return True


class Echoes:
    """What was said lately, as it was sent and as it is read when it comes back."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._said: deque[tuple[float, str]] = deque(maxlen=2 * REMEMBERED)

    def add(self, message: Message, now: float) -> None:
        """Remembers what is about to be sent. A file's content is not looked at."""
        if message.text is None:
            return
        payload = message.text.get_secret_value()
        reading = self._read(Frame(PREVIEW, 0, now, 0.0, TEXT, payload, len(payload)))
        for text in {payload.strip(), reading.text.strip()}:
            self._said.append((now, text))

    def knows(self, recorded: Recorded, now: float) -> bool:
        """Whether a message says what was just sent."""
        texts = {recorded.reading.text.strip()}
        if isinstance(recorded.frame.data, str):
            texts.add(recorded.frame.data.strip())
        return any(text in texts for said, text in self._said if now < said + ECHO_SECONDS)


class _Due(NamedTuple):
    """A reply that waits to be sent."""

    rule: str
    message: Message


class Replies:
    """The replies of one stream. `clock` is monotonic."""

    def __init__(  # noqa: PLR0913 - what it is made of
        self,
        stream: str,
        rules: Iterable[Rule],
        read: Read,
        send: Send,
        instruments: Instruments,
        clock: Callable[[], float],
    ) -> None:
        self._stream = stream
        self._replies: dict[str, Reply] = {rule.name: rule.reply for rule in rules if rule.reply is not None}
        self._allowed = {name: Allowance(reply.per_minute) for name, reply in self._replies.items()}
        self._send = send
        self._instruments = instruments
        self._clock = clock
        self._echoes = Echoes(read)
        self._due: asyncio.Queue[_Due] = asyncio.Queue(WAITING)

    def offer(self, messages: Sequence[Recorded]) -> None:
        """Hears of messages that are stored; whatever they make due, `run` sends."""
        if not self._replies:
            return
        for recorded in messages:
            for rule in recorded.rules:
                if rule in self._replies:
                    self._consider(rule, recorded)

    async def run(self) -> None:
        """Sends what is due, one after the other, until cancelled."""
        while True:
            due = await self._due.get()
            await self._answer(due)

    def _consider(self, rule: str, recorded: Recorded) -> None:
        now = self._clock()
        if self._echoes.knows(recorded, now):
            self._count(rule, "echo")
        elif self._due.full() or not self._allowed[rule].take(now):
            self._count(rule, "limited")
        else:
            self._due.put_nowait(_Due(rule, self._replies[rule].message))

    async def _answer(self, due: _Due) -> None:
        # Before it is sent: the server may send it back at once.
        self._echoes.add(due.message, self._clock())
        try:
            await self._send(due.message)
        except (FleetpulseError, OSError, ValueError) as error:
            log.warning("stream %s: no reply by rule %s: %s", self._stream, due.rule, type(error).__name__)
            self._count(due.rule, "failed")
        else:
            self._count(due.rule, "sent")

    def _count(self, rule: str, outcome: str) -> None:
        self._instruments.counter(catalogue.TAP_REPLIES, self._stream, rule, outcome).inc()
