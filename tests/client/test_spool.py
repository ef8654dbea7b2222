import logging
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.tools import ROOT

from fleetpulse.client.complaints import Complaints
from fleetpulse.client.files import Folder, make_folder, orphans, take
from fleetpulse.client.records import seal
from fleetpulse.client.spool import SEGMENTS, Spool
from fleetpulse.client.tally import Tally

MOST = 2**20
HOLDER = """
import sys
from pathlib import Path
from fleetpulse.client.files import make_folder
folder = make_folder(Path(sys.argv[1]))
print(folder.path.name, flush=True)
sys.stdin.read()
"""
Make = Callable[..., Spool]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes spools of one parent, all closed at the end."""
    spools: list[Spool] = []

    def one(parent: Path | None = tmp_path / "spool", **bounds: float) -> Spool:
        most = {"disk_bytes": MOST, "memory_bytes": MOST, "disk_pause": 0.0} | bounds
        spools.append(Spool(parent, Tally(), Complaints(), **most))  # type: ignore[arg-type]  # numbers
        return spools[-1]

    yield one
    for spool in spools:
        spool.close()


def fill(spool: Spool, *records: bytes) -> None:
    spool.append(b"".join(map(seal, records)), len(records))


def drain(spool: Spool, most: int = 10) -> list[bytes]:
    """Everything, settled batch by batch."""
    records = []
    while batch := spool.next_batch(most, MOST):
        records += batch.records
        spool.settle(batch)
    return records


def end(spool: Spool) -> None:
    """As the process's end would leave it: the kernel closes its files, which frees the lock."""
    spool.abandon()


def count(spool: Spool, name: str) -> int:
    return spool._tally[name]  # noqa: SLF001 - what it counts, it counts there


def segments(spool: Spool) -> list[Path]:
    assert spool.place is not None
    return sorted(spool.place.iterdir())


@pytest.mark.parametrize("parent", ["disk", None])
def test_first_in_first_out_and_nothing_is_left(make: Make, tmp_path: Path, parent: str | None) -> None:
    spool = make(tmp_path / parent if parent else None)
    records = [b'{"n":%d}' % number for number in range(25)]
    for record in records:
        fill(spool, record)
    assert (spool.waiting, spool.appended, spool.settled) == (25, 25, 0)
    assert spool.unsafe == (0 if parent else 25)
    assert drain(spool, 7) == records
    assert (spool.waiting, spool.settled, spool.size) == (0, 25, 0)
    spool.close()
    assert parent is None or list((tmp_path / parent).iterdir()) == []


def test_what_is_not_settled_comes_again(make: Make) -> None:
    spool = make()
    fill(spool, b"1", b"2", b"3")
    batch = spool.next_batch(2, MOST)
    assert batch is not None
    assert batch.records == [b"1", b"2"]
    spool.release()
    assert drain(spool, 1) == [b"1", b"2", b"3"]


def test_records_that_come_while_a_batch_is_under_way(make: Make) -> None:
    spool = make()
    fill(spool, b"1")
    batch = spool.next_batch(10, MOST)
    fill(spool, b"2")
    assert batch is not None
    spool.settle(batch)
    assert drain(spool) == [b"2"]


def test_files_are_private(make: Make) -> None:
    spool = make()
    fill(spool, b"1")
    assert spool.place is not None
    assert [path.stat().st_mode & 0o077 for path in (spool.place, *segments(spool))] == [0, 0]


def test_the_spools_of_ended_processes_are_adopted_oldest_first(make: Make, tmp_path: Path) -> None:
    first, second, mine = make(), make(), make()
    fill(first, b"1", b"2")
    fill(second, b"3")
    fill(mine, b"4")
    mine.adopt()
    assert mine.waiting == 1, "the others live"
    end(first)
    end(second)
    mine.adopt()
    assert (count(mine, "adopted"), mine.settled) == (3, 0)
    assert sorted(drain(mine)) == [b"1", b"2", b"3", b"4"]
    assert mine.settled == 1
    mine.close()
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_spool_adopted_by_one_that_ends_too_is_adopted_again(make: Make) -> None:
    first, second, third = make(), make(), make()
    fill(first, b"1")
    end(first)
    second.adopt()
    end(second)
    third.adopt()
    assert drain(third) == [b"1"]


