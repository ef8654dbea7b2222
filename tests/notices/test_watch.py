"""Notifications that make themselves: of agents, budgets, alerts and chats; and of nothing they should not."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.journal.stand import alert, requests
from tests.notices.stand import NIGHT, NoticeStand, settings
from tests.web.live_stand import until

from fleetpulse import catalogue
from fleetpulse.budgets import Budgets
from fleetpulse.config import Budget
from fleetpulse.events import Events
from fleetpulse.fleet import Fleet
from fleetpulse.journal import ALERTS, REQUESTS, AlertRow
from fleetpulse.notices import kinds
from fleetpulse.notices.model import Recipients
from fleetpulse.notices.watch import CROWD, Watch
from fleetpulse.pipeline import Pipeline
from fleetpulse.series.agents import AgentSeries
from fleetpulse.signals import Heartbeat

BUDGETS = [{"name": "daily", "limit_usd": 10.0}, {"name": "bots", "limit_usd": 100.0, "source": "discord"}]
EVERYONE = {"everyone": True, "roles": []}


class WatchStand(NoticeStand):
    """With agents and budgets, as the exporter wires them; `look` is what happens every second."""

    async def start(self) -> "WatchStand":
        await super().start()
        own = self.settings
        self.budgets = Budgets(own.budgets, own.timezone)
        silence = own.thresholds.heartbeat_silence_seconds
        self.fleet = Fleet(own.agents, own.limits, silence, AgentSeries(own.limits.agent_series))
        self.fleet.restore(self.journal.saved_agents())
        self.pipeline = Pipeline(own, self.journal, self.store, self.fleet, self.hub, clock=self.moment)
        self.watch = Watch(
            self.notices,
            own.notifications,
            self.journal,
            self.fleet,
            self.budgets,
            self.store,
            self.instruments,
            self.moment,
        )
        self.pipeline.watch(self.watch.agents)
        self.events = Events(self.journal, "here", self.instruments)
        self.watch.listen(self.events)
        self.events.start()
        await self.watch.recall()
        return self

    async def stop(self) -> None:
        await self.pipeline.drain()
        await self.events.stop()
        await super().stop()

    def beat(self, agent: str, status: str = "idle") -> None:
        beat = Heartbeat(status=status, cpu_usage=1, memory_usage=1, agent_name=f"Agent {agent}")
        self.pipeline.heartbeat(agent, beat)

    async def told(self) -> list[tuple[str, str]]:
        """What has been told so far, the oldest first: level and title."""
        await self.watch.look()
        return [(each["level"], each["title"]) for each in self.history()[::-1]]

    async def spend(self, usd: float, source: str = "web") -> None:
        self._spent = getattr(self, "_spent", 0) + 1
        now = self.moment()
        rows = requests([f"{now}-{self._spent}"], cost=usd, source=source, received_at=now)
        await self.journal.store(REQUESTS, rows)

    def bound_outbox(self, most: int) -> None:
        self.settings.notifications.__dict__["outbox"] = most

    async def alerted(self, row: AlertRow) -> None:
        await self.journal.store(ALERTS, [row])
        self.watch.stored(ALERTS, [row])


Start = Callable[..., Awaitable[WatchStand]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    stands: list[WatchStand] = []

    async def start(*auto: dict[str, Any], **sections: Any) -> WatchStand:
        own = {"auto": list(auto), "members": [{"user_id": "ops", "role": "operator"}]}
        stand = WatchStand(settings(tmp_path, notifications=own, budgets=BUDGETS, **sections))
        stands.append(stand)
        return await stand.start()

    yield start
    for stand in stands:
        await stand.stop()


# Agents -------------------------------------------------------------------------------------------------------
async def test_agents_that_come_and_go(start: Start) -> None:
    stand = await start()
    stand.beat("a")
    stand.beat("b")
    assert await stand.told() == []  # they are new
    stand.beat("a", "offline")
    assert await stand.told() == [("WARNING", "Agent a is offline")]
    (kept,) = stand.history()
    assert (kept["kind"], kept["subject"], kept["actor"]) == ("device_status", "a", "fleetpulse")
    assert kept["message"] == "Device Agent a went from online to offline."
    assert [(each["recipient"], each["outcome"]) for each in kept["outcomes"]] == [("ops", "stored")]
    stand.beat("a")
    stand.beat("b", "风控")
    stand.beat("b", "风控")
    assert (await stand.told())[1:] == [
        ("SUCCESS", "Agent a is online"),
        ("ERROR", "Agent b is under risk control"),
    ]
    stand.beat("b", "banned")
    assert (await stand.told())[3:] == [("URGENT", "Agent b is blocked")]


async def test_who_is_back_before_anyone_looked_was_not_away(start: Start) -> None:
    stand = await start()
    stand.beat("a")
    stand.beat("a", "offline")
    stand.beat("a", "busy")
    assert await stand.told() == []


async def test_silent_agents_are_told_of_as_one_crowd(start: Start) -> None:
    stand = await start()
    names = [f"a{n}" for n in range(CROWD + 6)]
    for name in names:
        stand.beat(name)
    stand.fleet.sweep(stand.moment(), 100)
    stand.moment.pass_by(600)
    stand.watch.agents(stand.fleet.sweep(stand.moment(), 100))
    assert await stand.told() == [("WARNING", f"{len(names)} devices are offline")]
    assert stand.history()[0]["message"] == ("Agent a0, Agent a1, Agent a2, Agent a3, Agent a4 and 4 more.")


async def test_a_restart_is_no_news(start: Start) -> None:
    stand = await start()
    stand.beat("a")
    stand.beat("b")
    stand.beat("b", "offline")
    await stand.told()
    await stand.restart()
    stand.beat("a")
    assert len(await stand.told()) == 1
    stand.beat("b")
    assert (await stand.told())[1:] == [("SUCCESS", "Agent b is online")]


async def test_an_agent_that_moves_to_another_pool_is_not_away(start: Start) -> None:
    stand = await start()
    for pool in ("p", "q"):
        beat = Heartbeat(status="idle", cpu_usage=1, memory_usage=1, pool_id=pool)
        stand.pipeline.heartbeat("a", beat)
    assert await stand.told() == []


# Budgets ------------------------------------------------------------------------------------------------------
async def test_each_level_is_told_once_a_period(start: Start) -> None:
    stand = await start()
    stand.moment.set(NIGHT)
    await stand.spend(7.9)
    assert await stand.told() == []
    await stand.spend(0.2)
    assert await stand.told() == [("WARNING", "Budget daily: 80 % is spent")]
    assert stand.history()[0]["message"] == "$8.10 of $10.00 are spent this day."
    await stand.spend(0.1)
    await stand.restart()
    assert len(await stand.told()) == 1
    await stand.spend(5.0)
    assert (await stand.told())[1:] == [("URGENT", "Budget daily: 100 % is spent")]
    await stand.spend(50.0)
    assert len(await stand.told()) == 2
    stand.moment.pass_by(2 * 3_600)  # it is the day after
    assert len(await stand.told()) == 2
    await stand.spend(9.6, "discord")
    assert (await stand.told())[2:] == [("ERROR", "Budget daily: 95 % is spent")]


async def test_a_level_is_told_once_though_the_note_of_it_was_lost(start: Start) -> None:
    """A process that dies between the two commits: the second telling is known as the same."""
    stand = await start()
    await stand.spend(8.5)
    await stand.told()
    await stand.write("DELETE FROM notes WHERE name = 'notices.budgets'")
    await stand.restart()
    assert len(await stand.told()) == 1
    assert stand.history()[0]["repeats"] == 1


# Alerts -------------------------------------------------------------------------------------------------------
def account_alert(fingerprint: str, status: str = "firing", **fields: Any) -> AlertRow:
    labels = {"alertname": "AccountErrorRate", "account_id": "acc-1"}
    shown = {"alertname": "AccountErrorRate", "labels": json.dumps(labels)} | fields
    return alert(fingerprint, status, annotations=json.dumps({"description": "60 % of it fails"}), **shown)


async def test_an_alert_of_an_account(start: Start) -> None:
    stand = await start()
    await stand.alerted(account_alert("f1"))
    await stand.alerted(account_alert("f1", "resolved"))
    await stand.alerted(alert("f2"))  # of no account
    odd = {"alertname": "A", "account_id": "two\nlines\x00" + "x" * 300}
    await stand.alerted(account_alert("f3", labels=json.dumps(odd)))
    first, second = await stand.told()
    assert first == ("ERROR", "Account acc-1 needs attention")
    assert second[1].startswith("Account two lines xxx")
    assert stand.history()[1]["message"] == "60 % of it fails"


async def test_a_notification_that_comes_back_makes_none(start: Start) -> None:
    stand = await start()
    labels = {"alertname": "Notification", "account_id": "acc-1"}
    await stand.alerted(account_alert("f1", alertname="Notification", labels=json.dumps(labels)))
    assert await stand.told() == []


# Chats --------------------------------------------------------------------------------------------------------
async def test_a_chat_that_needs_a_person(start: Start) -> None:
    stand = await start({"kind": "ai_processing"})
    stand.events.tell("message", "takeover_requested", subject="s1", detail={"message": "A refund."})
    stand.events.tell("message", "ai_processing_failed", subject="s1")
    await until(lambda: stand.watch.queued == 2)
    assert sorted(await stand.told()) == [
        ("WARNING", "The AI could not answer in s1"),
        ("WARNING", "s1 needs a person"),
    ]


# Settings -----------------------------------------------------------------------------------------------------
async def test_each_kind_can_be_turned_off(start: Start) -> None:
    names = ("device_status", "cost_warning", "risk_control", "takeover")
    stand = await start(*({"kind": name, "enabled": False} for name in names))
    stand.beat("a")
    stand.beat("a", "blocked")
    await stand.spend(20)
    await stand.alerted(account_alert("f1"))
    stand.events.tell("message", "takeover_requested", subject="s1")
    stand.events.tell("message", "ai_processing_failed", subject="s1")
    await stand.events.stop()
    assert await stand.told() == []


async def test_for_whom_and_how_is_configured(start: Start) -> None:
    stand = await start(
        {"kind": "device_status", "users": ["u1"], "roles": [], "channels": ["websocket", "sms"]},
        {"kind": "cost_warning", **EVERYONE},
    )
    stand.beat("a")
    stand.beat("a", "offline")
    await stand.spend(20)
    await stand.told()
    about_cost, about_device = stand.history()
    assert {(each["audience"], each["channel"]) for each in about_cost["outcomes"]} == {
        ("all", channel) for channel in ("WEBSOCKET", "EMAIL", "SMS", "PUSH")
    }
    assert {(each["recipient"], each["channel"]) for each in about_device["outcomes"]} == {
        ("u1", "WEBSOCKET"),
        ("u1", "SMS"),
    }


async def test_what_is_refused_is_counted_and_a_budget_told_later(start: Start) -> None:
    stand = await start({"kind": "cost_warning", "channels": ["sms"]})
    stand.bound_outbox(0)
    stand.beat("a")
    stand.beat("a", "offline")
    await stand.spend(20)
    assert await stand.told() == []
    assert stand.value(catalogue.NOTIFICATIONS_DROPPED, "refused") == 2
    stand.bound_outbox(10)
    assert await stand.told() == [("URGENT", "Budget daily: 100 % is spent")]


# Words --------------------------------------------------------------------------------------------------------
def test_maintenance_is_not_told_once_it_is_over() -> None:
    end = NIGHT.replace(minute=30)
    made = kinds.maintenance(NIGHT, end, "The database moves.", Recipients(everyone=True))
    assert made.expires_at == end
    assert made.title == f"Maintenance from {NIGHT:%Y-%m-%d} 23:00 UTC to {NIGHT:%Y-%m-%d} 23:30 UTC"


@pytest.mark.parametrize("length", [1, 199, 200])
def test_the_longest_names_fit(length: int) -> None:
    name, everyone = "客" * length, Recipients(everyone=True)
    made = [
        kinds.device_status(name, name, "online", "offline", everyone),
        kinds.devices_status([name] * 1_000, "offline", everyone),
        kinds.risk_control(name, "x" * 9_000, name * 3, everyone),
        kinds.takeover(name, "", everyone),
        kinds.ai_processing(name, "", everyone),
        kinds.cost_warning(Budget(name=name[:64], limit_usd=10), 95, 9.5, NIGHT, NIGHT, everyone),
    ]
    assert all(len(each.title) <= 200 for each in made)
