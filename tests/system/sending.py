"""A client that sends batches over several connections and remembers what it was told; and the books to compare.

Costs are multiples of 2^-10 USD and tokens small, so that sums of floats are exact in any order.
"""

import random
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, NamedTuple

import orjson

PAUSE = 0.02
TIMEOUT = 30.0
ACCEPTED, UNAVAILABLE = 202, 503


class Sums(NamedTuple):
    """What requests add up to; compared between client, journal, exposition and Prometheus."""

    requests: float
    tokens: float
    cost: float


METRICS = ("fleetpulse_requests_total", "fleetpulse_tokens_total", "fleetpulse_cost_usd_total")
IN_JOURNAL = "SELECT count(*), total(tokens_used), total(cost) FROM requests"


@dataclass(eq=False)
class Batch:
    """Some request logs that travel together."""

    logs: list[dict[str, Any]]
    body: bytes = b""

    def __post_init__(self) -> None:
        self.body = orjson.dumps(self.logs)

    def __len__(self) -> int:
        return len(self.logs)

    @property
    def ids(self) -> list[str]:
        """The ids of its requests."""
        return [log["request_id"] for log in self.logs]


@dataclass
class Batches:
    """An endless supply of batches with ids of their own; `rng` decides their content."""

    rng: random.Random
    prefix: str
    size: int
    made: int = 0

    def __next__(self) -> Batch:
        self.made += 1
        return Batch([self._log(f"{self.prefix}-{self.made}-{place}") for place in range(self.size)])

    def _log(self, request_id: str) -> dict[str, Any]:
        rng = self.rng
        return {
            "request_id": request_id,
            "source": rng.choice(("web", "ide", "telegram")),
            "user_id": f"u{rng.randrange(100)}",
            "command": "ai:" + "x" * rng.randrange(40),
            "status": rng.choice(("success", "success", "error")),
            "model": rng.choice(("gpt-4o", None)),
            "execution_time": rng.randrange(64) / 8,
            "input_tokens": rng.randrange(1_000),
            "output_tokens": rng.randrange(1_000),
            "cost": rng.randrange(1_024) / 1_024,
        }


@dataclass(eq=False)
class Load:
    """Sends batches from `connections` threads while it runs; what got no good answer is sent again first.

    `acknowledged` batches were answered with 202, `unsettled` ones got another answer or none. `broken` tells of
    answers that may not be given: half-stored batches, and anything that is no complete HTTP answer.
    """

    port: int
    batches: Batches
    connections: int = 4
    pause: tuple[float, float] = (0.01, 0.04)
    again: bool = True
    acknowledged: list[Batch] = field(default_factory=list)
    unsettled: deque[Batch] = field(default_factory=deque)
    statuses: dict[int, int] = field(default_factory=dict)
    accepted: int = 0
    duplicates: int = 0
    broken: list[str] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)
    _running: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """Begins, or goes on, to send."""
        self._running.set()
        self._threads = [threading.Thread(target=self._work, args=(n,)) for n in range(self.connections)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends after the answers under way."""
        self._running.clear()
        for thread in self._threads:
            thread.join()

    def settle(self) -> None:
        """Sends what is unsettled until nothing is."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)) as connection:
            while self.unsettled:
                self._send(connection, self.unsettled.popleft())

    def ids(self) -> list[str]:
        """The ids of everything acknowledged."""
        return [request_id for batch in list(self.acknowledged) for request_id in batch.ids]

    def sums(self) -> Sums:
        """What the acknowledged requests add up to."""
        logs = [log for batch in self.acknowledged for log in batch.logs]
        tokens = sum(log["input_tokens"] + log["output_tokens"] for log in logs)
        return Sums(len(logs), tokens, sum(log["cost"] for log in logs))

    def _work(self, number: int) -> None:
        rng = random.Random(number)
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)) as connection:
            while self._running.is_set():
                self._send(connection, self._next())
                time.sleep(rng.uniform(*self.pause))

    def _next(self) -> Batch:
        with self._lock:
            return self.unsettled.popleft() if self.again and self.unsettled else next(self.batches)

    def _send(self, connection: HTTPConnection, batch: Batch) -> None:
        try:
            connection.request("POST", "/api/log-request", batch.body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
        except (OSError, HTTPException):
            connection.close()
            self.unsettled.append(batch)
            time.sleep(PAUSE)
            return
        with self._lock:
            self.statuses[response.status] = self.statuses.get(response.status, 0) + 1
            self._book(batch, response.status, answer)
        if response.status != ACCEPTED:
            time.sleep(PAUSE)

    def _book(self, batch: Batch, status: int, answer: bytes) -> None:
        if status != ACCEPTED:
            self.unsettled.append(batch)
            if status != UNAVAILABLE:
                self.broken.append(f"{status}: {answer!r}")
            return
        document = orjson.loads(answer)
        outcome = document["accepted"], document["duplicates"]
        if outcome not in ((len(batch), 0), (0, len(batch))) or document["rejected"]:
            self.broken.append(f"half a batch: {answer!r}")
        self.accepted += outcome[0]
        self.duplicates += outcome[1]
        self.acknowledged.append(batch)


def journal(data_dir: Path, query: str, scratch: Path) -> list[tuple[Any, ...]]:
    """Asks a copy of the journal's files, so that the exporter finds its own as they were left."""
    copy = scratch / "copy.db"
    for suffix in ("-wal", ""):
        kept = data_dir / f"journal.db{suffix}"
        Path(f"{copy}{suffix}").write_bytes(kept.read_bytes() if kept.exists() else b"")
    Path(f"{copy}-shm").unlink(missing_ok=True)
    with closing(sqlite3.connect(copy)) as connection:
        return connection.execute(query).fetchall()


def stored(data_dir: Path, scratch: Path) -> Sums:
    """What the journal's rows add up to."""
    return Sums(*journal(data_dir, IN_JOURNAL, scratch)[0])


def exposed(samples: Mapping[str, float]) -> Sums:
    """What the samples of a scrape add up to."""
    return Sums(*(total(samples, name) for name in METRICS))


def total(samples: Mapping[str, float], name: str) -> float:
    """The sum of a metric over its labels."""
    return sum(value for sample, value in samples.items() if sample.partition("{")[0] == name)
