"""Backups by themselves: when one is due, what is told of them, and that they stop with the exporter."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.journal.stand import NOW, Stand, at_work, requests, until

from fleetpulse import catalogue
from fleetpulse.config import Backup as BackupSettings
from fleetpulse.journal import REQUESTS
from fleetpulse.journal.backup import BackupError, Backups, backups, copying, making
from fleetpulse.journal.backup.folder import lock, name_of
from fleetpulse.journal.backup.schedule import HOUR_SECONDS, RETRY_SECONDS

HOURS = 24.0
DAY = HOURS * HOUR_SECONDS


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backups"


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with at_work(tmp_path / "journal.db") as made:
        yield made


@pytest.fixture
def clock() -> Clock:
    return Clock()


Make = Callable[..., Backups]


@pytest.fixture
def make(stand: Stand, folder: Path, clock: Clock) -> Make:
    def made(hours: float = HOURS, keep: int = 2) -> Backups:
        return Backups(stand.journal, BackupSettings(hours=hours, keep=keep), folder, stand.instruments, clock)

    return made


def old_backup(folder: Path, at: float, lineage: str) -> None:
    """A backup of another day, as far as its name goes."""
    folder.mkdir(exist_ok=True)
    (folder / name_of(at, lineage)).write_bytes(b"x" * 7)


async def test_the_first_is_due_so_long_after_the_first_signal(stand: Stand, make: Make, clock: Clock) -> None:
    parts = make()
    clock.now += 10 * DAY
    assert await parts.look() is None, "there is nothing to lose"
    clock.now = NOW
    await stand.journal.store(REQUESTS, requests("ab"))
    clock.now = NOW + DAY - 1
    assert await parts.look() is None
    clock.now = NOW + DAY
    made = await parts.look()
    assert made is not None
    assert made.manifest.rows["requests"] == 2
    assert stand.value(catalogue.BACKUPS, "made") == 1
    assert stand.value(catalogue.BACKUP_SIZE) == made.manifest.bytes
    assert stand.value(catalogue.BACKUP_SECONDS) == made.manifest.seconds
    assert stand.value(catalogue.BACKUP_INTERVAL) == DAY


async def test_the_next_is_due_so_long_after_the_newest_whoever_made_it(
    stand: Stand, make: Make, clock: Clock, folder: Path
) -> None:
    await stand.journal.store(REQUESTS, requests("ab"))
    old_backup(folder, NOW + 5 * DAY, stand.journal.epoch)
    clock.now = NOW + 6 * DAY - 1
    assert await make().look() is None
    assert stand.value(catalogue.BACKUP_LAST_SUCCESS) == NOW + 5 * DAY
    assert stand.value(catalogue.BACKUP_SIZE) == 7
    clock.now += 1
    assert await make().look() is not None


async def test_others_backups_in_the_same_folder_are_not_its_own(
    stand: Stand, make: Make, clock: Clock, folder: Path
) -> None:
    await stand.journal.store(REQUESTS, requests("ab"))
    old_backup(folder, NOW + 5 * DAY, "abcdef012345")
    clock.now = NOW + 2 * DAY
    assert await make(keep=1).look() is not None
    assert len(backups(folder)) == 2


async def test_zero_hours_is_never(stand: Stand, make: Make, clock: Clock) -> None:
    await stand.journal.store(REQUESTS, requests("ab"))
    clock.now += 1_000 * DAY
    assert await make(hours=0).look() is None
    assert stand.value(catalogue.BACKUP_LAST_SUCCESS) == 0
    assert stand.value(catalogue.BACKUP_INTERVAL) == 0


async def test_a_failure_is_counted_and_tried_again_after_a_while(
    stand: Stand, make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    await stand.journal.store(REQUESTS, requests("ab"))
    clock.now += DAY
    spare, parts = making.SPARE_BYTES, make()
    monkeypatch.setattr(making, "SPARE_BYTES", 2**62)
    with pytest.raises(BackupError, match="make room"):
        await parts.look()
    running = asyncio.create_task(parts.run())
    await until(lambda: stand.value(catalogue.BACKUPS, "failed") == 1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    monkeypatch.setattr(making, "SPARE_BYTES", spare)
    clock.now += RETRY_SECONDS - 1
    assert await parts.look() is None
    clock.now += 1
    assert await parts.look() is not None
    assert len(backups(folder)) == 1


async def test_it_runs_by_itself_and_ends_in_the_midst_when_it_is_told_to(
    stand: Stand, make: Make, clock: Clock, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stand.journal.store(REQUESTS, requests(range(20_000)))
    clock.now += DAY
    share = copying.SHARE
    monkeypatch.setattr(copying, "SHARE", 1e9)  # it rests after the first step
    running = asyncio.create_task(make().run())
    await until(lambda: folder.exists() and any(each.suffix == ".part" for each in folder.iterdir()))
    running.cancel()
    assert isinstance((await asyncio.gather(running, return_exceptions=True))[0], asyncio.CancelledError)
    assert backups(folder) == []
    monkeypatch.setattr(copying, "SHARE", share)
    running = asyncio.create_task(make().run())
    await until(lambda: stand.value(catalogue.BACKUPS, "made") == 1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert len(backups(folder)) == 1


async def test_one_that_somebody_else_makes_now_is_waited_for(
    stand: Stand, make: Make, clock: Clock, folder: Path
) -> None:
    await stand.journal.store(REQUESTS, requests("ab"))
    clock.now += DAY
    with lock(stand.journal.path):
        assert await make().look() is None
    assert stand.value(catalogue.BACKUPS, "failed") == 0
    assert await make().look() is not None
    assert len(backups(folder)) == 1