def test_two_adopt_at_once_and_each_record_is_had_once(make: Make) -> None:
    for number in range(20):
        spool = make()
        fill(spool, b"%d" % number)
        end(spool)
    one, other = make(), make()
    one.adopt()
    other.adopt()
    assert sorted(map(int, drain(one) + drain(other))) == list(range(20))


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_torn_end_costs_the_torn_record_only(make: Make, cut: int) -> None:
    spool = make()
    fill(spool, b'{"first":1}', b'{"second":2}')
    end(spool)
    (segment,) = segments(spool)
    os.truncate(segment, segment.stat().st_size - cut)
    mine = make()
    mine.adopt()
    whole = 1 if cut < len(seal(b'{"second":2}')) + 1 else 0
    assert drain(mine) == [b'{"first":1}'][:whole]
    assert count(mine, "dropped") == count(mine, "adopted") - whole
    assert mine.waiting == 0


def test_damage_costs_the_damaged_records_only(make: Make) -> None:
    spool = make()
    fill(spool, b'{"n":1}', b'{"n":2}', b'{"n":3}')
    end(spool)
    (segment,) = segments(spool)
    data = segment.read_bytes().replace(b'"n":2', b'"n":9') + b"\n\n" + bytes(100) + b"\nnot a record\n"
    segment.write_bytes(data + seal(b'{"n":4}'))
    mine = make()
    mine.adopt()
    assert drain(mine) == [b'{"n":1}', b'{"n":3}', b'{"n":4}']
    assert count(mine, "adopted") == 3 + count(mine, "dropped")


@pytest.mark.parametrize("content", [b"", b"\0" * 10_000, b"x" * 3_000_000, os.urandom(50_000)])
def test_a_file_of_anything_ends(make: Make, tmp_path: Path, content: bytes) -> None:
    spool = make()
    fill(spool, b"1")
    end(spool)
    segments(spool)[0].write_bytes(content)
    mine = make()
    mine.adopt()
    assert drain(mine) == []
    assert mine.waiting == 0
    mine.close()
    assert list((tmp_path / "spool").iterdir()) == []


@pytest.mark.parametrize("parent", ["disk", None])
def test_a_full_spool_drops_the_oldest_and_counts(make: Make, tmp_path: Path, parent: str | None) -> None:
    bound = 80_000
    spool = make(tmp_path / parent if parent else None, disk_bytes=bound, memory_bytes=bound)
    record = b"%06d" + b"x" * 100
    for number in range(2_000):
        fill(spool, record % number)
        if parent and spool.place:
            assert sum(path.stat().st_size for path in segments(spool)) <= bound
    left = [int(record[:6]) for record in drain(spool)]
    assert left == list(range(2_000 - len(left), 2_000)), "the newest are there, in order"
    assert len(left) * 116 > bound * (SEGMENTS - 2) / SEGMENTS
    assert count(spool, "dropped") == 2_000 - len(left)


def test_a_batch_under_way_is_not_dropped(make: Make) -> None:
    spool = make(disk_bytes=8_000)
    fill(spool, b"first" + b"x" * 900)
    batch = spool.next_batch(1, MOST)
    for number in range(50):
        fill(spool, b"%d" % number + b"x" * 900)
    assert batch is not None
    spool.settle(batch)
    assert count(spool, "dropped") + len(drain(spool)) == 50


def test_adopting_keeps_the_bound(make: Make) -> None:
    for number in range(5):
        spool = make(disk_bytes=8_000)
        fill(spool, b"%d" % number + b"x" * 900)
        fill(spool, b"%d" % number + b"x" * 900)
        end(spool)
    mine = make(disk_bytes=8_000)
    mine.adopt()
    assert mine.size <= 8_000
    assert count(mine, "adopted") == 10 == count(mine, "dropped") + len(drain(mine))


