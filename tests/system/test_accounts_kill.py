"""`kill -9` while accounts report: what was acknowledged is stored, counted, and in each account's state."""

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.system.harness import Exporter
from tests.system.sending import journal

PREFIX = "/api/v1/group-ai/monitor"
KILLS = 4
KINDS = {"message": "messages", "reply": "replies", "redpacket": "redpackets", "error": "errors"}
BATCH = 40


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[Exporter]:
    """An exporter that is killed, and started again."""
    program = Exporter(tmp_path / "exporter")
    try:
        yield program
    finally:
        program.stop()


class Reporter:
    """Sends batches until the exporter dies; repeats what was not acknowledged in its next life."""

    def __init__(self, exporter: Exporter, name: str, seed: int) -> None:
        self._exporter = exporter
        self._name = name
        self._rng = random.Random(seed)
        self._made = 0
        self._waiting: list[dict[str, Any]] = []
        self.acknowledged: list[str] = []

    def run(self) -> None:
        """Until the exporter is gone."""
        while True:
            batch = self._waiting = self._waiting or [self._activity() for _ in range(BATCH)]
            try:
                status, answer = self._exporter.post(f"{PREFIX}/accounts/activity", batch)
            except (OSError, ValueError):
                return
            assert status == 202, answer
            assert answer["accepted"] + answer["duplicates"] == BATCH
            self.acknowledged += [each["activity_id"] for each in batch]
            self._waiting = []

    def _activity(self) -> dict[str, Any]:
        self._made += 1
        kind = self._rng.choice(tuple(KINDS))
        activity = {"activity_id": f"{self._name}-{self._made}", "account_id": f"a{self._rng.randrange(9)}"}
        more = {"reply_time": self._rng.randrange(64) / 8} if kind == "reply" else {}
        return activity | {"kind": kind, "count": self._rng.randrange(1, 5), **more}


def test_rows_counters_and_state_are_what_was_acknowledged(exporter: Exporter, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"\nseed {seed}")  # noqa: T201 - shown by pytest when the test fails
    rng = random.Random(seed)
    reporters = [Reporter(exporter, f"r{number}", rng.randrange(2**32)) for number in range(3)]
    for _ in range(KILLS):
        exporter.start()
        check_what_is_shown(exporter, tmp_path)
        threads = [threading.Thread(target=reporter.run) for reporter in reporters]
        for thread in threads:
            thread.start()
        time.sleep(rng.uniform(0.1, 0.8))
        exporter.kill()
        for thread in threads:
            thread.join()
        stored = {row[0] for row in journal(exporter.data_dir, "SELECT activity_id FROM activities", tmp_path)}
        acknowledged = [one for reporter in reporters for one in reporter.acknowledged]
        assert len(acknowledged) == len(set(acknowledged))
        assert set(acknowledged) <= stored
        assert len(stored) <= len(acknowledged) + BATCH * len(reporters)
    assert acknowledged
    exporter.start()
    check_what_is_shown(exporter, tmp_path)


def check_what_is_shown(exporter: Exporter, scratch: Path) -> None:
    """Counters and answers of the API are what the rows add up to, to the last one."""
    columns = ",".join(f"sum(iif(kind = '{kind}', number, 0))" for kind in KINDS)
    query = (
        f"SELECT account_id, {columns}, sum(iif(kind = 'reply', number * reply_time, 0)) FROM activities GROUP BY 1"  # noqa: S608
    )
    rows = {account: tuple(sums) for account, *sums in journal(exporter.data_dir, query, scratch)}
    samples = exporter.metrics()
    names = [*(f"{name}_total" for name in KINDS.values()), "reply_seconds_total"]
    counters = {
        account: tuple(samples[f'fleetpulse_account_{name}{{account_id="{account}"}}'] for name in names)
        for account in rows
    }
    assert counters == rows
    shown = exporter.get(f"{PREFIX}/accounts/metrics")["account_metrics"]
    told = {each["account_id"]: tuple(each[f"{kind}_count"] for kind in KINDS) for each in shown}
    assert told == {account: sums[:4] for account, sums in rows.items()}
    system = exporter.get(f"{PREFIX}/system")
    totals = [system[f"total_{name}"] for name in KINDS.values()]
    assert totals == [sum(sums[place] for sums in rows.values()) for place in range(4)]
    stored = samples.get('fleetpulse_ingest_signals_total{kind="activity",outcome="stored"}', 0)
    ((count,),) = journal(exporter.data_dir, "SELECT count(*) FROM activities", scratch)
    assert stored == count
