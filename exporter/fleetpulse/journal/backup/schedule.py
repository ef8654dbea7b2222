"""Backups by themselves: one each `backup.hours`, in the background, and what the metrics say of them."""

import asyncio
import concurrent.futures
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from fleetpulse import catalogue, config
from fleetpulse.instruments import Instruments
from fleetpulse.journal.backup.contents import identity
from fleetpulse.journal.backup.folder import backups, read_manifest
from fleetpulse.journal.backup.making import Made, make_in
from fleetpulse.journal.backup.watch import BackupError, BusyError, StoppedError, Watch
from fleetpulse.journal.journal import Journal

HOUR_SECONDS = 3_600.0
LOOK_SECONDS = 60.0  # how often it looks whether one is due: also how soon after the start
LOOKS = 4  # in the time between two backups, where that is short
RETRY_SECONDS = 900.0
NICENESS = 10
STOP_SECONDS = 4.0
T = TypeVar("T")
log = logging.getLogger(__name__)


class Backups:
    """Runs until cancelled. What the command line puts into the same folder counts as well."""

    def __init__(
        self,
        journal: Journal,
        settings: config.Backup,
        folder: Path,
        instruments: Instruments,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._journal = journal
        self._settings = settings
        self._folder = folder
        self._clock = clock
        self._interval = settings.hours * HOUR_SECONDS
        self._failed_at: float | None = None
        self._made = instruments.counter(catalogue.BACKUPS, "made")
        self._failed = instruments.counter(catalogue.BACKUPS, "failed")
        self._success = instruments.gauge(catalogue.BACKUP_LAST_SUCCESS)
        self._next = instruments.gauge(catalogue.BACKUP_DUE)
        self._size = instruments.gauge(catalogue.BACKUP_SIZE)
        self._seconds = instruments.gauge(catalogue.BACKUP_SECONDS)
        instruments.gauge(catalogue.BACKUP_INTERVAL).set(self._interval)
        with closing(journal.reader()) as connection:
            self._lineage = identity(connection)[1]

    async def run(self) -> None:
        """Looks, and makes one where it is due."""
        while True:
            try:
                await self.look()
            except BackupError as error:
                self._failed.inc()
                self._failed_at = self._clock()
                log.error("no backup of the journal: %s", error)  # noqa: TRY400 - it says all there is to say
            await asyncio.sleep(min(LOOK_SECONDS, self._interval / LOOKS) if self._interval else LOOK_SECONDS)

    async def look(self) -> Made | None:
        """Makes a backup if one is due; shows the newest. Raises BackupError."""
        due = await asyncio.to_thread(self._due)
        if due is None or self._clock() < due:
            return None
        try:
            made = await self._make()
        except BusyError:  # the next look will find it
            return None
        self._made.inc()
        self._failed_at = None
        await asyncio.to_thread(self._show)
        _tell(made)
        return made

    def _due(self) -> float | None:
        """When the next one is due: so long after the newest, else after the first signal; None for never."""
        since = self._show()
        since = self._first_signal() if since is None else since
        if not self._interval or since is None:
            return None
        self._next.set(since + self._interval)
        again = 0.0 if self._failed_at is None else self._failed_at + min(RETRY_SECONDS, self._interval)
        return max(since + self._interval, again)

    def _first_signal(self) -> float | None:
        """When the journal got its first signal: there is nothing to lose before."""
        with closing(self._journal.reader()) as connection:
            (first,) = connection.execute("SELECT min(created) FROM totals").fetchone()
        return first if first is None else float(first)

    def _show(self) -> float | None:
        """Sets what is told of the newest backup; the moment that it is of."""
        try:
            kept = backups(self._folder, self._lineage)
        except OSError as error:
            raise BackupError(f"the folder of backups cannot be read: {error}") from error
        if not kept:
            self._success.set(0)
            return None
        newest = kept[0]
        self._success.set(newest.at)
        self._size.set(newest.bytes)
        self._seconds.set((read_manifest(newest.path) or {}).get("seconds", 0.0))
        return newest.at

    async def _make(self) -> Made:
        watch = Watch()
        outcome: concurrent.futures.Future[Made] = concurrent.futures.Future()
        outcome.set_running_or_notify_cancel()  # it is not to be cancelled, but stopped
        threading.Thread(target=self._work, args=(outcome, watch), name="backup", daemon=True).start()
        made = asyncio.wrap_future(outcome)
        try:
            return await asyncio.shield(made)
        except asyncio.CancelledError:
            watch.stop()
            await asyncio.wait([made], timeout=STOP_SECONDS)
            if made.done():
                made.exception()  # that it was stopped is no news
            raise

    def _work(self, outcome: "concurrent.futures.Future[Made]", watch: Watch) -> None:
        _step_back()
        try:
            outcome.set_result(make_in(self._folder, self._journal.path, self._settings.keep, watch))
        except StoppedError:
            outcome.set_exception(BackupError("it was stopped"))
        except Exception as error:  # noqa: BLE001 - whatever it is, who waits must be told
            outcome.set_exception(error)


def _step_back() -> None:
    """Lets ingest and everything else have the processor first; only Linux has priorities of threads."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def _tell(made: Made) -> None:
    manifest = made.manifest
    log.info("backup %s: %d bytes in %.1f s", made.path, manifest.bytes, manifest.seconds)
    for finding in manifest.findings:
        log.warning("the journal's totals are not its rows: %s", finding)
