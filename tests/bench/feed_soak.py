"""The live client over a bad line: cut off again and again while events stream, and the exporter killed meanwhile.

20,000 request logs are posted in batches; `fleetpulse.feed.LiveFeed` follows them through a line that is cut 200
times without a word, and the exporter dies by SIGKILL three times, in the midst of a post, and starts anew. It has
300 events in memory, so what was missed longer ago is read from the journal. In the end the client must have handed
out exactly the journal's rows, in order: nothing twice, nothing missing, no gap. Beside it, the same undisturbed.

It promises no figure, so `make bench` passes it by. Run: python tests/bench/feed_soak.py
"""

import argparse
import asyncio
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from load import free_port, process, report

from fleetpulse.feed import Backoff, Event, Gap, LiveFeed, Subscribed

EVENTS, BATCH, CUTS, KILLS = 20_000, 20, 200, 3
KEPT_IN_MEMORY = 300
DEADLINE = 300.0
PAUSE = 0.002


class Server:
    """An exporter that can be killed and started again over the same journal."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.journal = folder / "journal.db"
        self._environment = {
            "FLEETPULSE_PORT": str(self.port),
            "FLEETPULSE_DATA_DIR": str(folder),
            "FLEETPULSE_LOG_LEVEL": "warning",
            "FLEETPULSE_LIVE__HISTORY_MESSAGES": str(KEPT_IN_MEMORY),
        }
        self._stack = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Until it is ready."""
        command = [sys.executable, "-m", "fleetpulse", "serve"]
        self._process = self._stack.enter_context(process(command, self._environment, self.port))

    def kill(self) -> None:
        """As the kernel does when memory ends."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
        self._stack.close()

    def stop(self) -> None:
        """As people do."""
        self._stack.close()

    def rows(self) -> list[tuple[int, str]]:
        """What is stored, by offset."""
        with closing(sqlite3.connect(f"file:{self.journal}?mode=ro", uri=True)) as connection:
            return connection.execute("SELECT id, request_id FROM requests ORDER BY id").fetchall()


class Line:
    """A way to a port; its connections end without a word when it is cut."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._tasks: set[asyncio.Task[Any]] = set()

    def cut(self) -> None:
        """Cuts what is open."""
        for task in self._tasks:
            task.cancel()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("served outside of any task")
        self._tasks.add(task)
        writers = [writer]
        try:
            with suppress(OSError, asyncio.CancelledError):
                back, forth = await asyncio.open_connection("127.0.0.1", self._target)
                writers.append(forth)
                await asyncio.gather(_pump(reader, forth), _pump(back, writer))
        finally:
            self._tasks.discard(task)
            for each in writers:
                each.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.transport.abort()


@asynccontextmanager
async def a_line(target: int) -> AsyncIterator[Line]:
    """A line while the context lasts."""
    line = Line(target)
    server = await asyncio.start_server(line.serve, "127.0.0.1", 0)
    line.port = server.sockets[0].getsockname()[1]
    try:
        yield line
    finally:
        server.close()
        line.cut()


@dataclass
class Reader:
    """What the feed handed out. `resumed` is how long each cut took: until the topic stood again."""

    events: list[tuple[int, str]] = field(default_factory=list)
    gaps: int = 0
    subscriptions: int = 0
    unrecovered: int = 0
    resumed: list[float] = field(default_factory=list)
    cut_at: float | None = None

    async def read(self, feed: LiveFeed) -> None:
        """Until the feed is closed."""
        async for message in feed:
            if isinstance(message, Event):
                self.events.append((message.offset, message.data["request_id"]))
            elif isinstance(message, Gap):
                self.gaps += 1
            elif isinstance(message, Subscribed):
                self._subscribed(message)

    def _subscribed(self, message: Subscribed) -> None:
        self.subscriptions += 1
        self.unrecovered += self.subscriptions > 1 and not message.recovered
        if self.cut_at is not None:
            self.resumed.append(time.perf_counter() - self.cut_at)
            self.cut_at = None


