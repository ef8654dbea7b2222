"""Prometheus and Alertmanager away: ingest does not notice, and totals are exact once they are back."""

import random
import shutil
from pathlib import Path

from tests.system.harness import Exporter, Stack, wait_for
from tests.system.sending import METRICS, Batches, Load, Sums, exposed, stored

BEAT = {"status": "busy", "cpu_usage": 10, "memory_usage": 20}


def scraped(stack: Stack) -> Sums:
    """What Prometheus adds up to."""
    return Sums(*(stack.value(f"sum({name})") or 0.0 for name in METRICS))


def more(load: Load) -> None:
    """Sends until 20 more batches are acknowledged; everything is, and at the first attempt."""
    wanted = len(load.acknowledged) + 20
    load.start()
    wait_for(lambda: len(load.acknowledged) >= wanted, what="batches acknowledged")
    load.stop()
    assert (list(load.unsettled), load.duplicates, load.broken) == ([], 0, [])


def test_nobody_has_to_be_there(exporter: Exporter, tmp_path: Path) -> None:
    load = Load(exporter.port, Batches(random.Random(1), "alone", 50))
    more(load)
    assert exporter.post("/api/v1/agents/a/ping", BEAT)[0] == 202
    assert exporter.get("/health")["status"] == "ok"
    assert stored(exporter.data_dir, tmp_path) == exposed(exporter.metrics()) == load.sums()


def test_they_may_come_and_go(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "stack")
    load = Load(stack.exporter.port, Batches(random.Random(2), "through", 50))
    try:
        stack.exporter.start()
        more(load)  # neither was ever started
        stack.prometheus.start()
        stack.alertmanager.start()
        wait_for(lambda: scraped(stack) == load.sums(), what="what was sent before Prometheus was there")
        stack.prometheus.kill()
        stack.alertmanager.kill()
        more(load)
        stack.prometheus.start()
        wait_for(lambda: scraped(stack) == load.sums(), what="what was sent while Prometheus was away")
        shutil.rmtree(tmp_path / "stack" / "alertmanager-data", ignore_errors=True)
        more(load)
        assert stored(stack.exporter.data_dir, tmp_path) == exposed(stack.exporter.metrics()) == load.sums()
        assert "Traceback" not in stack.exporter.output()
    finally:
        stack.stop()
