"""Alerts on their way, through a real Prometheus and a real Alertmanager with the project's configuration."""

import inspect
from pathlib import Path
from typing import Any

import yaml
from tests.alerting import Stack, prometheus, stack, webhook
from tests.tools import ROOT, until

from fleetpulse.stack import services


def budget(level: int, name: str = "daily") -> dict[str, str]:
    return {"alertname": f"BudgetAt{level}Percent", "job": "fleetpulse", "budget": name, "severity": "warning"}


def agent(name: str, job: str = "fleetpulse") -> dict[str, str]:
    return {
        "alertname": "AgentSilent",
        "alert_type": "agent",
        "job": job,
        "agent_id": name,
        "pool_id": "p",
        "severity": "warning",
    }


MARK = {"alertname": "Mark", "severity": "info"}


async def test_the_webhook_hears_that_an_alert_fires_and_that_it_is_over(tmp_path: Path) -> None:
    async with stack(tmp_path) as real:
        await real.post(agent("w1"))
        await real.sees(("firing", "AgentSilent"))
        await real.post(agent("w1"), resolved=True)
        await real.sees(("resolved", "AgentSilent"))
        first = real.exporter.received[0]
        assert first["version"] == "4"
        assert first["receiver"] == "fleetpulse"


async def test_a_new_alert_does_not_wait_for_one_that_fires_already(tmp_path: Path) -> None:
    """With an hour between messages of one group, an alert in another's group would not arrive at all."""

    def slow(config: dict[str, Any]) -> None:
        for route in config["route"]["routes"]:
            route["group_interval"] = "1h"

    async with stack(tmp_path, slow) as real:
        for name in ("w1", "w2", "w3"):
            await real.post(agent(name))
            await real.hears_of(agent(name))
        assert real.exporter.labels() == [agent("w1"), agent("w2"), agent("w3")]


async def test_the_highest_budget_alert_mutes_the_lower_ones_of_the_same_budget(tmp_path: Path) -> None:
    async with stack(tmp_path) as real:
        await real.post(budget(80), budget(95), budget(100), budget(80, "bots"))
        await real.hears_of(budget(100))
        await real.hears_of(budget(80, "bots"))
        await real.post(MARK)
        await real.hears_of(MARK)
        sent = real.exporter.labels()
        assert budget(80) not in sent
        assert budget(95) not in sent


async def test_a_lower_budget_alert_speaks_until_the_higher_one_comes(tmp_path: Path) -> None:
    async with stack(tmp_path) as real:
        for level in (80, 95, 100):
            await real.post(budget(level))
            await real.sees(("firing", f"BudgetAt{level}Percent"))
        listed = await real.get("/api/v2/alerts")
        states = {each["labels"]["alertname"]: each["status"]["state"] for each in listed}
        assert states == {
            "BudgetAt80Percent": "suppressed",
            "BudgetAt95Percent": "suppressed",
            "BudgetAt100Percent": "active",
        }


def to_people(config: dict[str, Any]) -> None:
    """People are told where the exporter is; groups are looked at every second."""
    (people,) = (each for each in config["receivers"] if each["name"] == "people")
    people["webhook_configs"] = [dict(webhook(config))]
    for route in config["route"]["routes"]:
        route["group_wait"] = route["group_interval"] = "1s"


def level(pct: int, period_start: int, name: str = "daily") -> dict[str, str]:
    return budget(pct, name) | {"alert_type": "cost", "period": "day", "period_start": str(period_start)}


async def test_a_budgets_level_is_told_once_a_period(tmp_path: Path) -> None:
    """The other budget's alerts prove that the groups were looked at, time and again."""
    async with stack(tmp_path, to_people) as real:
        await real.post(level(80, 1))
        for clock in range(3):
            await real.post(level(80, 1), level(80, clock, "bots"))
            await hears(real, level(80, clock, "bots"))
        assert told(real).count(("firing", [level(80, 1)])) == 1
        await real.post(level(95, 1))
        await hears(real, level(95, 1))
        await real.post(level(80, 1), level(95, 1), resolved=True)
        await until(lambda: ("resolved", [level(80, 1)]) in told(real), real.log)
        await real.post(level(80, 2))
        await hears(real, level(80, 2))
        firing = [labels for status, alerts in told(real) if status == "firing" for labels in alerts]
        assert [firing.count(each) for each in (level(80, 1), level(95, 1), level(80, 2))] == [1, 1, 1]


