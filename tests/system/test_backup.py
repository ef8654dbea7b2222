"""Backups under full load: whole or not there at all, and brought back, their totals are the sums of their rows."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.system.harness import Exporter, clean_environment, started, wait_for
from tests.system.sending import Batches, Load, exposed, journal, stored

BATCH = 250
ROWS = 5_000  # before the first backup, so that it takes a while
SOME = 10  # batches
SIGNALS = 'fleetpulse_ingest_signals_total{kind="request",outcome="stored"}'


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[Exporter]:
    yield from started(Exporter(tmp_path / "first"))


@pytest.fixture
def load(exporter: Exporter) -> Iterator[Load]:
    """As much as the exporter takes."""
    sending = Load(exporter.port, Batches(random.Random(7), "backup", BATCH), pause=(0.0, 0.01))
    sending.start()
    try:
        wait_for(lambda: sending.accepted > ROWS, what="enough rows")
        yield sending
    finally:
        sending.stop()


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "fleetpulse", *map(str, arguments)]


def run(*arguments: str | Path) -> Any:
    done = subprocess.run(
        command(*arguments, "--json"), env=clean_environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def kill_one_in_the_midst(exporter: Exporter) -> bool:
    """Begins a backup and kills it once it has begun to write; whether it was in time."""
    folder = exporter.data_dir / "backups"
    making = subprocess.Popen(
        command("backup", "--data-dir", exporter.data_dir), env=clean_environment(), stdout=subprocess.DEVNULL
    )
    while making.poll() is None and not list(folder.glob("*.part")):
        time.sleep(0.001)
    making.kill()
    making.wait()
    return bool(list(folder.glob("*.part")))


def test_a_backup_under_load_is_restored_with_totals_equal_to_its_rows(
    exporter: Exporter, load: Load, tmp_path: Path
) -> None:
    wait_for(lambda: kill_one_in_the_midst(exporter), what="a backup that is killed in the midst")
    assert run("backup", "list", "--data-dir", exporter.data_dir) == [], "half a backup is none"
    before = load.accepted
    made = run("backup", "--data-dir", exporter.data_dir)
    assert load.accepted > before, "ingest goes on"
    load.stop()
    assert load.broken == []
    assert (made["findings"], made["rows"]["requests"] >= before) == ([], True)
    left = sorted(path.suffix for path in (exporter.data_dir / "backups").iterdir())
    assert left == [".db", ".json"], "what was left unfinished is gone"

    again = Exporter(tmp_path / "second")
    restored = run("restore", made["file"], "--data-dir", again.data_dir, "--yes")
    assert restored["epoch"] != made["epoch"]
    for serving in started(again):
        check(serving, made["rows"]["requests"], load, tmp_path)


def check(serving: Exporter, rows: int, load: Load, scratch: Path) -> None:
    """What is exposed is what is stored, to the last bit; and what is sent again is counted once."""
    samples, books = serving.metrics(), stored(serving.data_dir, scratch)
    assert exposed(samples) == books
    assert books.requests == samples[SIGNALS] == rows
    ids = journal(serving.data_dir, "SELECT request_id FROM requests", scratch)
    there = {one.rpartition("-")[0] for (one,) in ids}
    assert len(there) * BATCH == rows, "a batch is there whole or not at all"
    some = [*load.acknowledged[:SOME], *load.acknowledged[-SOME:]]
    more = Load(serving.port, load.batches, unsettled=type(load.unsettled)(some))
    more.settle()
    known = sum(batch.ids[0].rpartition("-")[0] in there for batch in some)
    assert (more.duplicates, more.accepted, more.broken) == (known * BATCH, (len(some) - known) * BATCH, [])
    assert exposed(serving.metrics()) == stored(serving.data_dir, scratch)
