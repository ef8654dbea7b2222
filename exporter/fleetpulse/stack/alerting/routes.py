"""Who is told of what, as Alertmanager's tree of routes.

Alertmanager goes down the tree and tells the first that fits, and goes on behind it where that says `continue`. A
route inherits its parent's receiver, `group_by` and waiting times, not the times in which it is mute: those stand
at each leaf. A leaf has one receiver, so several become children that all fit.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from fleetpulse.config.alerting import QUIET_HOURS, Alerting, Route
from fleetpulse.stack.alerting.receivers import NOTICE_KINDS, notice_name

NOBODY, WATCHDOG, EXPORTER, PEOPLE = "nobody", "watchdog", "fleetpulse", "people"
Node = dict[str, Any]
SEVERITY_CRITICAL = "critical"
NOT_FOR_PEOPLE = "info|none"
# Longer than any period of a budget, and than any notification lives: never repeated.
ONCE = "32d"


@dataclass(frozen=True)
class _Kind:
    """A kind of alert with a pace of its own."""

    matchers: tuple[str, ...]
    pace: tuple[tuple[str, Any], ...]


# Budgets: each level tells once a period. The alert of the next period is another one (`period_start`), so a
# repetition is never wanted. Alertmanager must remember for that long: --data.retention=840h.
BUDGETS = _Kind(
    ('alert_type = "cost"', 'period =~ "day|week|month"'),
    (
        ("group_by", ["alertname", "job", "budget", "period_start"]),
        ("group_wait", "10s"),
        ("group_interval", "5m"),
        ("repeat_interval", ONCE),
    ),
)
CRITICAL = _Kind(
    (f'severity = "{SEVERITY_CRITICAL}"',),
    (("group_wait", "10s"), ("group_interval", "2m"), ("repeat_interval", "2h")),
)
OTHERS = _Kind((), (("group_wait", "30s"), ("group_interval", "5m"), ("repeat_interval", "12h")))


def tree(settings: Alerting) -> Node:
    """The whole tree."""
    return {
        "receiver": NOBODY if settings.names else PEOPLE,
        "group_by": ["alertname", "pool_id", "stream"],
        "routes": [_watchdog(), _notifications(settings), _exporter(), *_people(settings)],
    }


def default_names(settings: Alerting) -> tuple[str, ...]:
    """Who is told of what no route takes."""
    if settings.default_receivers is not None:
        return settings.default_receivers
    taken = {name for route in settings.routes for name in route.receivers} | _personal(settings)
    return tuple(name for name in settings.names if name not in taken) if settings.names else (PEOPLE,)


def used(node: Node) -> tuple[str, ...]:
    """The receivers of a tree, each once, in order of appearance."""
    own = [node["receiver"]] if "receiver" in node else []
    return tuple(dict.fromkeys([*own, *(name for child in node.get("routes", ()) for name in used(child))]))


def _personal(settings: Alerting) -> set[str]:
    return {name for user in settings.users for name in user.receivers}


def _watchdog() -> Node:
    """Always firing: proof that alerting works, for something outside that expects to hear from it."""
    return {
        "matchers": ['alertname = "Watchdog"'],
        "receiver": WATCHDOG,
        "group_wait": "0s",
        "group_interval": "1m",
        "repeat_interval": "5m",
    }


def _exporter() -> Node:
    """The exporter: each alert is a group of its own, so a new one never waits for another's group_interval."""
    return {
        "receiver": EXPORTER,
        "group_by": ["..."],
        "group_wait": "1s",
        "group_interval": "5s",
        "repeat_interval": "24h",
        "continue": True,
    }


# Notifications ------------------------------------------------------------------------------------------------
def _notifications(settings: Alerting) -> Node:
    """What the exporter posts for people goes to people, and never back to the exporter, which knows of it."""
    node: Node = {
        "matchers": ['alertname = "Notification"'],
        "receiver": NOBODY if settings.names else PEOPLE,
        "group_by": ["..."],
        "group_wait": "0s",
        "group_interval": "1m",
        "repeat_interval": ONCE,
    }
    channels = [_channel(settings, channel) for channel in NOTICE_KINDS]
    return node | ({"routes": channels} if settings.names else {})


def _channel(settings: Alerting, channel: str) -> Node:
    """One channel: users with receivers of their own first, then those who get everyone's."""
    able = set(settings.names_of(NOTICE_KINDS[channel]))
    routes = [
        {"matchers": [_matcher("user_id", [user.user_id])]} | _leaf(_notices(names, channel))
        for user in settings.users
        if (names := [name for name in user.receivers if name in able])
    ]
    chosen: tuple[str, ...] | None = getattr(settings, f"notify_{channel}")
    if chosen is None:
        personal = _personal(settings)
        chosen = tuple(name for name in settings.names if name in able and name not in personal)
    if chosen:
        routes.append(_leaf(_notices(chosen, channel)))
    return {"matchers": [f'channel = "{channel}"']} | ({"routes": routes} if routes else {})


