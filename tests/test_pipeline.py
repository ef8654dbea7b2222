"""The one way in: stored, then published, then acknowledged; counts that add up; agents saved and restored.

A real journal on a real file and a real thread; only the live hub is a stand-in that writes down what it is told.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.journal.stand import NOW, Run, begin, held, until

from fleetpulse import catalogue
from fleetpulse.budgets import Budgets
from fleetpulse.config import Settings
from fleetpulse.errors import OverloadedError, StorageFullError
from fleetpulse.fleet import Agent, Fleet
from fleetpulse.instruments import Instruments
from fleetpulse.journal import AlertRow, Journal, RequestRow, Stored
from fleetpulse.pipeline import Pipeline, Receipt
from fleetpulse.series.agents import AgentSeries
from fleetpulse.series.fold import SeriesFold
from fleetpulse.series.store import SeriesStore
from fleetpulse.signals import AgentHeartbeat, AlertEvent, Heartbeat, RequestLog

FOREVER = 1e9


@dataclass
class Listener:
    """A live hub that writes down what it is told, and can be told to fail."""

    told: list[tuple[str, str, str | None, object]] = field(default_factory=list)
    witness: Callable[[], None] = lambda: None
    broken: bool = False
    ids: list[int] = field(default_factory=list)

    def publish_many(self, topic: str, items: Sequence[tuple[str | None, object]], *, kind: str = "event") -> None:
        """Hears of many things."""
        if self.broken:
            raise RuntimeError("the hub is broken")
        self.witness()
        self.told += [(topic, kind, key, data) for key, data in items]

    def publish_rows(self, family: str, rows: Sequence[Stored]) -> None:
        """Hears of rows, alerts as the feed shows them."""
        shown = [(row.key, row.data.as_json() if isinstance(row.data, AlertRow) else row.data) for row in rows]
        self.ids += [row.offset for row in rows]
        self.publish_many(family, shown)

    def keys(self, topic: str) -> list[str | None]:
        return [key for where, _, key, _ in self.told if where == topic]


@dataclass
class World:
    """A pipeline with all it joins."""

    pipeline: Pipeline
    journal: Journal
    store: SeriesStore
    fleet: Fleet
    hub: Listener
    eyes: sqlite3.Connection

    def count(self, kind: str, outcome: str) -> float:
        """What `ingest_signals_total` shows."""
        total = self.store.child(catalogue.SIGNALS, (kind, outcome)).parts.get("")
        return total.value if total else 0.0

    def stored(self) -> list[str]:
        return [key for (key,) in self.eyes.execute("SELECT request_id FROM requests ORDER BY id")]

    def saved(self) -> dict[str, str]:
        return dict(self.eyes.execute("SELECT agent_id, state FROM agents"))


@asynccontextmanager
async def at_work(path: Path, clock: Callable[[], float] = lambda: NOW, **settings: Any) -> AsyncIterator[World]:
    """Wires the parts as the exporter does, without the web."""
    made = Settings(data_dir=path, **settings)
    store, series = SeriesStore(), AgentSeries(made.limits.agent_series)
    fold = SeriesFold(made.limits, Budgets(made.budgets, made.timezone))
    journal = Journal(made.journal_path, made.journal, fold, Instruments(), store.apply, clock)
    fold.restore(journal.totals)
    store.apply(journal.totals)
    fleet = Fleet(made.agents, made.limits, made.thresholds.heartbeat_silence_seconds, series)
    fleet.restore(journal.saved_agents())
    hub = Listener()
    pipeline = Pipeline(made, journal, store, fleet, hub, clock)
    journal.start(pipeline.stored)
    await pipeline.settle_budgets()
    pipeline.start()
    eyes = journal.reader()
    try:
        yield World(pipeline, journal, store, fleet, hub, eyes)
    finally:
        eyes.close()
        await pipeline.drain()
        await journal.stop()


def log(request_id: str, **fields: Any) -> RequestLog:
    plain = {"request_id": request_id, "source": "telegram", "status": "success", "execution_time": 0.5}
    return RequestLog(**plain | fields)


def alert(status: str = "firing", **fields: Any) -> AlertEvent:
    plain = {"fingerprint": "f", "alertname": "A", "status": status, "starts_at": datetime(2025, 10, 9, tzinfo=UTC)}
    return AlertEvent(**plain | fields)


def beat(status: str = "busy") -> Heartbeat:
    return Heartbeat(status=status, cpu_usage=1.0, memory_usage=2.0)


# Order --------------------------------------------------------------------------------------------------------
async def test_published_after_the_commit_and_before_the_acknowledgement(tmp_path: Path) -> None:
    seen: list[tuple[list[str], float, bool]] = []
    async with at_work(tmp_path) as world:
        world.hub.witness = lambda: seen.append((world.stored(), world.count("request", "stored"), task.done()))
        task = asyncio.create_task(world.pipeline.requests([log("a"), log("b")]))
        assert await task == Receipt(2, 0)
        assert seen[0] == (["a", "b"], 2.0, False), "in the file, in the series, not yet acknowledged"
        assert world.hub.keys("requests") == ["a", "b"]


async def test_duplicates_are_not_published_again(tmp_path: Path) -> None:
    async with at_work(tmp_path) as world:
        await world.pipeline.requests([log("a"), log("b")])
        assert await world.pipeline.requests([log("b"), log("c"), log("c")]) == Receipt(1, 2)
        assert world.hub.keys("requests") == ["a", "b", "c"]


async def test_groups_are_published_in_the_order_of_the_table(tmp_path: Path) -> None:
    async with at_work(tmp_path) as world:
        async with held(world.journal):
            tasks = await begin(*(world.pipeline.requests([log(f"{n}x"), log(f"{n}y")]) for n in range(50)))
        assert await asyncio.gather(*tasks) == [Receipt(2, 0)] * 50
        assert world.hub.keys("requests") == world.stored()


async def test_what_was_refused_is_neither_published_nor_stored(tmp_path: Path) -> None:
    async with at_work(tmp_path, journal={"queue_rows": 3}) as world:
        async with held(world.journal):
            (fits,) = await begin(world.pipeline.requests([log("a"), log("b")]))
            with pytest.raises(OverloadedError):
                await world.pipeline.requests([log("c"), log("d")])
        await fits
        assert world.stored() == world.hub.keys("requests") == ["a", "b"]
        assert world.count("request", "refused") == 2


async def test_a_live_feed_that_fails_changes_nothing_for_who_reports(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with at_work(tmp_path) as world:
        world.hub.broken = True
        assert await world.pipeline.requests([log("a")]) == Receipt(1, 0)
        assert await world.pipeline.alerts([alert()]) == Receipt(1, 0)
        world.pipeline.heartbeat("x", beat())
        assert world.stored() == ["a"]
        assert len(world.fleet.everyone()) == 1
        world.hub.broken = False
        await world.pipeline.requests([log("b")])
        assert world.hub.keys("requests") == ["b"]
    assert "the live feed could not be told of requests" in caplog.text


# Counts -------------------------------------------------------------------------------------------------------
async def test_every_signal_is_counted_once_by_what_became_of_it(tmp_path: Path) -> None:
    async with at_work(tmp_path, journal={"queue_rows": 5}) as world:
        pipeline, sent = world.pipeline, 0
        receipts = [await pipeline.requests([log("a"), log("b")]), await pipeline.requests([log("b"), log("c")])]
        sent += 4
        pipeline.count("request", "rejected", 3)
        sent += 3
        async with held(world.journal):
            tasks = await begin(pipeline.requests([log("d"), log("e"), log("a"), log("d")]))
            sent += 4
            with pytest.raises(OverloadedError):
                await pipeline.requests([log("f"), log("g")])
            sent += 2
        receipts += await asyncio.gather(*tasks)
        stored, duplicates = sum(each.stored for each in receipts), sum(each.duplicates for each in receipts)
        counts = {each: world.count("request", each) for each in ("stored", "duplicate", "rejected", "refused")}
        assert counts == {"stored": stored, "duplicate": duplicates, "rejected": 3, "refused": 2}
        assert sum(counts.values()) == sent
        assert stored == len(world.stored()) == 5
        accepted = sent - counts["refused"]
        assert accepted == counts["stored"] + counts["duplicate"] + counts["rejected"]


async def test_the_counts_are_in_the_exposition(tmp_path: Path) -> None:
    async with at_work(tmp_path) as world:
        await world.pipeline.requests([log("a"), log("a")])
        world.pipeline.count("request", "rejected", 7)
        text = b"".join(world.store.render(openmetrics=False)).decode()
    name = "fleetpulse_ingest_signals_total"
    shown = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith(f'{name}{{kind="request"'))
    assert shown == {
        f'{name}{{kind="request",outcome="stored"}}': "1.0",
        f'{name}{{kind="request",outcome="duplicate"}}': "1.0",
        f'{name}{{kind="request",outcome="rejected"}}': "7.0",
    }


async def test_a_full_disk_counts_as_refused_and_passes(tmp_path: Path) -> None:
    async with at_work(tmp_path) as world:
        (pages,) = world.eyes.execute("PRAGMA page_count").fetchone()
        await world.journal.submit(Run(f"PRAGMA max_page_count = {pages}"))
        logs = [log(f"r{n}", command="x" * 8_000) for n in range(20)]
        with pytest.raises(StorageFullError):
            await world.pipeline.requests(logs)
        assert (world.count("request", "refused"), world.count("request", "stored")) == (20, 0)
        await world.journal.submit(Run("PRAGMA max_page_count = 1000000"))
        assert await world.pipeline.requests(logs) == Receipt(20, 0)


async def test_stored_and_duplicates_go_on_after_a_restart_and_the_rest_begins_anew(tmp_path: Path) -> None:
    async with at_work(tmp_path) as world:
        await world.pipeline.requests([log("a"), log("b"), log("a")])
        world.pipeline.count("request", "rejected", 5)
        world.pipeline.heartbeat("x", beat())
    async with at_work(tmp_path) as world:
        assert (world.count("request", "stored"), world.count("request", "duplicate")) == (2, 1)
        assert (world.count("request", "rejected"), world.count("heartbeat", "stored")) == (0, 0)
        assert await world.pipeline.requests([log("a"), log("c")]) == Receipt(1, 1)
        assert (world.count("request", "stored"), world.count("request", "duplicate")) == (3, 2)


# Requests and alerts ------------------------------------------------------------------------------------------
async def test_a_row_is_the_log_with_its_cost(tmp_path: Path) -> None:
    when = datetime(2025, 10, 9, 8, 0, tzinfo=UTC)
    full = log(
        "a",
        user_id="u",
        command="查询",
        model="gpt-4o",
        provider="openai",
        timestamp=when,
        input_tokens=1_000,
        output_tokens=100,
        cached_tokens=10,
        error="无",
        session_id="s",
        trace_id="t",
        metadata={"键": [1, None]},
    )
    async with at_work(tmp_path) as world:
        await world.pipeline.requests([full, log("b"), log("c", model="nobody-knows", tokens_used=5)])
        first, second, third = (data for _, _, _, data in world.hub.told)
        assert isinstance(first, RequestRow)
        assert isinstance(second, RequestRow)
        assert isinstance(third, RequestRow)
        rows = world.eyes.execute(f"SELECT {','.join(RequestRow._fields)} FROM requests ORDER BY id").fetchall()  # noqa: S608
    assert [RequestRow(*row) for row in rows] == [first, second, third]
    assert (first.received_at, first.timestamp) == (NOW, when.timestamp())
    assert (first.tokens_used, first.cost_source) == (1_100, "computed")
    assert first.cost == pytest.approx(990 * 2.5e-6 + 10 * 1.25e-6 + 100 * 10e-6, rel=1e-12)
    assert first.metadata == '{"键":[1,null]}'
    assert (second.cost, second.cost_source, second.metadata) == (None, None, None)
    assert (third.cost, third.cost_source, third.tokens_used) == (None, "unknown", 5)


async def test_an_alert_is_one_event_a_change_however_often_it_is_told(tmp_path: Path) -> None:
    async with at_work(tmp_path) as world:
        assert await world.pipeline.alerts([alert(), alert()]) == Receipt(1, 1)
        assert await world.pipeline.alerts([alert()]) == Receipt(0, 1)
        assert await world.pipeline.alerts([alert("resolved")]) == Receipt(1, 0)
        again = alert(starts_at=datetime(2025, 10, 10, tzinfo=UTC))
        assert await world.pipeline.alerts([again]) == Receipt(1, 0)
        assert world.hub.keys("alerts") == ["f", "f", "f"]
        assert world.count("alert", "duplicate") == 2
        assert len(world.journal.recent_alerts(10)) == 3


async def test_an_alert_is_shown_as_the_documents_do(tmp_path: Path) -> None:
    event = alert(
        labels={"alertname": "A", "alert_type": "error", "account_id": "acc"},
        annotations={"summary": "短", "description": "长", "runbook_url": "https://example.com/a"},
        severity="critical",
    )
    async with at_work(tmp_path) as world:
        await world.pipeline.alerts([event, alert(fingerprint="bare", alertname="Bare")])
        shown, bare = (data for _, _, _, data in world.hub.told)
    assert isinstance(shown, dict)
    assert isinstance(bare, dict)
    starts = int(datetime(2025, 10, 9, tzinfo=UTC).timestamp())
    documented = {
        "alert_id": f"A_f_{starts}",
        "alert_type": "error",
        "account_id": "acc",
        "message": "长",
        "resolved": False,
    }
    assert {name: shown[name] for name in documented} == documented
    assert shown["runbook_url"] == "https://example.com/a"
    assert (bare["alert_type"], bare["account_id"], bare["message"]) == ("Bare", None, "Bare")


# Agents -------------------------------------------------------------------------------------------------------
async def test_a_heartbeat_is_published_to_its_pool(tmp_path: Path) -> None:
    async with at_work(tmp_path) as world:
        world.pipeline.heartbeat("a", beat(), "p")
        world.pipeline.heartbeat("a", beat("offline"), "p")
        (topic, kind, key, data), offline = world.hub.told
        assert (topic, kind, key) == ("agents/p", "update", "a")
        assert isinstance(data, Agent)
        assert offline == ("agents/p", "offline", "a", {"agent_id": "a", "status": "offline"})


async def test_refused_heartbeats_are_counted_and_told_one_by_one(tmp_path: Path) -> None:
    async with at_work(tmp_path, limits={"agents": 2}) as world:
        beats = [AgentHeartbeat(agent_id=each, status="busy", cpu_usage=1, memory_usage=1) for each in "abca"]
        refused = world.pipeline.heartbeats(beats)
        assert [error is not None for error in refused] == [False, False, True, False]
        assert (world.count("heartbeat", "stored"), world.count("heartbeat", "refused")) == (3, 1)
        with pytest.raises(OverloadedError):
            world.pipeline.heartbeat("d", beat())
        assert world.count("heartbeat", "refused") == 2


async def test_statuses_past_the_cap_are_counted(tmp_path: Path) -> None:
    async with at_work(tmp_path, limits={"statuses": 3}) as world:
        for number in range(4):
            world.pipeline.heartbeat("a", beat(f"status {number}"))
        folded = world.store.child(catalogue.FOLDED_LABELS, ("agent_status",)).parts[""]
        assert folded.value == 3


async def test_a_silent_agent_is_told_of(tmp_path: Path) -> None:
    now = NOW
    async with at_work(tmp_path, clock=lambda: now) as world:
        for number in range(600):  # more than a step of the sweep
            world.pipeline.heartbeat(f"a{number}", beat(), "p")
        world.hub.told.clear()
        await asyncio.sleep(0)
        now += 301
        await until(lambda: len(world.hub.told) == 600)
        assert {(topic, kind) for topic, kind, _, _ in world.hub.told} == {("agents/p", "offline")}


async def test_agents_are_saved_once_for_many_heartbeats(tmp_path: Path) -> None:
    async with at_work(tmp_path, agents={"save_interval_seconds": FOREVER}) as world:
        for number in range(100):
            world.pipeline.heartbeat("a", beat(f"status {number % 3}"))
        assert world.saved() == {}
    async with at_work(tmp_path, agents={"save_interval_seconds": FOREVER}) as world:
        (state,) = world.saved().values()
        assert '"status 0"' in state


async def test_agents_are_saved_at_the_interval(tmp_path: Path) -> None:
    async with at_work(tmp_path, agents={"save_interval_seconds": 0.01}) as world:
        for number in range(600):  # more than one write holds
            world.pipeline.heartbeat(f"a{number}", beat())
        await until(lambda: len(world.saved()) == 600)
        world.pipeline.heartbeat("a7", beat("idle"))
        await until(lambda: '"idle"' in world.saved()["a7"])


async def test_the_newest_state_is_saved_when_the_pipeline_drains(tmp_path: Path) -> None:
    async with at_work(tmp_path, agents={"save_interval_seconds": FOREVER}) as world:
        for number in range(600):
            world.pipeline.heartbeat(f"a{number}", beat())
        before = world.fleet.everyone()
    async with at_work(tmp_path) as world:
        assert sorted(world.fleet.everyone(), key=lambda each: each.agent_id) == sorted(
            before, key=lambda each: each.agent_id
        )


async def test_what_could_not_be_saved_is_saved_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with at_work(tmp_path, agents={"save_interval_seconds": 0.01}) as world:
        await world.journal.submit(Run("PRAGMA busy_timeout = 0"))
        intruder = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
        intruder.execute("BEGIN IMMEDIATE")
        world.pipeline.heartbeat("a", beat())
        await until(lambda: "is not saved" in caplog.text)
        intruder.execute("ROLLBACK")
        intruder.close()
        await until(lambda: set(world.saved()) == {"a"})


async def test_a_drain_during_a_save_loses_nothing(tmp_path: Path) -> None:
    async with at_work(tmp_path, agents={"save_interval_seconds": 0.001}) as world:
        async with held(world.journal) as hold:
            world.pipeline.heartbeat("a", beat())
            await asyncio.sleep(0.05)  # the save is under way, or about to be: both must do
            draining = asyncio.create_task(world.pipeline.drain())
            await asyncio.sleep(0)
            hold.release.set()
            await draining
        assert set(world.saved()) == {"a"}


async def test_a_restart_knows_who_was_silent(tmp_path: Path) -> None:
    now = NOW
    async with at_work(tmp_path, clock=lambda: now) as world:
        world.pipeline.heartbeat("silent", beat())
        await asyncio.sleep(0)
        now += 301
        await until(lambda: world.hub.keys("agents/default") == ["silent", "silent"])
        world.pipeline.heartbeat("awake", beat())
    now += 1_000
    async with at_work(tmp_path, clock=lambda: now) as world:
        await asyncio.sleep(0)
        assert {agent.agent_id: agent.up for agent in world.fleet.everyone()} == {"silent": False, "awake": True}
        assert world.hub.told == []


async def test_a_new_budget_counts_what_the_journal_has(tmp_path: Path) -> None:
    async with at_work(tmp_path, budgets=[]) as world:
        await world.pipeline.requests([log("a", cost=1.5), log("b", cost=2.0)])
    async with at_work(tmp_path, budgets=[{"name": "new", "limit_usd": 5.0}]) as world:
        await world.pipeline.requests([log("c", cost=4.0)])
        assert list(world.store.spending().values()) == [7.5]
