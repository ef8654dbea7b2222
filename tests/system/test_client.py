"""The client through everything: the exporter killed and restarted, the calling process killed and restarted.

Nothing that was acknowledged to the spool is lost, nothing is counted twice.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.client.scripted import serving
from tests.system.harness import Exporter, clean_environment, started, wait_for
from tests.system.sending import exposed, journal, stored, total
from tests.system.test_disk_full import MEBIBYTE, MOUNT, a_space

REPORTER = Path(__file__).parent / "apps" / "reporter.py"
PATIENCE = 120
ACTIVITY = "activity:"


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[Exporter]:
    yield from started(Exporter(tmp_path / "exporter"))


class Programs:
    """Processes that report to one exporter over one spool, and the ids that they told of."""

    def __init__(self, exporter: Exporter, folder: Path) -> None:
        self.exporter = exporter
        self.spool = folder / "spool"
        self.said = folder / "said"
        self._folder = folder
        self._environment = clean_environment(FLEETPULSE_URL=exporter.url, FLEETPULSE_SPOOL=str(self.spool))

    def start(self, mode: str, *prefix: str, **variables: str) -> subprocess.Popen[str]:
        """Begins one."""
        with self.said.open("a") as said, (self._folder / "errors").open("a") as errors:
            return subprocess.Popen(
                [*prefix, sys.executable, str(REPORTER), mode],
                env=self._environment | variables,
                stdout=said,
                stderr=errors,
                text=True,
            )

    def run(self, mode: str, **variables: str) -> int:
        """One from its beginning to its end; its exit code."""
        process = self.start(mode, **variables)
        try:
            return process.wait(PATIENCE)
        finally:
            process.kill()
            process.wait()

    def told(self) -> list[str]:
        """The ids told so far."""
        return self.said.read_text().split()

    def errors(self) -> str:
        """What they said besides."""
        return (self._folder / "errors").read_text()

    def check_the_books(self) -> None:
        """All that was told is stored, once, and the exporter's totals are those of its rows."""
        assert self.run("drain") == 0, self.errors()
        assert list(self.spool.rglob("*.spool")) == []
        assert [path for path in self.spool.glob("*/*")] == [], "folders and locks are gone"  # noqa: C416 - to be shown
        rows = journal(self.exporter.data_dir, "SELECT request_id, user_id FROM requests", self._folder)
        ids = Counter(row[0] for row in rows)
        told = [one for one in self.told() if not one.startswith(ACTIVITY)]
        assert len(told) == len(set(told))
        assert [one for one in told if one not in ids] == [], "lost"
        assert ids.total() == len(ids) == len({row[1] for row in rows}), "counted twice"
        sums = stored(self.exporter.data_dir, self._folder)
        assert sums.requests == len(ids)
        assert sums.cost == len(ids) / 64
        assert exposed(self.exporter.metrics()) == sums
        self._check_activities()

    def _check_activities(self) -> None:
        """The same of activities: each stands for two messages."""
        told = [one.removeprefix(ACTIVITY) for one in self.told() if one.startswith(ACTIVITY)]
        rows = journal(self.exporter.data_dir, "SELECT activity_id FROM activities", self._folder)
        ids = Counter(row[0] for row in rows)
        assert len(told) == len(set(told))
        assert [one for one in told if one not in ids] == [], "lost"
        assert ids.total() == len(ids), "counted twice"
        assert total(self.exporter.metrics(), "fleetpulse_account_messages_total") == 2 * len(ids)


@pytest.fixture
def programs(exporter: Exporter, tmp_path: Path) -> Programs:
    return Programs(exporter, tmp_path)


