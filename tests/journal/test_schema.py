"""Opening: migrations, versions this Fleetpulse does not know, damaged files, a journal that is in use."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from tests.journal.stand import at_work, crash, file_bytes, requests

from fleetpulse.errors import ConfigError, JournalDamagedError
from fleetpulse.journal import REQUESTS, schema
from fleetpulse.journal.schema import MIGRATIONS, PAGE_BYTES, examine, open_reader, open_writer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


async def filled(path: Path, rows: int = 500) -> Path:
    async with at_work(path) as stand:
        await stand.journal.store(REQUESTS, requests(range(rows)))
    return path


@contextmanager
def untouched(path: Path) -> Iterator[None]:
    """What is done within changes not one byte of the journal."""
    before = {file.name: file.read_bytes() for file in (path, Path(f"{path}-wal")) if file.exists()}
    yield
    after = {name: path.with_name(name).read_bytes() for name in before}
    assert after == before


def test_a_new_journal_has_the_newest_schema(path: Path) -> None:
    with closing(open_writer(path, "full")) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
        assert connection.execute("PRAGMA page_size").fetchone() == (PAGE_BYTES,)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_the_data_folder_is_made(tmp_path: Path) -> None:
    path = tmp_path / "not" / "yet" / "journal.db"
    open_writer(path, "normal").close()
    assert path.is_file()


def nothing_at_all(path: Path) -> None:
    path.write_bytes(b"")


def an_empty_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as empty:
        empty.execute("VACUUM")


@pytest.mark.parametrize("made", [nothing_at_all, an_empty_database])
async def test_version_zero_is_migrated(path: Path, made: Callable[[Path], None]) -> None:
    made(path)
    await filled(path)
    async with at_work(path) as stand:
        assert len(stand.ids()) == 500


async def test_a_migration_that_breaks_off_leaves_the_old_version(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(path)
    broken = "CREATE TABLE extra (x); DELETE FROM requests; INSERT INTO nowhere VALUES (1);"
    monkeypatch.setattr(schema, "MIGRATIONS", (*MIGRATIONS, broken))
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        open_writer(path, "full")
    monkeypatch.setattr(schema, "MIGRATIONS", (*MIGRATIONS, "CREATE TABLE extra (x);"))
    async with at_work(path) as stand:
        assert len(stand.ids()) == 500
        assert stand.eyes.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,)


async def test_a_newer_version_is_refused_and_left_alone(path: Path) -> None:
    await filled(path)
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA user_version = 99")
    with untouched(path), pytest.raises(ConfigError, match=r"schema 99.*newer Fleetpulse") as caught:
        open_writer(path, "full")
    assert not isinstance(caught.value, JournalDamagedError)
    assert str(path) in caught.value.detail
    with untouched(path), pytest.raises(ConfigError, match="schema 99"):
        examine(path)


@pytest.mark.parametrize("content", [b"not a database, though it is long enough " * 400, b"short"])
def test_what_is_no_database_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with untouched(path), pytest.raises(JournalDamagedError, match="not a database") as caught:
        open_writer(path, "full")
    assert "move the file" in caught.value.detail
    with untouched(path), pytest.raises(JournalDamagedError):
        examine(path)


@pytest.mark.parametrize("page", [3, 8, -1])
async def test_a_damaged_page_is_refused_and_left_alone(path: Path, page: int) -> None:
    await filled(path)
    pages = file_bytes(path) // PAGE_BYTES
    damage(path, page % pages)
    with untouched(path), pytest.raises(JournalDamagedError, match="is damaged"):
        open_writer(path, "full")
    with untouched(path), pytest.raises(JournalDamagedError):
        examine(path)


async def test_a_damaged_file_keeps_its_log_too(path: Path, tmp_path: Path) -> None:
    await filled(path)
    async with at_work(path) as stand:
        await stand.journal.store(REQUESTS, requests(range(500, 600)))
        left = crash(path, tmp_path / "after")
    damage(left, 8)
    assert file_bytes(Path(f"{left}-wal")) > 0
    with untouched(left), pytest.raises(JournalDamagedError):
        open_writer(left, "full")


def damage(path: Path, page: int) -> None:
    """Scribbles over a page."""
    with path.open("r+b") as file:
        file.seek(page * PAGE_BYTES)
        file.write(b"\xde\xad\xbe\xef" * (PAGE_BYTES // 4))


async def test_a_sound_journal_passes_the_examination(path: Path) -> None:
    await filled(path)
    with untouched(path):
        examine(path)


async def test_a_journal_has_one_owner(path: Path) -> None:
    async with at_work(path) as stand:
        await stand.journal.store(REQUESTS, requests("ab"))
        with pytest.raises(ConfigError, match=r"in use by another Fleetpulse.*data_dir"):
            open_writer(path, "full")
        examine(path)
        assert len((await stand.journal.store(REQUESTS, requests("bc"))).new) == 1
    open_writer(path, "full").close()


def test_a_killed_owner_leaves_the_journal_free(path: Path) -> None:
    script = (
        "import sys, pathlib; from fleetpulse.journal.schema import open_writer\n"
        "owner = open_writer(pathlib.Path(sys.argv[1]), 'full'); print('mine', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"mine\n"
        with pytest.raises(ConfigError, match="in use"):
            open_writer(path, "full")
        other.kill()
        other.wait()
    open_writer(path, "full").close()


def test_closing_twice_is_harmless(path: Path) -> None:
    connection = open_writer(path, "full")
    connection.close()
    connection.close()


def test_a_data_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(ConfigError, match="data_dir"):
        open_writer(tmp_path / "data" / "journal.db", "full")


def test_a_journal_that_is_a_folder_is_named(path: Path) -> None:
    path.mkdir()
    with pytest.raises(ConfigError, match="data_dir"):
        open_writer(path, "full")


async def test_readers_cannot_write(path: Path) -> None:
    await filled(path)
    with closing(open_reader(path)) as reader, pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("DELETE FROM requests")
