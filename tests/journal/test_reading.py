"""What the loop reads back: recent alerts, agents' states, the extent of a table, spend of a period."""

from pathlib import Path

import pytest
from tests.journal.stand import NOW, alert, at_work, request, requests

from fleetpulse.journal import ALERTS, REQUESTS, AgentState, SaveAgents, rfc3339


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


async def test_recent_alerts_are_the_newest_oldest_first(path: Path) -> None:
    async with at_work(path) as stand:
        assert stand.journal.recent_alerts(10) == []
        events = [alert(f"f{each}", received_at=NOW + each) for each in range(15)]
        await stand.journal.store(ALERTS, events)
        assert stand.journal.recent_alerts(10) == events[5:]
    async with at_work(path) as stand:
        assert stand.journal.recent_alerts(3) == events[12:]


async def test_the_extent_of_a_table_follows_both_ends(path: Path) -> None:
    async with at_work(path) as stand:
        assert stand.journal.extent(REQUESTS) == (0, None)
        await stand.journal.store(REQUESTS, [request("a", received_at=NOW), request("b", received_at=NOW + 1)])
        await stand.journal.store(REQUESTS, [request("b"), request("a"), request("c", received_at=NOW + 2)])
        assert stand.journal.extent(REQUESTS) == (3, NOW)
        assert stand.journal.extent(ALERTS) == (0, None)


async def test_agents_are_saved_replaced_and_forgotten(path: Path) -> None:
    states = [AgentState("a", 30.0, "{}"), AgentState("代理", 10.0, '{"x": "中"}'), AgentState("c", 20.0, "{}")]
    async with at_work(path) as stand:
        await stand.journal.submit(SaveAgents(states))
        assert [each.agent_id for each in stand.journal.saved_agents()] == ["代理", "c", "a"]
        await stand.journal.submit(SaveAgents([AgentState("代理", 40.0, "{}")], ["c", "never was"]))
    async with at_work(path) as stand:
        assert stand.journal.saved_agents() == [states[0], AgentState("代理", 40.0, "{}")]


async def test_a_reader_sees_what_was_acknowledged(path: Path) -> None:
    async with at_work(path) as stand:
        reader = stand.journal.reader()
        await stand.journal.store(REQUESTS, requests("ab"))
        assert reader.execute("SELECT count(*) FROM requests").fetchone() == (2,)
        reader.close()


def test_times_are_rfc_3339_in_utc() -> None:
    assert rfc3339(NOW + 0.25) == "2025-10-09T08:53:20.250Z"


def test_a_row_as_json_has_no_empty_fields() -> None:
    shown = request("a", timestamp=NOW - 60, metadata='{"k": [1]}', cached_tokens=None).as_json()
    assert shown["timestamp"] == "2025-10-09T08:52:20.000Z"
    assert shown["received_at"] == "2025-10-09T08:53:20.000Z"
    assert shown["metadata"] == {"k": [1]}
    assert "cached_tokens" not in shown
    assert "error" not in shown
    assert request("a").as_json()["timestamp"] == "2025-10-09T08:53:20.000Z"