def _notices(names: Sequence[str], channel: str) -> list[str]:
    return [notice_name(name, channel) for name in dict.fromkeys(names)]


# People -------------------------------------------------------------------------------------------------------
def _people(settings: Alerting) -> Iterator[Node]:
    """The routes of the settings, then everyone else: one message for an alert and pool or stream."""
    for route in settings.routes:
        inner = {"routes": list(_paced(settings, route.receivers, route))}
        yield {"matchers": _matchers(route)} | inner | ({"continue": True} if route.go_on else {})
    yield {"matchers": [f'severity =~ "{NOT_FOR_PEOPLE}"'], "receiver": NOBODY}
    if names := default_names(settings):
        yield from _paced(settings, names, None)


def _paced(settings: Alerting, names: Sequence[str], route: Route | None) -> Iterator[Node]:
    """A node for each kind of alert; where quiet hours hold, one before it for what is urgent."""
    quiet = bool(settings.quiet_hours) and not (route and route.ignore_quiet_hours)
    for kind in _kinds(route):
        node = {"matchers": list(kind.matchers)} | dict(kind.pace) | (_own_pace(route) if route else {})
        urgent = [each for each in settings.urgent_severities if _may_be(kind, each)] if quiet else []
        if urgent and kind is not CRITICAL:
            matchers = [*kind.matchers, _matcher("severity", urgent)]
            yield node | {"matchers": matchers} | _leaf(names, _times(route, quiet=False))
        muted = quiet and not (urgent and kind is CRITICAL)
        yield _without_empty(node | _leaf(names, _times(route, quiet=muted)))


def _kinds(route: Route | None) -> Iterator[_Kind]:
    """The kinds of alert that fit a route's severities."""
    severities = route.severities if route else ()
    yield BUDGETS
    if not severities or any(_may_be(CRITICAL, each) for each in severities):
        yield CRITICAL
    if not severities or any(_may_be(OTHERS, each) for each in severities):
        yield OTHERS


def _may_be(kind: _Kind, severity: str) -> bool:
    """Whether alerts of this kind can have the severity, `*` in it standing for any text."""
    critical = fnmatchcase(SEVERITY_CRITICAL, severity)
    return critical if kind is CRITICAL else kind is BUDGETS or severity != SEVERITY_CRITICAL


def _without_empty(node: Node) -> Node:
    return {name: value for name, value in node.items() if value != []}


def _own_pace(route: Route) -> Node:
    pace = {
        "group_by": list(route.group_by) if route.group_by else None,
        "group_wait": route.group_wait,
        "group_interval": route.group_interval,
        "repeat_interval": route.repeat_interval,
    }
    return {name: value for name, value in pace.items() if value is not None}


def _times(route: Route | None, *, quiet: bool) -> Node:
    mute = [*(route.mute_during if route else ()), *([QUIET_HOURS] if quiet else ())]
    active = list(route.active_during) if route else []
    times = {"mute_time_intervals": list(dict.fromkeys(mute)), "active_time_intervals": list(dict.fromkeys(active))}
    return {name: value for name, value in times.items() if value}


def _leaf(names: Sequence[str], times: Node | None = None) -> Node:
    """One receiver, or several as children that all fit."""
    leaves = [{"receiver": name} | (times or {}) for name in dict.fromkeys(names)]
    if len(leaves) == 1:
        return leaves[0]
    return {"routes": [*({**leaf, "continue": True} for leaf in leaves[:-1]), leaves[-1]]}


# Matchers -----------------------------------------------------------------------------------------------------
def _matchers(route: Route) -> list[str]:
    labels = {
        "severity": route.severities,
        "alertname": route.alertnames,
        "source": route.sources,
        "pool_id": route.pools,
        "team": route.teams,
    }
    made = [_matcher(label, values) for label, values in labels.items() if values]
    return [*([] if route.severities else [f'severity !~ "{NOT_FOR_PEOPLE}"']), *made, *route.matchers]


def _matcher(label: str, values: Sequence[str]) -> str:
    """Equality with one value, else a regular expression of all; `*` stands for any text."""
    if len(values) == 1 and "*" not in values[0]:
        return f'{label} = "{_quoted(values[0])}"'
    patterns = (".*".join(re.escape(part) for part in value.split("*")) for value in values)
    return f'{label} =~ "{_quoted("|".join(patterns))}"'


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
