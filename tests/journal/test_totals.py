"""Totals equal a fold of the rows in the table, whatever was sent and however often the exporter was cut off.

What is expected is computed here from the table alone, with SQL and plain Python. Amounts are sums of powers of
two, so that sums of floats are exact in any order.
"""

import asyncio
import sqlite3
import tempfile
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.journal.stand import NOW, Stand, at_work, begin, crash, held, request

from fleetpulse import catalogue
from fleetpulse.journal import REQUESTS, RequestRow
from fleetpulse.journal.totals import Key

BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 120.0)


@st.composite
def rows(draw: st.DrawFn) -> RequestRow:
    """Requests with few ids, so that many are sent twice, often with other content."""
    input_tokens = draw(st.none() | st.integers(0, 50))
    output_tokens = draw(st.none() | st.integers(0, 50))
    spare = draw(st.integers(0, 5))
    source = draw(st.sampled_from(["reported", "computed", "unknown", None]))
    return request(
        f"r{draw(st.integers(0, 25))}",
        source=draw(st.sampled_from(["telegram", "群聊", 'a"b\\c'])),
        model=draw(st.sampled_from([None, "gpt-4o", "通义"])),
        status=draw(st.sampled_from(["success", "error"])),
        execution_time=draw(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, 4.0, 300.0])),
        tokens_used=(input_tokens or 0) + (output_tokens or 0) + spare,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=draw(st.none() | st.integers(0, input_tokens or 0)),
        cost_source=source,
        cost=draw(st.integers(0, 64)) / 64 if source in ("reported", "computed") else None,
    )


@dataclass
class Restart:
    """The exporter stops and starts; or is killed, and starts from what that leaves."""

    killed: bool


groups = st.lists(st.lists(rows(), max_size=6), min_size=1, max_size=4)
steps = st.lists(groups | st.builds(Restart, st.booleans()), min_size=1, max_size=8)


def expected(file: sqlite3.Connection, sent: int) -> dict[Key, float]:
    """The totals that the rows in the table stand for."""
    totals: Counter[Key] = Counter()

    def add(metric: str, labels: tuple[str, ...], amount: float) -> None:
        totals[Key(metric, labels)] += amount  # type: ignore[assignment]  # Counter is happy with floats

    file.row_factory = sqlite3.Row
    stored = file.execute("SELECT * FROM requests").fetchall()
    for row in stored:
        labels = (row["source"], row["model"] or "none")
        tokens_in, tokens_out = row["input_tokens"] or 0, row["output_tokens"] or 0
        add("fleetpulse_requests_total", (*labels, row["status"]), 1)
        add("fleetpulse_tokens_total", (*labels, "input"), tokens_in - (row["cached_tokens"] or 0))
        add("fleetpulse_tokens_total", (*labels, "cached"), row["cached_tokens"] or 0)
        add("fleetpulse_tokens_total", (*labels, "output"), tokens_out)
        add("fleetpulse_tokens_total", (*labels, "unattributed"), row["tokens_used"] - tokens_in - tokens_out)
        add("fleetpulse_cost_usd_total", labels, row["cost"] or 0.0)
        add("fleetpulse_unpriced_requests_total", labels, row["cost_source"] == "unknown")
        add("fleetpulse_request_duration_seconds_sum", labels, row["execution_time"])
        bound = [*map(str, BOUNDS), "+Inf"][bisect_left(BOUNDS, row["execution_time"])]
        add("fleetpulse_request_duration_seconds_bucket", (*labels, bound), 1)
        day = "2025-10-09T00:00:00+00:00"
        add("fleetpulse_budget_spent_usd", ("daily", "total", "", "day", day), row["cost"] or 0.0)
        unpriced = row["cost_source"] == "unknown"
        add("fleetpulse_budget_unpriced_requests", ("daily", "total", "", "day", day), unpriced)
    add("fleetpulse_ingest_signals_total", ("request", "stored"), len(stored))
    add("fleetpulse_ingest_signals_total", ("request", "duplicate"), sent - len(stored))
    return {key: value for key, value in totals.items() if value}


async def send(stand: Stand, group: list[list[RequestRow]]) -> list[str]:
    """Stores batches as one group; the ids that were acknowledged as new."""
    async with held(stand.journal):
        tasks = await begin(*(stand.journal.store(REQUESTS, batch) for batch in group))
    outcomes = await asyncio.gather(*tasks)
    assert [len(o.new) + o.duplicates for o in outcomes] == [len(batch) for batch in group]
    return [row[0] for outcome in outcomes for row in outcome.new]


def check(stand: Stand, sent: int) -> None:
    """The totals in the file, and those that are shown, are a fold of the rows."""
    in_file = {key: value for key, value in stand.totals().items() if value}
    assert in_file == expected(stand.journal.reader(), sent)
    for key, value in in_file.items():
        if key.metric in (catalogue.REQUESTS.name, catalogue.COST.name, catalogue.SIGNALS.name):
            metric = next(each for each in catalogue.METRICS if each.name == key.metric)
            assert stand.series.child(metric, key.labels).parts[""].value == value


async def play(script: list[list[list[RequestRow]] | Restart], folder: Path) -> None:
    """Sends and restarts as the script says, checking after each step."""
    path, lives, sent, acknowledged = folder / "0" / "journal.db", 0, 0, []
    life = at_work(path, synchronous="normal")
    stand = await life.__aenter__()
    try:
        for step in script:
            if isinstance(step, Restart):
                lives += 1
                left = crash(path, folder / str(lives)) if step.killed else path
                await life.__aexit__(None, None, None)
                path, life = left, at_work(left, synchronous="normal", clock=lambda: NOW + 1)
                stand = await life.__aenter__()
            else:
                acknowledged += await send(stand, step)
                sent += sum(map(len, step))
            assert stand.ids() == acknowledged
            if sent:
                check(stand, sent)
    finally:
        await life.__aexit__(None, None, None)


@given(script=steps)
@settings(max_examples=60, deadline=None)
def test_totals_are_a_fold_of_the_rows(script: list[list[list[RequestRow]] | Restart]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(script, Path(folder)))


async def test_a_series_keeps_when_it_first_existed(tmp_path: Path) -> None:
    key = Key(catalogue.REQUESTS.name, ("telegram", "gpt-4o", "success"))
    async with at_work(tmp_path / "journal.db", clock=lambda: NOW) as stand:
        await stand.journal.store(REQUESTS, [request("a")])
    async with at_work(tmp_path / "journal.db", clock=lambda: NOW + 1_000) as stand:
        await stand.journal.store(REQUESTS, [request("b"), request("c", source="wechat")])
        assert stand.journal.totals[key] == (2.0, NOW)
        assert stand.journal.totals[Key(key.metric, ("wechat", *key.labels[1:]))] == (1.0, NOW + 1_000)