def test_nothing_is_lost_or_counted_twice(programs: Programs) -> None:
    """Three processes at a time over one spool, calls and activities, are killed at random; so is the exporter."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"\nseed {seed}")  # noqa: T201 - shown by pytest when the test fails
    rng = random.Random(seed)
    running = [programs.start("endless", REPORT_ACTIVITIES="yes") for _ in range(3)]
    try:
        for turn in range(12):
            time.sleep(rng.uniform(0.05, 0.6))
            victim = rng.randrange(len(running))
            running[victim].kill()
            running[victim].wait()
            running[victim] = programs.start("endless", REPORT_ACTIVITIES="yes")
            if turn % 4 == 1:
                programs.exporter.kill()
            if turn % 4 == 3:
                programs.exporter.start()
        wait_for(lambda: len(programs.told()) > 2_000)
    finally:
        for process in running:
            process.kill()
            process.wait()
    programs.check_the_books()
    assert len([one for one in programs.told() if one.startswith(ACTIVITY)]) > 500
    print(f"{len(programs.told())} told")  # noqa: T201


def test_a_stopped_exporter_gets_everything_when_it_is_back(programs: Programs) -> None:
    programs.exporter.terminate()
    assert [programs.run("script") for _ in range(3)] == [0] * 3
    assert len(list(programs.spool.rglob("*.spool"))) == 3
    programs.exporter.start()
    programs.check_the_books()
    assert len(programs.told()) == 61


@pytest.mark.parametrize(
    ("mode", "code", "records"), [("script", 0, 20), ("fail", 1, 20), ("leave", 3, 20), ("late", 0, 41)]
)
def test_the_end_of_a_program_sends_what_is_left(programs: Programs, mode: str, code: int, records: int) -> None:
    assert programs.run(mode) == code
    count = journal(programs.exporter.data_dir, "SELECT count(*) FROM requests", programs.said.parent)
    assert count == [(records,)], "nobody else had to send it"


@pytest.mark.parametrize(("mode", "records"), [("fork", 12 * 20), ("pool-fork", 90), ("pool-spawn", 90)])
def test_forked_and_pooled_processes(programs: Programs, mode: str, records: int) -> None:
    assert programs.run(mode) == 0, programs.errors()
    assert len(programs.told()) >= records
    assert "Traceback" not in programs.errors()
    programs.check_the_books()


def test_no_thread_imports_anything(programs: Programs) -> None:
    """A fork while a thread imports leaves the import's lock held in the child, for ever."""
    assert programs.run("modules") == 0, programs.errors()
    assert programs.told() == []


def test_an_exporter_that_stalls_does_not_hold_up_the_end(programs: Programs) -> None:
    """It accepts and never answers: the program ends by itself, and what it logged waits for the next one."""
    with serving(lambda *_: None) as stalling:
        assert programs.run("script", FLEETPULSE_URL=stalling.url) == 0
        assert stalling.requests
    assert len(list(programs.spool.rglob("*.spool"))) == 1
    assert len(programs.told()) == 20


def test_a_polite_signal_ends_a_program_at_once(programs: Programs) -> None:
    process = programs.start("endless")
    wait_for(lambda: len(programs.told()) > 100)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == -signal.SIGTERM
    programs.check_the_books()


def test_a_full_disk_means_memory_until_there_is_room(programs: Programs, tmp_path: Path) -> None:
    """What is told is on the disk that is left, or with the exporter."""
    programs.spool.mkdir()
    room = a_space(tmp_path / "exporter")
    small = [*room, "sh", "-c", MOUNT, "sh", str(MEBIBYTE), str(programs.spool)]
    programs.exporter.terminate()
    process = programs.start("endless", *small)
    try:
        disk = Path(f"/proc/{process.pid}/root{programs.spool}")
        wait_for(lambda: len(programs.told()) > 100 and disk.is_dir())
        fill(disk / "ballast")
        wait_for(lambda: "records wait in memory: No space left on device" in programs.errors())
        (disk / "ballast").unlink()
        programs.exporter.start()
        before = len(programs.told())
        wait_for(lambda: len(programs.told()) > before + 100)
        wait_for(lambda: len(list(disk.rglob("*.spool"))) <= 1)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)
    told = set(programs.told())
    stored_ids = {
        row[0] for row in journal(programs.exporter.data_dir, "SELECT request_id FROM requests", tmp_path)
    }
    assert told <= stored_ids


def fill(path: Path) -> None:
    """Leaves no byte of a disk."""
    with path.open("ab", buffering=0) as file:
        for size in (65_536, 512, 1):
            while True:
                try:
                    if os.write(file.fileno(), bytes(size)) < size:
                        break
                except OSError:
                    break