@dataclass
class Poster:
    """Posts request logs, each batch until it is acknowledged."""

    http: aiohttp.ClientSession
    url: str
    made: int = 0

    async def post(self) -> None:
        """The next batch."""
        ids = range(self.made, self.made + BATCH)
        body = [{"request_id": f"r{n}", "source": "soak", "status": "success", "execution_time": 1.0} for n in ids]
        self.made += BATCH
        while not await self._sent(body):  # noqa: ASYNC110 - the exporter is another process
            await asyncio.sleep(0.05)

    async def _sent(self, body: list[dict[str, Any]]) -> bool:
        with suppress(aiohttp.ClientError, OSError):
            async with self.http.post(f"{self.url}/api/log-request", json=body) as answer:
                return answer.status == 202
        return False


async def until(happened: Any) -> None:
    """Waits for it."""
    async with asyncio.timeout(DEADLINE):
        while not happened():  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(PAUSE)


async def trouble(number: int, server: Server, line: Line, reader: Reader, poster: Poster) -> None:
    """One cut; at some of them the exporter dies, too, while it has a post under way."""
    await until(lambda: reader.cut_at is None)  # so that each cut is one of a standing subscription
    reader.cut_at = time.perf_counter()
    line.cut()
    if number % (CUTS // (KILLS + 1)) == 0 and number < CUTS:
        posting = asyncio.create_task(poster.post())
        await asyncio.sleep(0)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        await posting


async def follow(server: Server, *, cuts: int, chance: random.Random) -> tuple[Reader, float]:
    """One run: what was read, and the seconds it took from the first post to the last event."""
    reader = Reader()
    async with AsyncExitStack() as stack:
        line = await stack.enter_async_context(a_line(server.port))
        poster = Poster(await stack.enter_async_context(aiohttp.ClientSession()), f"http://127.0.0.1:{server.port}")
        backoff = Backoff(first=0.01, longest=0.04, rng=chance)
        feed = await stack.enter_async_context(LiveFeed(f"http://127.0.0.1:{line.port}", backoff=backoff))
        feed.subscribe("requests")
        reading = asyncio.create_task(reader.read(feed))
        await until(lambda: reader.subscriptions)
        started = time.perf_counter()
        for number in range(1, CUTS + 1):
            for _ in range(chance.randrange(2 * EVENTS // CUTS // BATCH)):
                if poster.made < number * EVENTS // CUTS:
                    await poster.post()
            if number <= cuts:
                await trouble(number, server, line, reader, poster)
        while poster.made < EVENTS:
            await poster.post()
        await until(lambda: len(reader.events) >= EVENTS or reading.done())
        seconds = time.perf_counter() - started
        await feed.close()
        await reading
    return reader, seconds


def measured(*, cuts: int, seed: int) -> tuple[Reader, float]:
    """A run with an exporter of its own. Raises ValueError where what was read is not what is stored."""
    with tempfile.TemporaryDirectory(prefix="fleetpulse-bench-") as folder:
        server = Server(Path(folder))
        server.start()
        try:
            reader, seconds = asyncio.run(follow(server, cuts=cuts, chance=random.Random(seed)))
            stored = server.rows()
        finally:
            server.stop()
    if reader.events != stored or len(stored) != EVENTS or reader.gaps or reader.unrecovered:
        raise ValueError(f"read {len(reader.events)}, stored {len(stored)}, {reader.gaps} gaps (seed {seed})")
    return reader, seconds


def main() -> None:
    """Runs it, and says how it went."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    seed = parser.parse_args().seed
    _, alone = measured(cuts=0, seed=seed)
    reader, seconds = measured(cuts=CUTS, seed=seed)
    waits = sorted(reader.resumed)
    report(
        "live client, cut 200 times, exporter killed 3 times",
        events=len(reader.events),
        subscriptions=reader.subscriptions,
        resumed_median_ms=statistics.median(waits) * 1_000,
        resumed_p95_ms=waits[int(len(waits) * 0.95)] * 1_000,
        resumed_worst_s=waits[-1],
        seconds=seconds,
        seconds_uncut=alone,
        seed=seed,
    )


if __name__ == "__main__":
    main()
