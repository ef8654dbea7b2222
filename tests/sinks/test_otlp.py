"""The follower of a real journal, with a real collector that misbehaves: nothing is lost, and the counts add up."""

import asyncio
import json
import logging
import sqlite3
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Literal

import pytest
from tests.journal.stand import NOW, Run, Stand, alert, at_work, crash, held, recorded, request, requests, until
from tests.sinks.collector import Collector, Reply, rejecting

from fleetpulse import catalogue
from fleetpulse.journal import ALERTS, MESSAGES, REQUESTS, Key, newest_id
from fleetpulse.journal.writes import DeleteOldest
from fleetpulse.sinks import otlp
from fleetpulse.sinks.otlp import OtlpLogs
from fleetpulse.sinks.variables import Destination, Telemetry

Begin = Literal["newest", "oldest"]
SENT, LOST = catalogue.OTLP_LOGS_SENT.name, catalogue.OTLP_LOGS_LOST.name
RESOURCE = {"service.name": "fleetpulse"}
FRESH = {"sent": 0.0, "rejected": 0.0, "too_large": 0.0, "deleted": 0.0, "backlog": 0.0}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Positions are kept so often that tests need not wait for it."""
    monkeypatch.setattr(otlp, "SAVE_SECONDS", 0.05)


@asynccontextmanager
async def sending(
    stand: Stand, collector: Collector, begin: Begin = "newest", timeout_seconds: float = 30.0, **options: Any
) -> AsyncIterator[OtlpLogs]:
    """A sink at work, with short delays; it is stopped before the journal is, as in the exporter."""
    telemetry = Telemetry(resource=RESOURCE, delay_seconds=0.01, **options)
    destination = Destination(collector.url, timeout_seconds=timeout_seconds)
    sink = OtlpLogs(telemetry, destination, stand.journal, stand.instruments, begin, lambda: NOW + 60)
    await sink.start()
    try:
        yield sink
    finally:
        await sink.stop()


async def store(stand: Stand, ids: Iterable[object], **fields: Any) -> None:
    await stand.journal.store(REQUESTS, requests(ids, **fields))


def counted(stand: Stand, kind: str = "request") -> dict[str, float]:
    """The durable counts of one kind, as the file has them, and the backlog as it is shown."""
    totals = stand.totals()
    lost = {key.labels[1]: value for key, value in totals.items() if key.metric == LOST and key.labels[0] == kind}
    backlog = stand.value(catalogue.OTLP_LOGS_BACKLOG, kind)
    return {"sent": totals[Key(SENT, (kind,))], **lost, "backlog": backlog}


def adds_up(stand: Stand, kind: str = "request") -> bool:
    """Whether every row there ever was is sent, lost or waiting."""
    table = ALERTS if kind == "alert" else REQUESTS
    return sum(counted(stand, kind).values()) == newest_id(stand.eyes, table)


def once(ids: Iterable[object]) -> dict[str, int]:
    return {f"r{each}": 1 for each in ids}


async def test_rows_and_alerts_are_sent_once_each(tmp_path: Path, collector: Collector) -> None:
    async with at_work(tmp_path / "j.db") as stand, sending(stand, collector):
        await store(stand, range(30))
        await stand.journal.store(ALERTS, [alert("f1"), alert("f2")])
        await until(lambda: len(collector.taken()) == 32)
        await until(lambda: counted(stand)["sent"] == 30)
        await until(lambda: adds_up(stand))
        await until(lambda: adds_up(stand, "alert"))
    names = [record.event_name for record in collector.taken()]
    assert (names.count("fleetpulse.request"), names.count("fleetpulse.alert")) == (30, 2)
    assert {call.scope for call in collector.calls} == {"fleetpulse.signals"}
    assert all(call.resource == RESOURCE for call in collector.calls)


async def test_recorded_messages_are_sent_and_those_of_the_own_chat_are_not(
    tmp_path: Path, collector: Collector
) -> None:
    async with at_work(tmp_path / "j.db") as stand, sending(stand, collector, batch_rows=4):
        own = [recorded(n, message_id=f"own{n}", stream="chat") for n in range(10)]
        await stand.journal.store(MESSAGES, [*own[:5], recorded(1), *own[5:], recorded(2)])
        await until(lambda: counted(stand, "message") == FRESH | {"sent": 2})
    bodies = [json.loads(each.body.string_value) for each in collector.taken()]
    assert [each["message_id"] for each in bodies] == ["live/c1/1", "live/c1/2"]


async def test_how_far_it_came_is_kept_also_where_nothing_is_to_be_sent(
    tmp_path: Path, collector: Collector
) -> None:
    async with at_work(tmp_path / "j.db") as stand, sending(stand, collector):
        await stand.journal.store(MESSAGES, [recorded(n, stream="chat") for n in range(10)])
        await until(lambda: counted(stand, "message") == FRESH)
    async with at_work(tmp_path / "j.db") as stand, sending(stand, collector):
        await stand.journal.store(MESSAGES, [recorded(99)])
        await until(lambda: counted(stand, "message") == FRESH | {"sent": 1})
    assert len(collector.taken()) == 1


async def test_messages_that_retention_deleted_unsent_are_lost(tmp_path: Path, collector: Collector) -> None:
    collector.always = Reply(503)
    async with at_work(tmp_path / "j.db") as stand:
        async with sending(stand, collector):
            pass
        await stand.journal.store(MESSAGES, [recorded(n) for n in range(5)])
        await stand.journal.submit(DeleteOldest(MESSAGES, 3))
        collector.always = Reply()
        async with sending(stand, collector):
            await until(lambda: counted(stand, "message") == FRESH | {"sent": 2, "deleted": 3})


async def test_order_is_that_of_the_journal(tmp_path: Path, collector: Collector) -> None:
    async with at_work(tmp_path / "j.db") as stand, sending(stand, collector, batch_rows=7):
        for n in range(10):
            await store(stand, range(10 * n, 10 * n + 10))
        await until(lambda: len(collector.taken()) == 100)
    assert list(collector.ids()) == [f"r{n}" for n in range(100)]
    assert max(len(call.records) for call in collector.calls) == 7


async def test_duplicates_are_not_sent(tmp_path: Path, collector: Collector) -> None:
    async with at_work(tmp_path / "j.db") as stand, sending(stand, collector):
        await store(stand, range(5))
        await store(stand, range(8))
        await until(lambda: len(collector.ids()) == 8)
        await until(lambda: counted(stand)["sent"] == 8)
    assert collector.ids() == once(range(8))


@pytest.mark.parametrize(("begin", "expected"), [("newest", range(5, 7)), ("oldest", range(7))])
async def test_where_it_begins(tmp_path: Path, collector: Collector, begin: Begin, expected: range) -> None:
    async with at_work(tmp_path / "j.db") as stand:
        await store(stand, range(5))
        async with sending(stand, collector, begin):
            await store(stand, range(5, 7))
            await until(lambda: len(collector.ids()) == len(expected))
            await until(lambda: counted(stand)["sent"] == len(expected))
            assert counted(stand)["backlog"] == 0
    assert collector.ids() == once(expected)


async def test_where_retention_deleted_the_oldest_it_begins_with_the_oldest_kept(
    tmp_path: Path, collector: Collector
) -> None:
    async with at_work(tmp_path / "j.db") as stand:
        await store(stand, range(5))
        await stand.journal.submit(DeleteOldest(REQUESTS, 2))
        async with sending(stand, collector, "oldest"):
            await until(lambda: counted(stand)["sent"] == 3)
            assert counted(stand)["deleted"] == 0


async def test_it_goes_on_where_it_stopped(tmp_path: Path, collector: Collector) -> None:
    async with at_work(tmp_path / "j.db") as stand:
        async with sending(stand, collector):
            await store(stand, range(5))
            await until(lambda: len(collector.ids()) == 5)
        await store(stand, range(5, 9))  # while sending is turned off
    async with at_work(tmp_path / "j.db") as stand, sending(stand, collector):
        await until(lambda: counted(stand)["sent"] == 9)
        await until(lambda: adds_up(stand))
    assert collector.ids() == once(range(9))


async def test_stopping_sends_what_was_stored_last(tmp_path: Path, collector: Collector) -> None:
    async with at_work(tmp_path / "j.db") as stand:
        async with sending(stand, collector, batch_rows=4):
            await store(stand, range(50))
        assert counted_in_file(stand) == 50
    assert collector.ids() == once(range(50))


def counted_in_file(stand: Stand) -> float:
    return stand.totals()[Key(SENT, ("request",))]


# The collector misbehaves -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "troubles",
    [
        [Reply(429), Reply(503, {"Retry-After": "0"})],
        [Reply(502), Reply(504)],
        [Reply(hangs_up=True), Reply(hangs_up=True)],
    ],
)
async def test_a_passing_trouble_loses_nothing(
    tmp_path: Path, collector: Collector, troubles: Sequence[Reply]
) -> None:
    collector.next = list(troubles)
    async with at_work(tmp_path / "j.db") as stand, sending(stand, collector):
        await store(stand, range(10))
        await until(lambda: counted(stand)["sent"] == 10)
        tried = {name: stand.value(catalogue.OTLP_LOGS_RETRIES, name) for name in ("busy", "unreachable")}
        await until(lambda: adds_up(stand))
    assert sum(tried.values()) == 2
    assert collector.ids() == once(range(10))


async def test_the_servers_wish_to_wait_is_kept(tmp_path: Path, collector: Collector) -> None:
    collector.next = [Reply(503, {"Retry-After": "2"})]
    loop = asyncio.get_running_loop()
    async with at_work(tmp_path / "j.db") as stand, sending(stand, collector):
        await store(stand, range(3))
        await until(lambda: stand.value(catalogue.OTLP_LOGS_RETRIES, "busy") == 1)
        began = loop.time()
        await until(lambda: len(collector.ids()) == 3)
        assert loop.time() - began > 1.5  # a backoff of our own is half a second at the most


async def test_a_collector_that_is_away_is_waited_for(
    tmp_path: Path, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    collector.stop()
    with caplog.at_level(logging.INFO, "fleetpulse.sinks"):
        async with at_work(tmp_path / "j.db") as stand, sending(stand, collector):
            await store(stand, range(20))
            await until(lambda: stand.value(catalogue.OTLP_LOGS_RETRIES, "unreachable") >= 2)
            assert counted(stand) == {"sent": 0, "rejected": 0, "too_large": 0, "deleted": 0, "backlog": 20}
            assert stand.value(catalogue.OTLP_LOGS_LAG) == 60
            collector.start()
            await until(lambda: counted(stand)["sent"] == 20)
            assert stand.value(catalogue.OTLP_LOGS_LAG) == 0
            assert stand.value(catalogue.OTLP_LOGS_LAST_SUCCESS) == NOW + 60
    told = [record.getMessage() for record in caplog.records]
    assert sum("takes no records" in line for line in told) == 1  # not at every try
    assert sum("takes records again" in line for line in told) == 1


async def test_ingest_does_not_feel_a_collector_that_hangs(tmp_path: Path, collector: Collector) -> None:
    collector.open.clear()
    async with at_work(tmp_path / "j.db") as stand, sending(stand, collector, timeout_seconds=0.2):
        for n in range(20):
            await store(stand, range(100 * n, 100 * n + 100))  # each is acknowledged meanwhile
        await until(lambda: stand.value(catalogue.OTLP_LOGS_RETRIES, "timeout") >= 1)
        await until(lambda: adds_up(stand))
        collector.open.set()
        await until(lambda: counted(stand)["sent"] == 2_000)
    assert collector.ids().keys() == once(range(2_000)).keys()  # at least once: what hung may have been taken


async def test_what_the_collector_rejects_is_lost_and_counted(tmp_path: Path, collector: Collector) -> None:
    collector.next = [Reply(400, body=b"bad"), rejecting(2, "too old")]
    async with at_work(tmp_path / "j.db") as stand, sending(stand, collector, batch_rows=10):
        await store(stand, range(25))
        await until(lambda: counted(stand)["backlog"] == 0)
        found = counted(stand)
    assert found == {"sent": 13, "rejected": 12, "too_large": 0, "deleted": 0, "backlog": 0}


async def test_a_collector_cannot_reject_more_than_it_got(tmp_path: Path, collector: Collector) -> None:
    collector.next = [rejecting(1_000_000, "all of it, and more")]
    async with at_work(tmp_path / "j.db") as stand, sending(stand, collector):
        await store(stand, range(3))
        await until(lambda: counted(stand)["rejected"] == 3)
        await until(lambda: adds_up(stand))


async def test_a_batch_that_is_too_large_is_cut(tmp_path: Path, collector: Collector) -> None:
    collector.next = [Reply(413), Reply(413)]
    async with at_work(tmp_path / "j.db") as stand, sending(stand, collector, batch_rows=16):
        await store(stand, range(32))
        await until(lambda: counted(stand)["sent"] == 32)
        await until(lambda: adds_up(stand))
    sizes = [len(call.records) for call in collector.calls]
    assert sizes[0] == 4
    assert max(sizes) > 4, "it grows again"
    assert collector.ids() == once(range(32))


async def test_a_row_that_is_too_large_by_itself_is_lost(tmp_path: Path, collector: Collector) -> None:
    collector.next = [Reply(413)] * 3  # 4 rows, 2, 1
    async with at_work(tmp_path / "j.db") as stand, sending(stand, collector, batch_rows=4):
        await store(stand, range(4))
        await until(lambda: counted(stand)["sent"] == 3)
        assert counted(stand)["too_large"] == 1
        await until(lambda: adds_up(stand))
    assert collector.ids() == once(range(1, 4))


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_wrong_credentials_lose_nothing(tmp_path: Path, collector: Collector, status: int) -> None:
    collector.always = Reply(status)
    async with at_work(tmp_path / "j.db") as stand:
        async with sending(stand, collector):
            await store(stand, range(3))
            await until(lambda: stand.value(catalogue.OTLP_LOGS_RETRIES, "misdirected") == 1)
            assert counted(stand)["backlog"] == 3
        collector.always = Reply()
    async with at_work(tmp_path / "j.db") as stand, sending(stand, collector):
        await until(lambda: counted(stand)["sent"] == 3)


async def test_what_retention_deletes_unsent_is_lost_and_counted(tmp_path: Path, collector: Collector) -> None:
    collector.stop()
    async with at_work(tmp_path / "j.db") as stand, sending(stand, collector, batch_rows=2):
        await store(stand, range(10))
        await until(lambda: stand.value(catalogue.OTLP_LOGS_RETRIES, "unreachable") >= 1)  # it holds r0 and r1
        await stand.journal.submit(DeleteOldest(REQUESTS, 6))
        collector.start()
        await until(lambda: counted(stand)["backlog"] == 0)
        assert counted(stand) == {"sent": 6, "rejected": 0, "too_large": 0, "deleted": 4, "backlog": 0}
    assert collector.ids() == once([0, 1, 6, 7, 8, 9])


async def test_when_everything_was_deleted_the_next_rows_still_go_out(tmp_path: Path, collector: Collector) -> None:
    async with at_work(tmp_path / "j.db") as stand:
        async with sending(stand, collector):
            pass
        await store(stand, range(5))
        await stand.journal.submit(DeleteOldest(REQUESTS, 5))
        async with sending(stand, collector):
            await until(lambda: counted(stand)["deleted"] == 5)
            await store(stand, [5])
            await until(lambda: counted(stand)["sent"] == 1)
            await until(lambda: adds_up(stand))


# Crashes and storage ------------------------------------------------------------------------------------------
async def test_after_a_crash_the_last_batches_come_again_and_are_counted_once(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otlp, "SAVE_SECONDS", 3_600.0)
    async with at_work(tmp_path / "j.db") as stand, sending(stand, collector, batch_rows=5):
        await store(stand, range(40))
        await until(lambda: len(collector.ids()) == 40)
        left = crash(tmp_path / "j.db", tmp_path / "after")
    monkeypatch.setattr(otlp, "SAVE_SECONDS", 0.05)
    async with at_work(left) as stand, sending(stand, collector):
        await until(lambda: adds_up(stand))
        await until(lambda: counted(stand)["sent"] == 40)
        await until(lambda: adds_up(stand))
    assert collector.ids() == {f"r{n}": 2 for n in range(40)}


async def test_a_position_that_cannot_be_kept_is_kept_later(tmp_path: Path, collector: Collector) -> None:
    collector.open.clear()
    async with at_work(tmp_path / "j.db") as stand, sending(stand, collector):
        await store(stand, range(5))
        await stand.journal.submit(Run("PRAGMA busy_timeout = 0"))
        with closing(sqlite3.connect(tmp_path / "j.db", isolation_level=None)) as intruder:
            intruder.execute("BEGIN IMMEDIATE")
            collector.open.set()
            await until(lambda: stand.value(catalogue.JOURNAL_FAILURES, "storage") >= 2)
            assert len(collector.ids()) == 5
            assert counted(stand)["sent"] == 0
        await until(lambda: counted(stand)["sent"] == 5)
        await until(lambda: adds_up(stand))


async def test_stopping_waits_for_a_busy_journal_and_counts_exactly(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otlp, "STOP_SECONDS", 0.05)
    async with at_work(tmp_path / "j.db") as stand:
        async with sending(stand, collector) as sink:
            await store(stand, range(5))
            await until(lambda: len(collector.ids()) == 5)
            async with held(stand.journal):
                stopping = asyncio.create_task(sink.stop())
                await asyncio.sleep(0.3)  # past the time it gives the collector
            await stopping
        assert counted_in_file(stand) == 5


async def test_stopping_does_not_wait_for_a_collector_that_hangs(tmp_path: Path, collector: Collector) -> None:
    collector.open.clear()
    async with at_work(tmp_path / "j.db") as stand:
        async with asyncio.timeout(20), sending(stand, collector, timeout_seconds=3_600):
            await store(stand, range(5))
            await until(lambda: collector.accepted == 1)
        assert stand.totals()[Key(SENT, ("request",))] == 0


async def test_a_large_batch_is_cut_by_bytes(tmp_path: Path, collector: Collector) -> None:
    async with at_work(tmp_path / "j.db") as stand, sending(stand, collector):
        await stand.journal.store(REQUESTS, [request(f"r{n}", command="x" * 8_000) for n in range(400)])
        await until(lambda: len(collector.ids()) == 400)
    assert len(collector.calls) >= 3
    assert max(sum(each.ByteSize() for each in call.records) for call in collector.calls) <= 2**20
