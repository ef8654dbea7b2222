"""The log: what is told is stored or counted, what is recorded is stored, and nothing told can break it."""

import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.events.stand import NOW, Stand, running, until

from fleetpulse import catalogue
from fleetpulse.errors import OverloadedError
from fleetpulse.events.event import DETAIL_BYTES, make_event

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.sets(st.integers()),
    max_leaves=30,
)
surrogates = st.text(st.characters(codec=None), max_size=400)


async def test_what_is_told_is_stored_in_order(tmp_path: Path) -> None:
    async with running(tmp_path) as stand:
        for number in range(2_500):
            stand.events.tell("system", "tick", actor="clock", subject=str(number), detail={"number": number})
        await until(lambda: stand.journal.newest_id is not None and len(stand.stored()) == 2_500)
        rows = stand.stored()
    assert [json.loads(row.detail)["number"] for row in rows] == list(range(2_500))
    first = rows[0]
    assert first[1:6] == (NOW, "system", "tick", "clock", "0")
    assert stand.value(catalogue.EVENTS, "system") == 2_500
    assert stand.value(catalogue.EVENTS_DROPPED) == 0


async def test_what_is_recorded_is_in_the_file_when_it_returns(tmp_path: Path) -> None:
    async with running(tmp_path) as stand:
        event = await stand.events.record("audit", "broadcast", actor="ann", detail={"recipients": 3})
        with sqlite3.connect(f"file:{stand.journal.path}?mode=ro", uri=True) as beside:
            found = beside.execute("SELECT event_id, kind, actor, detail FROM events").fetchall()
    assert found == [(event.event_id, "broadcast", "ann", '{"recipients":3}')]
    assert event.as_json()["received_at"] == "2025-10-09T08:53:20.000Z"


async def test_what_was_told_before_the_stop_is_stored(tmp_path: Path) -> None:
    async with running(tmp_path) as stand:
        stand.events.tell("connection", "user_disconnected", actor="bob")
    async with running(tmp_path) as again:
        assert [row.kind for row in again.stored()] == ["user_disconnected"]


async def test_fleeting_kinds_are_for_handlers_only(tmp_path: Path) -> None:
    heard = []
    async with running(tmp_path) as stand:
        stand.events.on("*", lambda event: heard.append(event.kind))
        stand.events.tell("message", "typing_status_changed", actor="bob")
        stand.events.tell("message", "message_received", actor="bob", store=True)
        await until(lambda: len(heard) == 2)
        await until(stand.stored)
    assert heard == ["typing_status_changed", "message_received"]


async def test_a_full_queue_drops_and_counts_and_never_waits(tmp_path: Path) -> None:
    stand = Stand(tmp_path, queue=10)  # nothing is stored before the start
    for number in range(15):
        stand.events.tell("system", "tick", subject=str(number))
    assert stand.value(catalogue.EVENTS_DROPPED) == 5
    stand.journal.start(lambda *_: None)
    stand.events.start()
    await until(lambda: len(stand.stored()) == 10)
    stand.events.tell("system", "tick", subject="later")
    await until(lambda: stand.stored()[-1].subject == "later")
    await stand.events.stop()
    await stand.journal.stop()


async def test_a_journal_that_refuses_is_asked_again(tmp_path: Path) -> None:
    """Another program holds the file's write lock: what is told waits, what is recorded is refused."""
    async with running(tmp_path) as stand:
        with sqlite3.connect(stand.journal.path, isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            stand.events.tell("system", "tick")
            with pytest.raises(OverloadedError):
                await stand.events.record("audit", "notify")
            other.execute("ROLLBACK")
        other.close()
        await until(stand.stored)
    assert [row.kind for row in stand.stored()] == ["tick"]
    assert stand.value(catalogue.EVENTS_DROPPED) == 0


async def test_an_unknown_category_is_no_label_of_its_own(tmp_path: Path) -> None:
    async with running(tmp_path) as stand:
        stand.events.tell("whatever", "x")
        assert stand.value(catalogue.EVENTS, "other") == 1


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(surrogates, surrogates, surrogates, st.dictionaries(st.text() | st.integers(), anything | surrogates))
def test_whatever_is_told_can_be_stored_and_shown(kind: str, actor: str, subject: str, detail: Any) -> None:
    row = make_event(NOW, "here", "custom", kind, actor, subject, detail).row()
    with sqlite3.connect(":memory:") as file:
        (back,) = file.execute("SELECT ?", (row.detail,)).fetchone()
    file.close()
    assert json.dumps(json.loads(back), allow_nan=False)
    assert len(row.detail.encode()) <= DETAIL_BYTES
    for text in (row.kind, row.actor, row.subject):
        assert len(text.encode()) <= 4 * 200


def test_a_wide_deep_or_endless_detail_is_cut() -> None:
    ring: dict[str, Any] = {"name": "ring", "when": datetime(2026, 1, 2, tzinfo=UTC)}
    ring["self"] = ring
    ring["wide"] = [[list(range(100))] * 100] * 100
    ring["long"] = "x" * 100_000
    shown = make_event(NOW, "here", "custom", "x", "", "", ring).detail
    assert shown["name"] == "ring"
    assert shown["when"] == "2026-01-02T00:00:00.000Z"
    whole = make_event(NOW, "here", "custom", "x", "", "", {f"text {n}": "é" * 5_000 for n in range(400)})
    assert whole.detail["cut"] is True
    assert len(whole.row().detail.encode()) <= DETAIL_BYTES
