"""The search index through crashes and damage: what is stored is found, always, and the index mends itself."""

import random
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.system.harness import Exporter, wait_for

KILLS = 6
BATCH = 500
WORDS = ["超时", "请求", "模型", "调用", "余额不足", "deploy", "timeout", "review", "红包"]


@pytest.fixture
def rng() -> random.Random:
    """Chance, with its seed printed: a failure is repeated by putting the seed here."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"\nseed {seed}")  # noqa: T201 - shown by pytest when the test fails
    return random.Random(seed)


class Sent:
    """Batches of requests with random commands, and which of them hold a word."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.commands: dict[str, str] = {}

    def batch(self) -> list[dict[str, Any]]:
        """Some more requests."""
        first = len(self.commands)
        some = {
            f"r-{number}": "".join(self._rng.choices([*WORDS, " ", "，"], k=5))
            for number in range(first, first + BATCH)
        }
        self.commands |= some
        return [
            {"request_id": name, "source": "web", "status": "success", "execution_time": 1, "command": command}
            for name, command in some.items()
        ]

    def holding(self, word: str) -> set[str]:
        """The requests with this Chinese word in their commands."""
        return {
            name for name, command in self.commands.items() if word in command.replace(" ", "").replace("，", "")
        }


def found(exporter: Exporter, **query: str) -> list[str]:
    """The ids on all pages."""
    names: list[str] = []
    cursor = ""
    while True:
        page = exporter.get(f"/api/requests?{urlencode({**query, 'limit': 1_000, 'cursor': cursor})}")
        names += [each["request_id"] for each in page["requests"]]
        if page["next_cursor"] is None:
            return names
        cursor = page["next_cursor"]


def send(exporter: Exporter, batch: list[dict[str, Any]]) -> None:
    status, answer = exporter.post("/api/log-request", batch)
    assert (status, answer["accepted"]) == (202, len(batch))


def check(exporter: Exporter, sent: Sent) -> None:
    for word in ("超时", "余额不足", "请求模型", "龘"):
        names = found(exporter, q=word)
        assert len(names) == len(set(names)), "each once"
        assert set(names) == sent.holding(word)
        assert names == sorted(names, key=lambda name: -int(name.removeprefix("r-"))), "newest first"


def wait_indexed(exporter: Exporter, sent: Sent) -> None:
    wait_for(lambda: exporter.metrics()["fleetpulse_search_indexed_rows"] == len(sent.commands), what="all indexed")


def rebuilds(exporter: Exporter) -> dict[str, float]:
    name = 'fleetpulse_search_index_rebuilds_total{reason="%s"}'
    samples = exporter.metrics()
    return {reason: samples[name % reason] for reason in ("missing", "damaged", "layout", "other_journal")}


def test_kill_9_in_the_middle_of_indexing(exporter: Exporter, rng: random.Random) -> None:
    sent = Sent(rng)
    for _ in range(KILLS):
        for _ in range(rng.randrange(1, 8)):
            send(exporter, sent.batch())
        time.sleep(rng.uniform(0, 0.6))
        exporter.kill()
        exporter.start()
        check(exporter, sent)
    wait_indexed(exporter, sent)
    check(exporter, sent)
    assert sum(rebuilds(exporter).values()) == 0, "it went on where it was"


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_a_lost_or_damaged_index_is_made_again(exporter: Exporter, rng: random.Random, damage: str) -> None:
    sent = Sent(rng)
    for _ in range(6):
        send(exporter, sent.batch())
    wait_indexed(exporter, sent)
    exporter.terminate()
    spoil(exporter.data_dir / "search.db", damage)
    exporter.start()
    check(exporter, sent)
    wait_indexed(exporter, sent)
    check(exporter, sent)
    assert rebuilds(exporter)[damage] == 1


def spoil(path: Path, damage: str) -> None:
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:30_000] + bytes(50_000))
