"""Per-agent series: rendered at the heartbeat, exact counts past the cap, nothing left of who is gone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.journal.stand import NOW
from tests.series.page import OPENMETRICS, TEXT, Page

from fleetpulse.series.agents import AgentSample, AgentSeries

AWAKE = AgentSample(1.0, 0.5, 0.25, 3.0, NOW)
SILENT = AgentSample(0.0, None, None, None, NOW)
GAUGES = ("cpu_usage_ratio", "memory_usage_ratio", "running_tasks")


@pytest.mark.parametrize("accept", [TEXT, OPENMETRICS])
def test_an_agents_series_are_those_of_its_newest_heartbeat(accept: str) -> None:
    page = Page()
    page.agents.set("p", "a", "idle", AWAKE._replace(cpu=0.9))
    page.agents.set("p", "a", "busy", AWAKE)
    scraped = page.scrape(accept)
    values = {
        name: scraped.value(f"fleetpulse_agent_{name}", pool_id="p", agent_id="a")
        for name in ("up", *GAUGES, "last_heartbeat_timestamp_seconds")
    }
    assert list(values.values()) == [1.0, 0.5, 0.25, 3.0, NOW]
    assert scraped.labels("fleetpulse_agent_status") == [{"pool_id": "p", "agent_id": "a", "status": "busy"}]
    assert scraped.value("fleetpulse_agents", pool_id="p", status="busy") == 1
    assert not scraped.has("fleetpulse_agents", pool_id="p", status="idle")


def test_what_is_not_known_has_no_series() -> None:
    page = Page()
    page.agents.set("p", "a", "busy", AWAKE)
    page.agents.set("p", "a", "silent", SILENT)
    scraped = page.scrape()
    assert scraped.value("fleetpulse_agent_up", pool_id="p", agent_id="a") == 0
    for name in GAUGES:
        assert not scraped.has(f"fleetpulse_agent_{name}", pool_id="p", agent_id="a")
    page.agents.set("p", "a", "busy", AWAKE)
    assert page.scrape().value("fleetpulse_agent_cpu_usage_ratio", pool_id="p", agent_id="a") == 0.5


def test_an_agent_that_moves_leaves_nothing_behind() -> None:
    page = Page()
    page.agents.set("old", "a", "busy", AWAKE)
    page.agents.set("new", "a", "busy", AWAKE)
    assert '"old"' not in page.scrape().body


def test_an_agent_that_is_removed_leaves_nothing_behind() -> None:
    page = Page()
    page.agents.set("p", "gone", "busy", AWAKE)
    page.agents.remove("gone")
    page.agents.remove("never was")
    scraped = page.scrape()
    assert "gone" not in scraped.body
    assert scraped.total("fleetpulse_agents") == 0


def test_past_the_cap_agents_are_counted_only() -> None:
    page = Page(agents=AgentSeries(2))
    for agent in "abcd":
        page.agents.set("p", agent, "busy", AWAKE)
    page.agents.set("p", "d", "silent", SILENT)
    scraped = page.scrape()
    assert {labels["agent_id"] for labels in scraped.labels("fleetpulse_agent_up")} == {"a", "b"}
    assert scraped.value("fleetpulse_agents", pool_id="p", status="busy") == 3
    assert scraped.value("fleetpulse_agents", pool_id="p", status="silent") == 1
    assert scraped.value("fleetpulse_agents_over_limit") == 2


def test_a_place_that_falls_free_goes_to_the_next_heartbeat() -> None:
    page = Page(agents=AgentSeries(1))
    page.agents.set("p", "a", "busy", AWAKE)
    page.agents.set("p", "b", "busy", AWAKE)
    page.agents.remove("a")
    page.agents.set("p", "b", "busy", AWAKE)
    scraped = page.scrape()
    assert scraped.value("fleetpulse_agent_up", pool_id="p", agent_id="b") == 1
    assert scraped.value("fleetpulse_agents_over_limit") == 0


steps = st.tuples(st.sampled_from("abcdef"), st.sampled_from(["p", "q"]), st.sampled_from(["x", "y", None]))


@given(st.lists(steps, max_size=60), st.integers(1, 4))
def test_counts_are_exact_whoever_has_series(script: list[tuple[str, str, str | None]], cap: int) -> None:
    page = Page(agents=AgentSeries(cap))
    known: dict[str, tuple[str, str]] = {}
    for agent, pool, status in script:
        if status is None:
            page.agents.remove(agent)
            known.pop(agent, None)
        else:
            page.agents.set(pool, agent, status, AWAKE)
            known[agent] = (pool, status)
    scraped = page.scrape()
    for pool, status in {*known.values()}:
        count = list(known.values()).count((pool, status))
        assert scraped.value("fleetpulse_agents", pool_id=pool, status=status) == count
    assert scraped.total("fleetpulse_agents") == len(known)
    shown = scraped.total("fleetpulse_agent_up")
    assert shown <= cap
    assert shown + scraped.value("fleetpulse_agents_over_limit") == len(known)
    places = {labels["agent_id"]: labels["pool_id"] for labels in scraped.labels("fleetpulse_agent_up")}
    assert places == {agent: known[agent][0] for agent in places}