async def test_a_level_that_was_muted_when_it_ended_is_told_in_the_next_period(tmp_path: Path) -> None:
    async with stack(tmp_path, to_people) as real:
        await real.post(level(80, 1))
        await hears(real, level(80, 1))
        await real.post(level(100, 1))
        await hears(real, level(100, 1))
        await real.post(level(80, 1), resolved=True)
        await real.post(level(80, 2))
        await hears(real, level(80, 2))


async def hears(real: Stack, labels: dict[str, str]) -> None:
    """People are told that this alert fires."""
    await until(lambda: ("firing", [labels]) in told(real), real.log)


def told(real: Stack) -> list[tuple[str, list[dict[str, str]]]]:
    return real.exporter.told("people")


async def test_alertmanager_remembers_for_as_long_as_nothing_is_to_be_repeated(tmp_path: Path) -> None:
    """It warns itself where it does not, as by default."""
    warning = "repeat_interval is greater than the data retention period"
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["alertmanager"]["command"]
    (flag,) = (each for each in compose if each.startswith("--data.retention="))
    assert f'"{flag}"' in inspect.getsource(services)
    for flags, warned in ((), True), ((flag,), False):
        async with stack(tmp_path / str(warned), lambda _: None, *flags) as real:
            assert (warning in real.log.read_text()) == warned


async def test_an_exporter_that_is_down_mutes_its_agents_and_no_others(tmp_path: Path) -> None:
    down = {"alertname": "ExporterDown", "job": "fleetpulse", "severity": "critical", "alert_type": "system"}
    failing = {"alertname": "AlertmanagerWebhookFailing", "job": "alertmanager", "severity": "warning"}
    stranger = {key: value for key, value in agent("w3").items() if key != "job"}
    async with stack(tmp_path) as real:
        await real.post(down)
        await real.sees(("firing", "ExporterDown"))
        await real.post(agent("w1"), agent("w2", "other"), stranger, failing, budget(80))
        for heard in (agent("w2", "other"), stranger, budget(80)):
            await real.hears_of(heard)
        await real.post(MARK)
        await real.hears_of(MARK)
        sent = real.exporter.labels()
        assert agent("w1") not in sent
        assert failing not in sent


async def test_a_full_disk_mutes_what_follows_from_it_on_that_instance(tmp_path: Path) -> None:
    def system(name: str, instance: str) -> dict[str, str]:
        return {"alertname": name, "job": "fleetpulse", "instance": instance, "severity": "warning"}

    async with stack(tmp_path) as real:
        await real.post(system("JournalNotWritable", "a"))
        await real.sees(("firing", "JournalNotWritable"))
        await real.post(system("IngestRefusing", "a"), system("IngestRefusing", "b"))
        await real.hears_of(system("IngestRefusing", "b"))
        await real.post(MARK)
        await real.hears_of(MARK)
        assert system("IngestRefusing", "a") not in real.exporter.labels()


async def test_the_watchdog_spares_the_feed(tmp_path: Path) -> None:
    async with stack(tmp_path) as real:
        await real.post({"alertname": "Watchdog", "severity": "none"})
        await real.post(MARK)
        await real.sees(("firing", "Mark"))
        assert real.exporter.changes() == [("firing", "Mark")]


async def test_a_broken_budget_travels_from_the_exporters_metrics_to_its_webhook(tmp_path: Path) -> None:
    async with stack(tmp_path) as real, prometheus(tmp_path, real) as log:
        await until(lambda: real.exporter.scrapes > 1, log)
        assert real.exporter.changes() == []
        real.exporter.spent = 10.5
        await real.sees(("firing", "BudgetAt100Percent"))
        (alert,) = (each for each in real.exporter.alerts() if each["labels"]["alertname"] == "BudgetAt100Percent")
        assert alert["labels"]["budget"] == "daily"
        assert alert["annotations"]["description"].startswith("$10.50 of $10.00 are spent this day")
        assert ("firing", "BudgetAt80Percent") not in real.exporter.changes()
