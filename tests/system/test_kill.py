"""`kill -9` at random moments: what was acknowledged is stored, counted and scraped, once each."""

import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.harness import Stack, wait_for
from tests.system.sending import METRICS, Batches, Load, Sums, exposed, journal, stored, total

KILLS = 20
BATCH = 100
SIGNALS = 'fleetpulse_ingest_signals_total{kind="request",outcome="%s"}'


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """An exporter and the Prometheus that scrapes it through everything; nobody to be alerted."""
    whole = Stack(tmp_path / "stack")
    try:
        whole.exporter.start()
        whole.prometheus.start()
        yield whole
    finally:
        whole.stop()


@pytest.fixture
def rng() -> random.Random:
    """Chance, with its seed printed: a failure is repeated by putting the seed here."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"\nseed {seed}")  # noqa: T201 - shown by pytest when the test fails
    return random.Random(seed)


def test_nothing_is_lost_or_counted_twice(stack: Stack, rng: random.Random, tmp_path: Path) -> None:
    exporter = stack.exporter
    load = Load(exporter.port, Batches(rng, "kill", BATCH))
    for _ in range(KILLS):
        load.start()
        time.sleep(rng.uniform(0.05, 0.9))
        exporter.kill()
        load.stop()
        found = check_what_is_left(load, exporter.data_dir, tmp_path)
        if rng.random() < 0.25:
            die_while_starting(stack, rng)
        exporter.start()
        assert exposed(exporter.metrics()) == found
    load.settle()
    assert load.broken == []
    check_the_books(stack, load, tmp_path)
    check_that_repeating_changes_nothing(stack, load, tmp_path)
    print(f"{load.sums()}, {load.duplicates} acknowledged as duplicates")  # noqa: T201


def check_what_is_left(load: Load, data_dir: Path, scratch: Path) -> Sums:
    """Everything acknowledged is in the dead exporter's journal, before anything is sent again; gives its sums."""
    ids = Counter(row[0] for row in journal(data_dir, "SELECT request_id FROM requests", scratch))
    missing = [one for one in load.ids() if one not in ids]
    assert missing == []
    batches = Counter(one.rpartition("-")[0] for one in ids)
    assert set(batches.values()) <= {BATCH}, "a batch is stored in part"
    return stored(data_dir, scratch)


def die_while_starting(stack: Stack, rng: random.Random) -> None:
    """Starts it and kills it somewhere between the first line of Python and the first answer."""
    stack.exporter.start(wait=False)
    time.sleep(rng.uniform(0, 1.2))
    stack.exporter.kill()


def check_the_books(stack: Stack, load: Load, scratch: Path) -> None:
    """Sent = acknowledged = stored = exposed = scraped, in requests, tokens and cost, to the last bit."""
    sent = load.batches.made * BATCH
    ids = [row[0] for row in journal(stack.exporter.data_dir, "SELECT request_id FROM requests", scratch)]
    assert len(ids) == len(set(ids)) == sent
    assert set(ids) == set(load.ids())
    told = load.sums()
    assert told.requests == sent
    assert stored(stack.exporter.data_dir, scratch) == told
    samples = stack.exporter.metrics()
    assert exposed(samples) == told
    assert samples[SIGNALS % "stored"] == sent
    assert total(samples, "fleetpulse_request_duration_seconds_count") == sent
    wait_for(lambda: scraped(stack) == told, what=f"{told} in Prometheus")
    assert stack.value("sum(resets(fleetpulse_requests_total[1h]))") == 0


def scraped(stack: Stack) -> Sums:
    """What Prometheus adds up to."""
    return Sums(*(stack.value(f"sum({name})") or 0.0 for name in METRICS))


def check_that_repeating_changes_nothing(stack: Stack, load: Load, scratch: Path) -> None:
    """The same requests again: acknowledged as duplicates, every one; no total moves."""
    told, before = load.sums(), stack.exporter.metrics()[SIGNALS % "duplicate"]
    again = Load(stack.exporter.port, load.batches, unsettled=type(load.unsettled)(load.acknowledged))
    again.settle()
    assert (again.accepted, again.duplicates, again.broken) == (0, told.requests, [])
    samples = stack.exporter.metrics()
    assert samples[SIGNALS % "duplicate"] - before == told.requests
    assert exposed(samples) == stored(stack.exporter.data_dir, scratch) == told
    duplicates = 'fleetpulse_ingest_signals_total{kind="request",outcome="duplicate"}'
    wait_for(lambda: stack.value(duplicates) == samples[duplicates], what="the duplicates in Prometheus")
    assert scraped(stack) == told