def test_a_folder_that_cannot_be_had_means_memory_and_one_warning(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    spool = make(tmp_path / "file" / "spool")
    for number in range(5):
        fill(spool, b"%d" % number)
        spool.adopt()
    assert (spool.waiting, spool.unsafe) == (5, 5)
    spool._complaints.tell()  # noqa: SLF001 - as the sender does
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "cannot be written, records wait in memory: Not a directory" in caplog.text
    assert drain(spool) == [b"0", b"1", b"2", b"3", b"4"]


def test_memory_moves_to_disk_when_that_works_again(make: Make, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("in the way")
    spool = make(blocked)
    fill(spool, b"1", b"2")
    fill(spool, b"3")
    blocked.unlink()
    fill(spool, b"4")
    assert (spool.waiting, spool.unsafe) == (4, 0)
    assert sorted(drain(spool)) == [b"1", b"2", b"3", b"4"]
    assert (spool.settled, count(spool, "logged")) == (4, 4)


def test_a_folder_that_somebody_removes_is_made_again(make: Make) -> None:
    spool = make()
    fill(spool, b"x")
    fill(spool, b"y")
    assert spool.place is not None
    for path in segments(spool):
        path.unlink()
    spool.place.rmdir()
    fill(spool, b"z")
    assert spool.unsafe == 0
    end(spool)
    mine = make()
    mine.adopt()
    assert sorted(drain(mine)) == [b"x", b"y", b"z"]


def test_records_that_somebody_removes_are_counted(make: Make) -> None:
    spool = make(disk_bytes=4_096)
    fill(spool, b"x" * 600)
    fill(spool, b"y" * 600)
    segments(spool)[0].unlink()
    assert drain(spool) == [b"y" * 600]
    assert (count(spool, "dropped"), spool.waiting) == (1, 0)


def test_a_write_that_fails_half_way_spoils_nothing(make: Make) -> None:
    """A bound on the size of files, set by the kernel, fails in the middle of a record as a full disk does."""
    spool = make()
    fill(spool, b"1" * 500)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, hard))
    try:
        fill(spool, b"2" * 900)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert spool.unsafe == 1
    fill(spool, b"3")
    assert spool.unsafe == 0
    end(spool)
    mine = make()
    mine.adopt()
    assert sorted(drain(mine)) == [b"1" * 500, b"2" * 900, b"3"]
    assert count(mine, "dropped") == 0


def test_closing_loses_what_only_memory_holds_and_says_so(make: Make) -> None:
    spool = make(None)
    fill(spool, b"1", b"2")
    spool.close()
    assert (count(spool, "dropped"), spool.waiting) == (2, 0)


# Locks -----------------------------------------------------------------------------------------------------------
def test_a_lock_is_held_by_one_and_freed_by_the_kernel(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as holder:
        assert holder.stdout is not None
        name = holder.stdout.readline().decode().strip()
        assert take(tmp_path / f"{name}.lock") is None
        assert list(orphans(tmp_path)) == []
        holder.kill()
        holder.wait()
    (found,) = orphans(tmp_path)
    assert found.path.name == name
    found.release()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_without_a_folder_is_cleared_away(tmp_path: Path) -> None:
    lock = take(tmp_path / "1-abc.lock")
    assert lock is not None
    lock.abandon()
    assert list(orphans(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


def test_folders_are_had_by_one_at_a_time_whoever_comes_and_goes(tmp_path: Path) -> None:
    """A thousand makings and adoptions by four processes: nobody ever sees a folder that another owns."""
    program = """
import sys
from pathlib import Path
from fleetpulse.client.files import make_folder, orphans
parent = Path(sys.argv[1])
for _ in range(250):
    mine = make_folder(parent)
    (mine.path / "owner").write_text("me")
    mine.abandon()
    for found in orphans(parent):
        (found.path / "owner").unlink()
        found.release()
"""
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stderr=subprocess.PIPE) for _ in range(4)
    ]
    said = [process.communicate(timeout=120)[1].decode() for process in running]
    assert said == [""] * 4
    for folder in orphans(tmp_path):
        with suppress(FileNotFoundError):
            (folder.path / "owner").unlink()
        folder.release()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_left(tmp_path: Path) -> None:
    folder: Folder = make_folder(tmp_path)
    (folder.path / "kept").write_text("x")
    folder.release()
    (again,) = orphans(tmp_path)
    assert again.path == folder.path
    again.abandon()
