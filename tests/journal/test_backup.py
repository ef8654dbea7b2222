"""Making, keeping, verifying and bringing back backups of a real journal."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.journal.stand import NOW, Stand, alert, at_work, crash, file_bytes, requests

from fleetpulse.journal import ALERTS, MESSAGES, REQUESTS, MessageRow
from fleetpulse.journal.backup import (
    BackupError,
    Made,
    Stage,
    StoppedError,
    Watch,
    backups,
    loss,
    make_at,
    make_in,
    making,
    read_manifest,
    restore,
    verify,
)
from fleetpulse.journal.backup.folder import lock, name_of
from fleetpulse.journal.floors import DeleteOldestOf
from fleetpulse.journal.schema import MIGRATIONS
from fleetpulse.journal.writes import DeleteOldest


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "journal.db"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backups"


@pytest.fixture
async def stand(path: Path) -> AsyncIterator[Stand]:
    async with at_work(path) as made:
        yield made


async def fill(stand: Stand, requested: int = 3) -> None:
    first = stand.journal.newest_id(REQUESTS)
    await stand.journal.store(REQUESTS, requests(range(first, first + requested)))
    await stand.journal.store(ALERTS, [alert(f"f{first}")])
    await stand.journal.store(MESSAGES, [MessageRow(f"m{first}", NOW, None, "chat", "text", "s", "ann", "hi")])


async def made(stand: Stand, folder: Path, keep: int | None = 7) -> Made:
    return await asyncio.to_thread(make_in, folder, stand.journal.path, keep, Watch())


def damage(path: Path) -> None:
    """Overwrites pages in the midst of a database."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 16_384] = b"\x5a" * 16_384
    path.write_bytes(content)


def names(folder: Path, ending: str = "") -> set[str]:
    """What is in a folder, by name."""
    return {each.name for each in folder.iterdir() if each.name.endswith(ending)}


def put(folder: Path, *files: str) -> None:
    """Makes a folder with files that are no backups."""
    folder.mkdir()
    for name in files:
        (folder / name).write_text("x")


