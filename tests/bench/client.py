"""What a call of the client costs its caller, while a real exporter takes what is sent, at two paces.

Claim: at the median a call costs at most 8 times what `json.dumps` of the same fields and a `queue.put` cost, and
under 50 microseconds. Besides its JSON, a record gets an id, a time, a checksum and bounds on each of its texts.

Rounds of both are interleaved; a paced round leaves the caller's thread a moment between calls, as programs do, so
that the background threads work between the calls; a tight one does not, so that they compete with them.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

from load import exporter, report

from fleetpulse.client import Monitor, RequestFields

CALLS = 4_000
ROUNDS = 7
PAUSES = {"paced": 0.0002, "tight": 0.0}
FIELDS: RequestFields = {
    "source": "web",
    "user_id": "user_42",
    "command": "ai:你好",
    "status": "success",
    "execution_time": 0.5,
    "tokens_used": 150,
    "cost": 0.0003,
    "model": "gpt-4o",
}


def times(call: Callable[[], object], pause: float) -> list[float]:
    """Microseconds of each call."""
    taken = []
    for _ in range(CALLS):
        if pause:
            time.sleep(pause)
        began = time.perf_counter_ns()
        call()
        taken.append((time.perf_counter_ns() - began) / 1_000)
    return taken


def compare(monitor: Monitor, pace: str) -> None:
    """Prints one JSON line."""
    queue: SimpleQueue[str] = SimpleQueue()
    bare: list[float] = []
    logged: list[float] = []
    tracked: list[float] = []
    function = monitor.track(lambda: None)
    for _ in range(ROUNDS):
        bare += times(lambda: queue.put(json.dumps(FIELDS)), PAUSES[pace])
        logged += times(lambda: monitor.log(**FIELDS), PAUSES[pace])
        monitor.flush(60)
        tracked += times(function, PAUSES[pace])
        monitor.flush(60)
    medians = [statistics.median(each) for each in (bare, logged, tracked)]
    report(
        f"client_{pace}",
        bare_us=round(medians[0], 1),
        log_us=round(medians[1], 1),
        track_us=round(medians[2], 1),
        log_p99_us=round(statistics.quantiles(logged, n=100)[98], 1),
        ratio=round(medians[1] / medians[0], 2),
    )


with exporter() as port, tempfile.TemporaryDirectory() as folder:
    address = f"http://127.0.0.1:{port}"
    with Monitor(address, spool=Path(folder), queue_size=100_000, exit_timeout=60) as own:
        for name in PAUSES:
            compare(own, name)
        stats = own.stats()
        report("client_total", logged=stats.logged, sent=stats.sent, dropped=stats.dropped, rejected=stats.rejected)
