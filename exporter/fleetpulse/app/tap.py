"""The tap inside the exporter: the configured streams, each recorded into the journal.

Messages are stored, counted and matched in one transaction, before anybody hears of them; automatic replies come
after it. Connections that open and close are events of the category `tap`, in order with the messages. A stream is
recorded by the replica that has it configured; two that both have it record it twice.
"""

import asyncio
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from fleetpulse.app.core import Core
from fleetpulse.config.tap import Source
from fleetpulse.journal import MESSAGES, Journal, Row, Table
from fleetpulse.journal.recordings import last_event, last_message
from fleetpulse.tap import happenings
from fleetpulse.tap.frames import Recorded
from fleetpulse.tap.limits import export_limits
from fleetpulse.tap.meters import Meters
from fleetpulse.tap.reading import make_read
from fleetpulse.tap.recorder import STOP_SECONDS, Recorder
from fleetpulse.tap.replies import Replies
from fleetpulse.tap.rows import message_rows
from fleetpulse.tap.rules import RuleBook
from fleetpulse.tap.users import StreamUsers

CATEGORY = "tap"


class Stream:
    """One stream: its recorder, and its automatic replies."""

    def __init__(self, core: Core, source: Source, run_token: str) -> None:
        self._core = core
        self._source = source
        read, rules = make_read(source), core.settings.tap.rules
        self._recorder = Recorder(
            source,
            read,
            RuleBook(rules, source.name).match,
            self._keep,
            self._tell,
            Meters(core.instruments, source.name, time.monotonic),
            run_token=run_token,
        )
        self._replies = Replies(source.name, rules, read, self._recorder.send, core.instruments, time.monotonic)

    async def run(self) -> None:
        """Records until cancelled, or given up. What a recorder that died left open is told of first."""
        replying = asyncio.create_task(self._replies.run())
        try:
            await self._tell_of_death()
            await self._recorder.run()
        finally:
            replying.cancel()
            await asyncio.gather(replying, return_exceptions=True)

    async def _keep(self, recorded: Sequence[Recorded]) -> None:
        await self._core.pipeline.messages(
            message_rows(self._source.name, recorded, keep_raw=self._source.keep_raw)
        )
        self._replies.offer(recorded)

    async def _tell(self, kind: str, detail: Mapping[str, Any]) -> None:
        await self._core.events.record(CATEGORY, kind, subject=self._source.name, detail=detail)

    async def _tell_of_death(self) -> None:
        death = await asyncio.to_thread(_death, self._core.journal, self._source.name)
        if death is not None:
            await self._tell(*death)


class Tap:
    """All streams. `start` it when the journal takes rows, `stop` it before it takes no more."""

    def __init__(self, core: Core) -> None:
        settings = core.settings
        export_limits(settings.tap, core.instruments)
        self._core = core
        self._users = StreamUsers(settings.tap, settings.timezone, core.instruments)
        run_token = secrets.token_hex(6)
        self._streams = [Stream(core, source, run_token) for source in settings.tap.streams if source.enabled]
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begins to record."""
        journal = self._core.journal
        work = [self._users.restore(journal, journal.newest_id(MESSAGES)), *(each.run() for each in self._streams)]
        self._tasks = [asyncio.create_task(each) for each in work]

    def stored(self, table: Table, rows: Sequence[Row]) -> None:
        """Hears of rows that a commit has just made durable."""
        self._users.stored(table, rows)

    async def stop(self) -> None:
        """Closes the connections, and returns when what they brought is stored, or after a bounded time."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2 * STOP_SECONDS)


def _death(journal: Journal, stream: str) -> happenings.Happening | None:
    """What to tell of a stream whose recorder died, as its last event says."""
    with closing(journal.reader()) as reader:
        event = last_event(reader, CATEGORY, stream)
        if event is None:
            return None
        newest = last_message(reader, stream)
    detail = event.as_json()["detail"]
    ours = newest is not None and newest.connection == detail.get("connection")
    number = int(newest.message_id.rpartition("/")[2]) if newest is not None and ours else None
    at = newest.received_at if newest is not None and ours else None
    return happenings.lost(event.kind, detail, number, at, time.time())
