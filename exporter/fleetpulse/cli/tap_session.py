"""A recording without a server: recorders on one side, an output on the other, and when it is over.

Promises: what a recorder was told is kept is in the output, in order. A full disk is said and waited for, while the
recorders pause; what cannot be written when the recording ends is counted and told. A reader that has gone ends the
recording quietly.
"""

import asyncio
import errno
import queue
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from fleetpulse import catalogue
from fleetpulse.cluster.resting import end
from fleetpulse.config import Rule, Source
from fleetpulse.instruments import Instruments
from fleetpulse.tap.files import Output
from fleetpulse.tap.frames import Recorded
from fleetpulse.tap.happenings import CONNECTED, DISCONNECTED, FAILED
from fleetpulse.tap.meters import Meters
from fleetpulse.tap.output import Happened, Heard, Item
from fleetpulse.tap.reading import make_read
from fleetpulse.tap.recorder import Recorder
from fleetpulse.tap.rules import RuleBook

T = TypeVar("T")
FULL = {errno.ENOSPC, errno.EDQUOT}
AGAIN_SECONDS = 1.0
END_SECONDS = 5.0
STUCK_SECONDS = 0.5  # for an output that has not taken what came before either


@dataclass(frozen=True)
class Limits:
    """What is written and how much of it; an empty filter lets everything through, None is no limit."""

    kinds: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    rules: frozenset[str] = frozenset()
    count: int | None = None
    seconds: float | None = None

    def wanted(self, recorded: Recorded) -> bool:
        """Whether a message passes every filter that is set."""
        reading = recorded.reading
        return (
            (not self.kinds or reading.kind in self.kinds)
            and (not self.users or reading.user in self.users)
            and (not self.rules or not self.rules.isdisjoint(recorded.rules))
        )


@dataclass
class Tally:
    """What came of one stream."""

    messages: int = 0
    bytes: int = 0
    written: int = 0
    connects: int = 0
    drops: int = 0
    without: float = 0.0
    hits: Counter[str] = field(default_factory=Counter)
    failed: str = ""

    def happened(self, item: Happened) -> None:
        """Counts what became of its connections."""
        if item.kind == CONNECTED:
            self.connects += 1
            self.without += item.detail.get("seconds_without", 0.0)
            self.failed = ""  # a file of its headers has changed
        self.drops += item.kind == DISCONNECTED
        if item.kind == FAILED:
            hint = "; --allow-private allows it" if item.detail.get("cause") == "forbidden" else ""
            self.failed = f"{item.detail.get('why', 'no reason was given')}{hint}"

    def heard(self, batch: Sequence[Recorded]) -> None:
        """Counts messages."""
        self.messages += len(batch)
        self.bytes += sum(each.frame.size for each in batch)
        for each in batch:
            self.hits.update(each.rules)


class Hand:
    """A thread that does one thing after the other. A daemon: a write that never ends does not hold the program."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._run, daemon=True, name="output").start()

    async def do(self, work: Callable[[], T]) -> T:
        """Does something there; its result, or what it raised."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._work.put(partial(_settle, loop, future, work))
        return await future

    def _run(self) -> None:
        while True:
            self._work.get()()


class Writer:
    """Items to an output, one batch after the other, whatever the disk does."""

    def __init__(self, output: Output, say: Callable[[str], None], over: asyncio.Event) -> None:
        """`over` is set by whoever ends the recording, and here where it cannot go on."""
        self.unwritten = 0
        self.error: OSError | None = None
        self._output, self._say, self._over = output, say, over
        self._hand, self._turn = Hand(), asyncio.Lock()
        self.unread = False  # whether the reader has gone
        self._gone = self._waiting = False

    async def write(self, items: Sequence[Item]) -> int:
        """Returns how many were written: all of them, but where the output cannot be written any more."""
        done = 0
        async with self._turn:
            while done < len(items) and not self._gone:
                done += await self._some(items[done:])
        if not self.unread:
            self.unwritten += sum(isinstance(each, Heard) for each in items[done:])
        return done

    async def close(self) -> None:
        """Ends the output; what still cannot be written is left."""
        try:
            async with asyncio.timeout(STUCK_SECONDS if self.unwritten else END_SECONDS):
                await self._hand.do(self._output.close)
        except TimeoutError:
            self.error = self.error or OSError(errno.ETIMEDOUT, "nobody reads the output")
        except OSError as error:
            self.error = self.error or error

    async def _some(self, items: Sequence[Item]) -> int:
        """Writes what goes together; while there is trouble one by one, so that what fits is written."""
        some = items if self.error is None else items[:1]
        try:
            written = await self._hand.do(partial(self._output.write, some))
        except BrokenPipeError:
            self.unread = True
            self._give_up()
            return 0
        except OSError as error:
            await self._trouble(error, alone=len(some) == 1)
            return 0
        if self._waiting:
            self._say("there is room again: it goes on")
        self._waiting, self.error = False, None
        return written

    async def _trouble(self, error: OSError, *, alone: bool) -> None:
        """Waits where that may help; gives up where it cannot, or the recording is over."""
        self.error = error
        if not alone:
            return
        if error.errno not in FULL or self._over.is_set():
            self._say(f"the output cannot be written: {error.strerror or error}")
            self._give_up()
            return
        if not self._waiting:
            self._say(f"the output cannot be written: {error.strerror or error}; it waits for room")
        self._waiting = True
        with suppress(TimeoutError):
            async with asyncio.timeout(AGAIN_SECONDS):
                await self._over.wait()

    def _give_up(self) -> None:
        self._gone = True
        self._over.set()


