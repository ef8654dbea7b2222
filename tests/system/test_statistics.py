"""Statistics of a real exporter that a real Prometheus scrapes equal what was sent, whatever happens meanwhile."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.system.harness import Exporter, Stack, get_json, started, wait_for
from tests.system.sending import Batches, Load, Sums


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Stack]:
    """A stack of this test's own."""
    yield from started(Stack(tmp_path / "stack"))


@pytest.fixture
def second(tmp_path: Path, own: Stack) -> Iterator[Exporter]:
    """Another exporter, not started and not scraped yet, that asks the same Prometheus."""
    exporter = Exporter(tmp_path / "second", FLEETPULSE_STACK__PROMETHEUS_URL=own.prometheus_url)
    yield exporter
    exporter.stop()


def figures(answer: dict[str, Any]) -> Sums:
    return Sums(answer["total_requests"], answer["total_tokens"], answer["total_cost"])


def today(stack: Stack) -> dict[str, Any]:
    answer: dict[str, Any] = stack.exporter.get("/api/metrics")
    return answer


def both(one: Load, other: Load) -> Sums:
    return Sums(*map(sum, zip(one.sums(), other.sums(), strict=True)))


def load_of(exporter: Exporter, seed: int) -> Load:
    return Load(exporter.port, Batches(random.Random(seed), f"load-{seed}", 50))


def send(load: Load) -> None:
    """Sends until 20 more batches are acknowledged."""
    wanted = len(load.acknowledged) + 20
    load.start()
    wait_for(lambda: len(load.acknowledged) >= wanted, what="batches acknowledged")
    load.stop()


def scrape(tmp_path: Path, *exporters: Exporter) -> None:
    """Has Prometheus scrape these, and no others."""
    targets = tmp_path / "stack" / "prometheus" / "targets" / "fleetpulse.yml"
    targets.write_text(f"[{{targets: {[f'127.0.0.1:{exporter.port}' for exporter in exporters]}}}]")


def ups(stack: Stack, exporter: Exporter) -> list[str]:
    """What Prometheus says of a target: `1`, `0`, or nothing where it does not know it."""
    found = stack.query(f'up{{instance="127.0.0.1:{exporter.port}"}}')
    return [str(each["value"][1]) for each in found]


def test_every_answer_adds_up_to_what_was_acknowledged(own: Stack) -> None:
    load = load_of(own.exporter, 1)
    send(load)
    own.exporter.kill()
    own.exporter.start()
    send(load)
    wait_for(lambda: figures(today(own)) == load.sums(), what="the requests in the statistics")
    answer = today(own)
    assert answer["covered"]["complete"] is True
    for groups in ("by_source", "by_model"):
        assert Sums(*map(sum, zip(*map(figures, answer[groups]), strict=True))) == load.sums()
    assert sum(each["requests"] for each in answer["by_status"]) == load.sums().requests
    for path, buckets in (("hourly-stats", "hours"), ("daily-stats", "days")):
        found = own.exporter.get(f"/api/{path}?range=today")[buckets]
        sums = [sum(each[name] for each in found) for name in ("requests", "tokens", "cost")]
        assert Sums(*sums) == load.sums()


def test_a_replica_that_comes_and_goes(own: Stack, second: Exporter, tmp_path: Path) -> None:
    first_load = load_of(own.exporter, 2)
    send(first_load)
    second.start()
    second_load = load_of(second, 3)
    send(second_load)
    scrape(tmp_path, own.exporter, second)
    wait_for(lambda: figures(today(own)) == both(first_load, second_load), what="both in the statistics")
    scrape(tmp_path, own.exporter)
    wait_for(lambda: ups(own, second) == [], what="the replica to be gone")
    send(first_load)
    wait_for(lambda: figures(today(own)) == both(first_load, second_load), what="what it counted to stay")
    assert today(own)["covered"]["complete"] is True


def test_a_new_journal_in_place_of_a_deleted_one(own: Stack) -> None:
    old = load_of(own.exporter, 4)
    send(old)
    wait_for(lambda: figures(today(own)) == old.sums(), what="the requests in the statistics")
    own.exporter.terminate()
    wait_for(lambda: ups(own, own.exporter) == ["0"], what="the exporter to be missed")
    shutil.rmtree(own.exporter.data_dir)
    own.exporter.start()
    new = load_of(own.exporter, 5)
    send(new)
    wait_for(lambda: figures(today(own)) == both(old, new), what="the new journal's beside the old one's")


def test_an_exporter_that_moves_is_counted_once(own: Stack, second: Exporter, tmp_path: Path) -> None:
    load = load_of(own.exporter, 6)
    send(load)
    wait_for(lambda: figures(today(own)) == load.sums(), what="the requests in the statistics")
    send(load)  # some of this is scraped under the new name only
    own.exporter.terminate()
    shutil.copytree(own.exporter.data_dir, second.data_dir)
    second.start()
    scrape(tmp_path, second)
    wait_for(lambda: ups(own, second) == ["1"], what="a scrape under the new name")
    wait_for(lambda: figures(get_json(f"{second.url}/api/metrics")) == load.sums(), what="everything, once")


def test_prometheus_may_stop(own: Stack) -> None:
    """The statistics say so, all else goes on, and they come back with it."""
    load = load_of(own.exporter, 7)
    send(load)
    wait_for(lambda: figures(today(own)) == load.sums(), what="the requests in the statistics")
    own.prometheus.kill()
    for path in ("/api/metrics", "/api/hourly-stats", "/api/daily-stats"):
        with pytest.raises(OSError, match="503"):
            own.exporter.get(path)
    send(load)
    assert own.exporter.get("/health")["status"] == "ok"
    own.prometheus.start()
    wait_for(lambda: figures(today(own)) == load.sums(), what="everything in the statistics")
    assert "Traceback" not in own.exporter.output()