def ask(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


# Making --------------------------------------------------------------------------------------------------------
async def test_a_backup_is_one_moment_of_a_journal_that_is_written_to(stand: Stand, folder: Path) -> None:
    await fill(stand)
    making_it = asyncio.create_task(made(stand, folder))
    stored = 0
    while not making_it.done():
        await stand.journal.store(REQUESTS, requests([f"more{stored}"]))
        stored += 1
    backup = await making_it
    assert stored > 1, "ingest goes on"
    (rows,) = ask(backup.path, "SELECT count(*), max(id) FROM requests")[0:1]
    assert rows == (backup.manifest.rows["requests"], backup.manifest.rows["requests"])
    assert 3 <= backup.manifest.rows["requests"] <= 3 + stored
    assert backup.manifest.findings == ()


async def test_its_manifest_tells_what_it_is(stand: Stand, folder: Path) -> None:
    await fill(stand)
    backup = await made(stand, folder)
    told = read_manifest(backup.path)
    assert told is not None
    assert told["rows"] == {
        "requests": 3, "alert_events": 1, "messages": 1, "activities": 0, "events": 0, "mailbox": 0
    }  # fmt: skip
    assert (told["epoch"], told["lineage"]) == (stand.journal.epoch, stand.journal.epoch)
    assert (told["schema"], told["bytes"]) == (len(MIGRATIONS), file_bytes(backup.path))
    assert names(folder) == {backup.path.name, f"{backup.path.stem}.json"}


async def test_where_nothing_can_be_made_nothing_is_left(
    stand: Stand, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(stand)
    with pytest.raises(BackupError, match="no journal"):
        make_in(folder, folder / "none.db", 7, Watch())
    monkeypatch.setattr(making, "SPARE_BYTES", 2**62)
    with pytest.raises(BackupError, match="make room"):
        await made(stand, folder)
    assert names(folder) == set()


@pytest.mark.parametrize("stage", Stage)
async def test_it_stops_wherever_it_is(stand: Stand, folder: Path, stage: Stage) -> None:
    await fill(stand)

    def tell(now: Stage, _done: int, _whole: int) -> None:
        if now is stage:
            watch.stop()

    watch = Watch(tell)
    with pytest.raises(StoppedError):
        await asyncio.to_thread(make_in, folder, stand.journal.path, 7, watch)
    assert names(folder, ".db") == set()
    assert (await made(stand, folder)).manifest.rows["requests"] == 3


async def test_a_damaged_journal_gives_no_backup(stand: Stand, path: Path, folder: Path) -> None:
    await fill(stand, 2_000)
    await stand.stop()
    damage(path)
    with pytest.raises(BackupError, match=r"damaged|malformed"):
        make_in(folder, path, 7, Watch())
    assert names(folder) == set()


async def test_one_is_made_at_a_time(stand: Stand, folder: Path) -> None:
    with lock(stand.journal.path), pytest.raises(BackupError, match="another backup"):
        await made(stand, folder)


async def test_a_file_that_is_there_is_not_written_over(stand: Stand, tmp_path: Path) -> None:
    target = tmp_path / "mine.db"
    backup = await asyncio.to_thread(make_at, target, stand.journal.path, Watch())
    assert (backup.path, verify(target, Watch()).findings) == (target, ())
    with pytest.raises(BackupError, match="there already"):
        make_at(target, stand.journal.path, Watch())


# Keeping -------------------------------------------------------------------------------------------------------
async def test_the_oldest_go_and_nothing_else_does(stand: Stand, folder: Path) -> None:
    put(folder, "notes.txt", "journal.db", "journal-2025.db", name_of(1.0, "abcdef012345"))
    there = names(folder)
    kept = [await made(stand, folder, keep=2) for _ in range(4)]
    assert [each.path for each in backups(folder, stand.journal.epoch)] == [kept[3].path, kept[2].path]
    assert kept[3].deleted == (kept[1].path,)
    assert there <= names(folder)
    assert len(names(folder, ".json")) == 2
    assert len(backups(folder)) == 3


async def test_what_was_left_unfinished_is_removed(stand: Stand, folder: Path) -> None:
    name = name_of(2.0, stand.journal.epoch)
    put(folder, f"{name}.part", f"{name}.part-journal", name.replace(".db", ".json"), "mine.part")
    backup = await made(stand, folder)
    assert names(folder) == {backup.path.name, f"{backup.path.stem}.json", "mine.part"}


# Verifying -----------------------------------------------------------------------------------------------------
async def test_a_byte_that_changed_is_found(stand: Stand, folder: Path) -> None:
    await fill(stand)
    backup = await made(stand, folder)
    content = bytearray(backup.path.read_bytes())
    content[-1] ^= 1
    backup.path.write_bytes(content)
    with pytest.raises(BackupError, match="SHA-256"):
        verify(backup.path, Watch())


async def test_damage_is_found_without_a_manifest(stand: Stand, folder: Path) -> None:
    await fill(stand, 2_000)
    backup = await made(stand, folder)
    backup.path.with_suffix(".json").unlink()
    assert verify(backup.path, Watch()).findings == ()
    damage(backup.path)
    with pytest.raises(BackupError, match=r"damaged|malformed"):
        verify(backup.path, Watch())


async def test_totals_that_are_not_the_rows_are_found(stand: Stand, folder: Path) -> None:
    await fill(stand)
    target = (await made(stand, folder)).path
    target.with_suffix(".json").unlink()
    with closing(sqlite3.connect(target, isolation_level=None)) as connection:
        connection.execute("UPDATE totals SET value = value + 1 WHERE metric = 'fleetpulse_requests_total'")
    assert verify(target, Watch()).findings == ("fleetpulse_requests_total: 3 by the rows, 4 by the totals",)
    with closing(sqlite3.connect(target, isolation_level=None)) as connection:
        connection.execute("DELETE FROM requests WHERE id = 2")
    assert "requests kept: 2 by the rows, 3 by the totals" in verify(target, Watch()).findings


async def test_what_retention_deleted_does_not_make_the_books_wrong(stand: Stand, folder: Path) -> None:
    await fill(stand, 10)
    await stand.journal.submit(DeleteOldest(REQUESTS, 4))
    await stand.journal.submit(DeleteOldest(ALERTS, 4))
    backup = await made(stand, folder)
    assert (backup.manifest.findings, backup.manifest.rows["requests"]) == ((), 6)


async def test_streams_that_were_kept_for_less_do_not_either(stand: Stand, folder: Path) -> None:
    rows = [MessageRow(f"m{n}", NOW, None, "ab"[n % 2], "text", None, "ann", "hi") for n in range(10)]
    await stand.journal.store(MESSAGES, rows)
    await stand.journal.submit(DeleteOldestOf("b", 3, NOW + 1))
    backup = await made(stand, folder)
    assert (backup.manifest.findings, backup.manifest.rows["messages"]) == ((), 7)


def test_what_is_no_journal_is_refused(tmp_path: Path) -> None:
    text, other, newer = tmp_path / "text.db", tmp_path / "other.db", tmp_path / "newer.db"
    text.write_text("hello " * 1_000)
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE chat_messages (id)")
    for file, why in ((text, "not a database"), (other, "no journal"), (tmp_path / "none.db", "no file")):
        with pytest.raises(BackupError, match=why):
            verify(file, Watch())
    with closing(sqlite3.connect(newer, isolation_level=None)) as connection:
        connection.executescript(f"{''.join(MIGRATIONS)} PRAGMA user_version = {len(MIGRATIONS) + 1};")
    with pytest.raises(BackupError, match="newer"):
        verify(newer, Watch())


# Restoring -----------------------------------------------------------------------------------------------------
async def test_a_restored_journal_goes_on_under_another_epoch(path: Path, folder: Path) -> None:
    async with at_work(path) as stand:
        await fill(stand)
        backup, totals, epoch = await made(stand, folder), stand.totals(), stand.journal.epoch
        await stand.journal.store(REQUESTS, requests(["late1", "late2"]))
        with pytest.raises(BackupError, match="in use"):
            restore(backup.path, path, Watch())
    lost = loss(verify(backup.path, Watch()), path)
    assert (lost.other, lost.rows) == (False, dict.fromkeys(backup.manifest.rows, 0) | {"requests": 2})
    restored = restore(backup.path, path, Watch())
    async with at_work(path) as stand:
        assert stand.journal.epoch == restored.epoch != epoch
        assert (stand.totals(), stand.ids()) == (totals, ["r0", "r1", "r2"])
        assert (await stand.journal.store(REQUESTS, requests(["late2"]))).duplicates == 0
        assert (await made(stand, folder)).manifest.lineage == epoch
    assert restored.set_aside is not None
    async with at_work(restored.set_aside) as stand:
        assert (stand.journal.epoch, len(stand.ids())) == (epoch, 5)


async def test_a_journal_that_died_is_set_aside_whole(path: Path, folder: Path, tmp_path: Path) -> None:
    async with at_work(path) as stand:
        await fill(stand)
        backup = await made(stand, folder)
        await fill(stand)
        dead = crash(path, tmp_path / "dead")
    restored = restore(backup.path, dead, Watch())
    assert restored.set_aside is not None
    async with at_work(restored.set_aside) as stand:
        assert len(stand.ids()) == 6
    async with at_work(dead) as stand:
        assert len(stand.ids()) == 3
    again = restore(restored.set_aside, dead, Watch())
    assert again.set_aside not in (None, restored.set_aside)
    async with at_work(dead) as stand:
        assert len(stand.ids()) == 6


async def test_what_is_in_a_files_write_ahead_log_is_restored_too(path: Path, tmp_path: Path) -> None:
    async with at_work(path) as stand:
        await fill(stand)
        dead = crash(path, tmp_path / "dead")
    restore(dead, tmp_path / "new" / "journal.db", Watch())
    async with at_work(tmp_path / "new" / "journal.db") as stand:
        assert len(stand.ids()) == 3


async def test_a_bad_backup_leaves_the_journal_as_it_is(path: Path, folder: Path) -> None:
    async with at_work(path) as stand:
        await fill(stand)
        backup = await made(stand, folder)
    manifest = backup.path.with_suffix(".json")
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"sha256": "0"}))
    before = await asyncio.to_thread(path.read_bytes)
    with pytest.raises(BackupError, match="SHA-256"):
        restore(backup.path, path, Watch())
    assert await asyncio.to_thread(path.read_bytes) == before
    assert names(path.parent, ".part") == set()


async def test_of_another_journal_all_is_lost(path: Path, folder: Path, tmp_path: Path) -> None:
    async with at_work(path) as stand:
        await fill(stand)
        backup = await made(stand, folder)
    contents = verify(backup.path, Watch())
    other = tmp_path / "other" / "journal.db"
    assert loss(contents, other).rows == {}
    async with at_work(other) as stand:
        await fill(stand, 5)
    found = loss(contents, other)
    assert found.rows is not None
    assert (found.other, found.rows["requests"]) == (True, 5)
    other.write_text("garbage " * 4_000)
    assert loss(contents, other).rows is None