class Session:
    """Records streams to an output until it is over; then `tallies` and `writer` say what came of it."""

    def __init__(
        self, output: Output, limits: Limits, say: Callable[[str], None], notice: Callable[[Happened], None]
    ) -> None:
        """`say` tells people something, `notice` what happened to a connection."""
        self.over = asyncio.Event()
        self.writer = Writer(output, say, self.over)
        self.tallies: dict[str, Tally] = {}
        self._limits, self._notice = limits, notice
        self._left = limits.count
        self._instruments = Instruments()
        self._run_token = secrets.token_hex(4)

    @property
    def failed(self) -> bool:
        """Whether it did not end as asked."""
        given_up = any(each.failed for each in self.tallies.values())
        return given_up or self.writer.unwritten > 0 or self.writer.error is not None

    async def run(self, streams: Sequence[Source], rules: Sequence[Rule]) -> None:
        """Until `over` is set, the time is up, there are enough messages, or every stream has failed."""
        self.tallies = {each.name: Tally() for each in streams}
        tasks = [asyncio.create_task(self._record(each, rules)) for each in streams]
        everything = asyncio.gather(*tasks, return_exceptions=True)
        waiting = asyncio.create_task(self.over.wait())
        try:
            await asyncio.wait(
                (everything, waiting), timeout=self._limits.seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            self.over.set()
            waiting.cancel()
            await end(tasks, END_SECONDS)
            results = await everything
            self._count_lost()
            await self.writer.close()
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result

    def _count_lost(self) -> None:
        """Messages that the recorders had to let go, as the output was too slow at the end."""
        for name, tally in self.tallies.items():
            for reason in ("stopped", "refused"):
                labels = {"stream": name, "reason": reason}
                lost = self._instruments.registry.get_sample_value(catalogue.TAP_LOST.name, labels) or 0.0
                tally.messages += int(lost)
                self.writer.unwritten += int(lost)

    async def _record(self, source: Source, rules: Sequence[Rule]) -> None:
        book = RuleBook(rules, source.name)
        recorder = Recorder(
            source,
            make_read(source),
            book.match,
            partial(self._keep, source),
            partial(self._tell, source),
            Meters(self._instruments, source.name, time.monotonic),
            run_token=self._run_token,
        )
        await recorder.run()

    async def _keep(self, source: Source, batch: Sequence[Recorded]) -> None:
        """Writes what passes the filters, up to the count."""
        wanted = [Heard(source.name, each, source.keep_raw) for each in batch if self._limits.wanted(each)]
        if self._left is not None:
            wanted = wanted[: self._left]
            self._left -= len(wanted)
        tally = self.tallies[source.name]
        tally.written += await self.writer.write(wanted)
        tally.heard(batch)
        if self._left == 0:
            self.over.set()

    async def _tell(self, source: Source, kind: str, detail: Mapping[str, Any]) -> None:
        """What happened to a connection is a line like a message, and a notice to people."""
        item = Happened(source.name, kind, detail.get("at", time.time()), detail)
        self.tallies[source.name].happened(item)
        self._notice(item)
        await self.writer.write([item])
        if all(each.failed for each in self.tallies.values()):
            self.over.set()


def _settle(loop: asyncio.AbstractEventLoop, future: asyncio.Future[T], work: Callable[[], T]) -> None:
    """Runs on the thread; the result goes back to the loop, where that still waits for it."""
    try:
        result = work()
    except Exception as error:  # noqa: BLE001 - it is raised where the work was asked for
        tell = partial(_set, future, future.set_exception, error)
    else:
        tell = partial(_set, future, future.set_result, result)
    with suppress(RuntimeError):  # the loop has been closed: the program ends
        loop.call_soon_threadsafe(tell)


def _set(future: asyncio.Future[T], settle: Callable[[Any], None], value: Any) -> None:
    if not future.done():
        settle(value)
