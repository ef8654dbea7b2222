"""A recorder with what it needs around it, kept in lists, for tests against real servers."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from fleetpulse.config.tap import Source
from fleetpulse.instruments import Instruments
from fleetpulse.tap.frames import Frame, Reading, Recorded
from fleetpulse.tap.meters import Meters
from fleetpulse.tap.recorder import Recorder

SECONDS = 20.0
QUICK = {"first_seconds": 0.0, "base_seconds": 0.02, "cap_seconds": 0.05}
Kept = tuple[str, object]
"""A message's text, or an event's kind with its detail, in the order in which they were kept."""


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def tcp_server(talk: Talk) -> AsyncIterator[int]:
    """A server on a port of its own while the context lasts; nothing of its connections is left afterwards."""
    tasks: set[asyncio.Task[Any]] = set()

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await talk(reader, writer)
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        finally:
            writer.transport.abort()
            tasks.discard(task)

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.sleep(0.01)  # aborted transports say goodbye


async def until(condition: Callable[[], object]) -> None:
    """Returns when a condition holds; fails after a while."""
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - what is waited for is in lists
            await asyncio.sleep(0.005)


def source_of(url: str, **settings: Any) -> Source:
    """A stream's settings, quick to try again, and for servers on this machine."""
    given: dict[str, Any] = {"name": "room", "url": url, "allow_private": True, "reconnect": QUICK}
    return Source.model_validate(given | settings)


class Stage:
    """What a recorder has told and kept."""

    def __init__(self, source: Source) -> None:
        self.log: list[Recorded | tuple[str, Mapping[str, Any]]] = []
        self.refusals: list[Exception] = []
        self.instruments = Instruments()
        self.gate = asyncio.Event()
        self.gate.set()
        self.recorder = Recorder(
            source,
            self._read,
            lambda reading: ("loud",) if "!" in reading.text else (),
            self._keep,
            self._tell,
            Meters(self.instruments, source.name, asyncio.get_running_loop().time),
            run_token="run",  # noqa: S106 - of a run, no credential
            rng=random.Random(7),
        )

    @property
    def recorded(self) -> list[Recorded]:
        return [each for each in self.log if isinstance(each, Recorded)]

    @property
    def texts(self) -> list[str | bytes]:
        return [each.frame.data for each in self.recorded]

    @property
    def told(self) -> list[tuple[str, Mapping[str, Any]]]:
        return [each for each in self.log if not isinstance(each, Recorded)]

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.told]

    def recorded_count(self) -> int:
        return len(self.recorded)

    def count(self, kind: str) -> int:
        return self.kinds.count(kind)

    def failures(self) -> float:
        """Connections that ended and attempts that failed."""
        families = self.instruments.registry.collect()
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == "fleetpulse_tap_disconnects_total"
        )

    def detail(self, kind: str, which: int = -1) -> Mapping[str, Any]:
        return [detail for each, detail in self.told if each == kind][which]

    def value(self, name: str, **labels: str) -> float:
        found = self.instruments.registry.get_sample_value(name, {"stream": "room", **labels})
        return 0.0 if found is None else found

    def _read(self, frame: Frame) -> Reading:
        return Reading("chat", "", str(frame.data))

    async def _keep(self, messages: Sequence[Recorded]) -> None:
        await self.gate.wait()
        if self.refusals:
            raise self.refusals.pop()
        await asyncio.sleep(0)
        self.log.extend(messages)

    async def _tell(self, kind: str, detail: Mapping[str, Any]) -> None:
        await self.gate.wait()
        await asyncio.sleep(0)
        self.log.append((kind, detail))


@asynccontextmanager
async def recording(source: Source) -> AsyncIterator[Stage]:
    """A recorder that runs while the context lasts."""
    stage = Stage(source)
    task = asyncio.create_task(stage.recorder.run())
    try:
        yield stage
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    check_bounds(stage)


async def given_up(source: Source) -> Stage:
    """A recorder that gave up."""
    stage = Stage(source)
    async with asyncio.timeout(SECONDS):
        await stage.recorder.run()
    assert stage.recorder.state == "failed"
    assert stage.value("fleetpulse_tap_state", state="failed") == 1
    assert stage.value("fleetpulse_tap_connected") == 0
    check_bounds(stage)
    return stage


@asynccontextmanager
async def failing(source: Source) -> AsyncIterator[Stage]:
    """A recorder that fails while the context lasts; those with files may try again."""
    async with recording(source) as stage:
        await until(lambda: "stream_failed" in stage.kinds)
        assert stage.recorder.state == "failed"
        yield stage


def check_bounds(stage: Stage) -> None:
    """Every message is kept once, in order, between the two events of its connection, which count it."""
    expected = 0
    connection = None
    for each in stage.log:
        if isinstance(each, Recorded):
            expected += 1
            assert (each.frame.connection, each.frame.number) == (connection, expected)
        elif each[0] == "stream_connected":
            assert connection is None, "a connection began before the end of the one before was told"
            connection, expected = each[1]["connection"], 0
        elif each[0] == "stream_disconnected":
            assert (each[1]["connection"], each[1]["messages"]) == (connection, expected)
            connection = None
    assert connection is None, "the last connection's end was not told"
