"""Ingest while a hundred thousand stored requests get their cost, against ingest alone, in the same run.

Single requests, one after another, each acknowledged after fsync. Meanwhile the exporter prices stored ones, chunk
by chunk.
Claim: the median acknowledgement takes at most 5 times as long.
"""

import statistics
import time
import uuid
from http.client import HTTPConnection
from threading import Thread

import orjson
from load import exporter, report

UNPRICED = 100_000
BATCH = 5_000
SAMPLES = 500


def log(model: str, **fields: object) -> dict[str, object]:
    """One request log."""
    plain = {"request_id": uuid.uuid4().hex, "source": "bench", "status": "success", "execution_time": 1.0}
    return plain | {"model": model, "input_tokens": 1_000, "output_tokens": 10} | fields


def send(connection: HTTPConnection, method: str, path: str, payload: object = None) -> dict[str, object]:
    """One call and its answer."""
    connection.request(method, path, orjson.dumps(payload), {"Content-Type": "application/json"})
    answer: dict[str, object] = orjson.loads(connection.getresponse().read())
    return answer


def latencies(connection: HTTPConnection, samples: int) -> list[float]:
    """Milliseconds from sending a request to its acknowledgement."""
    taken = []
    for _ in range(samples):
        began = time.perf_counter()
        send(connection, "POST", "/api/log-request", log("gpt-4o"))
        taken.append((time.perf_counter() - began) * 1_000)
    return taken


def at_percent(taken: list[float], percent: int) -> float:
    """The percentile of sorted values, rounded."""
    return round(taken[min(len(taken) - 1, len(taken) * percent // 100)], 2)


def main() -> None:
    """Measures and prints."""
    with exporter() as port:
        connection = HTTPConnection("127.0.0.1", port)
        for _ in range(UNPRICED // BATCH):
            send(connection, "POST", "/api/log-request", [log("our-llama") for _ in range(BATCH)])
        alone = latencies(connection, SAMPLES)
        price = {"model": "our-llama", "request_usd": 0.001}
        began = time.perf_counter()
        giving = Thread(target=lambda: send(HTTPConnection("127.0.0.1", port), "POST", "/api/prices", price))
        giving.start()
        busy: list[float] = []
        while giving.is_alive() or send(connection, "GET", "/api/corrections?limit=1")["pending"]:
            busy += latencies(connection, 50)
        seconds = time.perf_counter() - began
        busy.sort()
        report("repricing", rows_per_second=round(UNPRICED / seconds))
        for name, taken in (("alone", sorted(alone)), ("while pricing", busy)):
            report(f"acknowledged {name}, ms", median=at_percent(taken, 50), p99=at_percent(taken, 99))
        report("ratio of the medians", ratio=round(statistics.median(busy) / statistics.median(alone), 2))


if __name__ == "__main__":
    main()
