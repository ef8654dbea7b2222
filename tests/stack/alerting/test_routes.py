"""Who is told of what, asked of amtool; and when, read in the tree."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.stack.alerting.samples import EVERY_KIND, document, settings
from tests.tools import need_tool, run

from fleetpulse.stack.alerting.amtool import Amtool
from fleetpulse.stack.alerting.document import routing

PEOPLE: dict[str, Any] = {
    "webhook": [{"name": name, "url": "https://example.com/hook"} for name in ("ops", "boss", "search", "night")],
    "email": [{"name": "ann", "to": ["ann@example.com"], "sender": "f@example.com", "smtp_host": "h"}],
    "telegram": [
        {"name": "ann", "bot_token": "1:a", "chat_ids": [1]},
        {"name": "ops", "bot_token": "1:a", "chat_ids": [2]},
    ],
    "sns": [{"name": "boss", "region": "r", "phones": ["+4915112345678"]}],
    "routes": [
        {"receivers": ["boss", "ops"], "severities": ["critical"], "pools": ["vip-*", "a.b"], "go_on": True},
        {"receivers": ["search"], "teams": ["search"]},
        {"receivers": ["night"], "alertnames": ["Budget*"], "matchers": ['budget!="daily"']},
        {"receivers": ["night"], "severities": ["info"], "sources": ['say "hi"']},
    ],
    "default_receivers": ["ops"],
    "users": [{"user_id": "u|1", "receivers": ["ann"]}],
}


def reached(labels: str, folder: Path, **section: Any) -> str:
    path = folder / "routes.yml"
    path.write_text(routing(settings(**section)), "utf-8")
    pairs = dict(each.split("=", 1) for each in labels.split(" "))
    return ",".join(Amtool(need_tool("amtool")).receivers(path, pairs))


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        ("alertname=Watchdog severity=none", "watchdog"),
        ("alertname=A severity=warning", "fleetpulse,ops"),
        ("alertname=A", "fleetpulse,ops"),
        ("alertname=A severity=info", "fleetpulse,nobody"),
        ("alertname=A severity=critical pool_id=vip-1", "fleetpulse,boss,ops"),
        ("alertname=A severity=critical pool_id=a.b team=search", "fleetpulse,boss,ops,search"),
        ("alertname=A severity=critical pool_id=axb", "fleetpulse,ops"),
        ("alertname=A severity=warning pool_id=vip-1", "fleetpulse,ops"),
        ("alertname=A severity=warning team=search", "fleetpulse,search"),
        ("alertname=A severity=info team=search", "fleetpulse,nobody"),
        ("alertname=BudgetAt80Percent severity=warning alert_type=cost period=day budget=bots", "fleetpulse,night"),
        ("alertname=BudgetAt80Percent severity=warning alert_type=cost period=day budget=daily", "fleetpulse,ops"),
    ],
)
def test_alerts_go_where_the_settings_say(labels: str, receivers: str, tmp_path: Path) -> None:
    assert reached(labels, tmp_path, **PEOPLE) == receivers


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        ("channel=email user_id=u|1", "ann (email)"),
        ("channel=push user_id=u|1", "ann (push)"),
        ("channel=sms user_id=u|1", "boss (sms)"),
        ("channel=email user_id=u2", "nobody"),
        ("channel=push user_id=u2", "ops (push),boss (push),search (push),night (push)"),
        ("channel=sms user_id=u2", "boss (sms)"),
        ("channel=carrier-pigeon", "nobody"),
        ("channel=push user_id=u", "ops (push),boss (push),search (push),night (push)"),
    ],
)
def test_notifications_go_over_their_channel_and_never_back(labels: str, receivers: str, tmp_path: Path) -> None:
    asked = f"alertname=Notification severity=critical level=URGENT {labels}"
    names = sorted(reached(asked, tmp_path, **PEOPLE).split(","))
    assert names == sorted(receivers.split(","))


def test_who_gets_notifications_can_be_chosen(tmp_path: Path) -> None:
    chosen = PEOPLE | {"notify_push": ["search"], "notify_sms": [], "notify_email": ["ann"]}
    found = [
        reached(f"alertname=Notification channel={channel}", tmp_path, **chosen)
        for channel in ("push", "sms", "email")
    ]
    assert found == ["search (push)", "nobody", "ann (email)"]


def test_a_notifications_receiver_has_the_channels_of_its_kind_alone() -> None:
    content = document(**PEOPLE).content
    kinds = {each["name"]: {key for key in each if key != "name"} for each in content["receivers"]}
    assert kinds["ann (email)"] == {"email_configs"}
    assert kinds["ann (push)"] == {"telegram_configs"}
    assert kinds["ops (push)"] == {"telegram_configs", "webhook_configs"}
    assert kinds["boss (sms)"] == {"sns_configs"}
    assert kinds["boss"] == {"sns_configs", "webhook_configs"}


def test_without_routes_everyone_is_told(tmp_path: Path) -> None:
    assert reached("alertname=A severity=warning", tmp_path, **EVERY_KIND) == "fleetpulse,ops,chat,值班,pager,hook"


def test_what_users_have_is_theirs(tmp_path: Path) -> None:
    section = EVERY_KIND | {"users": [{"user_id": "u", "receivers": ["chat", "值班", "pager", "ops"]}]}
    assert reached("alertname=A severity=warning", tmp_path, **section) == "fleetpulse,hook"


def leaves(node: dict[str, Any], inherited: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """The leaves with what they inherit; times are not inherited."""
    own = (inherited or {}) | {key: value for key, value in node.items() if key not in ("routes", "matchers")}
    own["matchers"] = [*(inherited or {}).get("matchers", ()), *node.get("matchers", ())]
    down = {key: value for key, value in own.items() if not key.endswith("_intervals")}
    children = [leaf for child in node.get("routes", ()) for leaf in leaves(child, down)]
    return children or [own]


def told_by(name: str, **section: Any) -> list[dict[str, Any]]:
    """The leaves at which this receiver is told."""
    return [leaf for leaf in leaves(document(**section).content["route"]) if leaf["receiver"] == name]


QUIET: dict[str, Any] = {"quiet_hours": [{"start": "22:00", "end": "08:00"}], "webhook": EVERY_KIND["webhook"]}


def test_quiet_hours_hold_but_for_what_is_urgent() -> None:
    muted = {tuple(leaf["matchers"]): leaf.get("mute_time_intervals") for leaf in told_by("hook", **QUIET)}
    budget = ('alert_type = "cost"', 'period =~ "day|week|month"')
    assert muted == {
        (*budget, 'severity = "critical"'): None,
        budget: ["quiet hours"],
        ('severity = "critical"',): None,
        (): ["quiet hours"],
    }


def test_what_is_urgent_can_be_chosen() -> None:
    assert {
        leaf.get("mute_time_intervals", [""])[0] for leaf in told_by("hook", **QUIET, urgent_severities=[])
    } == {"quiet hours"}
    chosen = told_by("hook", **QUIET, urgent_severities=["page", "critical"])
    assert ['severity = "page"'] in [leaf["matchers"] for leaf in chosen if "mute_time_intervals" not in leaf]


def test_a_route_may_ignore_quiet_hours_and_keep_times_of_its_own() -> None:
    times = [
        {"name": "office", "start": "09:00", "end": "17:00"},
        {"name": "lunch", "start": "12:00", "end": "13:00"},
    ]
    route = {
        "receivers": ["hook"],
        "active_during": ["office"],
        "mute_during": ["lunch"],
        "ignore_quiet_hours": True,
    }
    for leaf in told_by("hook", **QUIET, time_intervals=times, routes=[route], default_receivers=[]):
        assert leaf["active_time_intervals"] == ["office"]
        assert leaf["mute_time_intervals"] == ["lunch"]


def test_quiet_hours_spare_notifications() -> None:
    """They would be over before the morning; the exporter keeps quiet hours of its own for them."""
    assert all("mute_time_intervals" not in leaf for leaf in told_by("hook (push)", **QUIET))


def test_a_route_sets_its_own_pace() -> None:
    pace = {"group_by": ["team"], "group_wait": "0s", "group_interval": "1m", "repeat_interval": "3h"}
    for leaf in told_by("hook", webhook=EVERY_KIND["webhook"], routes=[{"receivers": ["hook"], **pace}]):
        assert {key: leaf[key] for key in pace} == pace


def test_the_pace_is_that_of_the_file_that_comes_along() -> None:
    found = told_by("hook", webhook=EVERY_KIND["webhook"])
    assert [leaf["repeat_interval"] for leaf in found] == ["32d", "2h", "12h"]
    assert found[0]["group_by"] == ["alertname", "job", "budget", "period_start"]


def test_notifications_are_told_once_each() -> None:
    for leaf in told_by("hook (push)", webhook=EVERY_KIND["webhook"]):
        assert (leaf["group_by"], leaf["group_wait"], leaf["repeat_interval"]) == (["..."], "0s", "32d")


# Times --------------------------------------------------------------------------------------------------------
def windows(**interval: Any) -> Any:
    (made,) = document(time_intervals=[{"name": "x", **interval}]).content["time_intervals"]
    return made["time_intervals"]


def test_a_time_over_midnight_becomes_two_on_the_right_days() -> None:
    first, second = windows(start="22:00", end="08:00", weekdays=["friday", "sunday"], timezone="Asia/Shanghai")
    assert first == {
        "times": [{"start_time": "22:00", "end_time": "24:00"}],
        "weekdays": ["friday", "sunday"],
        "location": "Asia/Shanghai",
    }
    assert second == {
        "times": [{"start_time": "00:00", "end_time": "08:00"}],
        "weekdays": ["saturday", "monday"],
        "location": "Asia/Shanghai",
    }


@pytest.mark.parametrize(
    ("given", "start", "end"),
    [
        ({"weekdays": ["saturday"]}, "00:00", "24:00"),
        ({"start": "18:00"}, "18:00", "24:00"),
        ({"end": "08:00"}, "00:00", "08:00"),
        ({"start": "18:00", "end": "00:00"}, "18:00", "24:00"),
    ],
)
def test_ends_that_are_not_given_are_midnights(given: dict[str, Any], start: str, end: str) -> None:
    (window,) = windows(**given)
    assert window["times"] == [{"start_time": start, "end_time": end}]
    assert window["location"] == "UTC"


def test_intervals_of_one_name_are_one() -> None:
    twice = [{"name": "x", "weekdays": ["monday"]}, {"name": "x", "days_of_month": ["-1"], "months": [12]}]
    (made,) = document(time_intervals=twice).content["time_intervals"]
    assert [set(window) - {"times", "location"} for window in made["time_intervals"]] == [
        {"weekdays"},
        {"days_of_month", "months"},
    ]


# Inhibition ---------------------------------------------------------------------------------------------------
def test_inhibitions_can_be_added_and_the_general_one_left_out() -> None:
    own = {"source": ['alertname="A"'], "target": ['alertname="B"'], "equal": ["pool_id"]}
    rules = document(inhibitions=[own]).content["inhibit_rules"]
    assert rules[-1]["source_matchers"] == ['alertname="A"']
    assert any(rule["source_matchers"][0] == 'severity = "critical"' for rule in rules)
    fewer = document(inhibit_lower_severity=False).content["inhibit_rules"]
    assert not any(rule["source_matchers"][0] == 'severity = "critical"' for rule in fewer)


def test_the_written_tree_is_the_made_one(tmp_path: Path) -> None:
    made = document(**PEOPLE)
    assert yaml.safe_load(made.text) == made.content
    path = tmp_path / "routes.yml"
    path.write_text(routing(settings(**PEOPLE)), "utf-8")
    assert "search" in run("amtool", "config", "routes", "show", f"--config.file={path}")
