"""The section about alerting: who is told of what, over which channels, and when not.

Owns the settings that a whole Alertmanager configuration is rendered from (`stack/alerting/`). Promises that names
refer to something and that every value can stand in that configuration.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from fleetpulse.config.receivers import (
    MOST,
    Address,
    Discord,
    Language,
    Line,
    Mail,
    Name,
    Pagerduty,
    Receiver,
    SecretAddress,
    Slack,
    Sns,
    Telegram,
    Text,
    Webhook,
    Wechat,
    as_text,
    once,
)
from fleetpulse.config.reports import ClockTime
from fleetpulse.config.sections import Section

PUSH_KINDS = ("telegram", "discord", "slack", "wechat", "pagerduty", "webhook")
KINDS = ("email", "sns", *PUSH_KINDS)
QUIET_HOURS = "quiet hours"
_DURATION = re.compile(r"(?=.)(\d{1,3}d)?(\d{1,4}h)?(\d{1,5}m)?(\d{1,6}s)?")
_MATCHER = re.compile(r'[a-zA-Z_][a-zA-Z0-9_]*\s*(=~|!~|!=|=)\s*"(?:[^"\\\n]|\\["\\n])*"')
_MONTH_DAY = re.compile(r"(?:[1-9]|[12]\d|3[01]|-(?:[1-9]|[12]\d|3[01]))")


def _duration(value: str) -> str:
    if not _DURATION.fullmatch(value):
        raise ValueError("is not a duration such as 30s, 5m, 1h30m or 2d")
    return value


def _interval(value: str) -> str:
    if not re.search(r"[1-9]", _duration(value)):
        raise ValueError("must be longer than nothing")
    return value


def _matcher(value: str) -> str:
    if not _MATCHER.fullmatch(value):
        raise ValueError('is not a matcher such as team="search", team!="search", team=~"a|b" or team!~"a|b"')
    return value


def _month_days(value: str) -> str:
    first, colon, last = value.partition(":")
    if not _MONTH_DAY.fullmatch(first) or (colon and not _MONTH_DAY.fullmatch(last)):
        raise ValueError("is not a day of the month or a range of them: 1, 1:7, -3:-1")
    if colon and ((first[0] == "-") != (last[0] == "-") or int(first) > int(last)):
        raise ValueError("does not go from an earlier day to a later one, counted from the same end of the month")
    return value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("is not a time zone name such as Europe/Berlin or Asia/Shanghai") from error
    return value


Duration = Annotated[str, AfterValidator(_duration)]
Interval = Annotated[str, AfterValidator(_interval)]
Matcher = Annotated[str, AfterValidator(_matcher), StringConstraints(max_length=1_000)]
LabelName = Annotated[str, StringConstraints(pattern=r"^([a-zA-Z_][a-zA-Z0-9_]*|\.\.\.)$", max_length=200)]
MonthDays = Annotated[str, BeforeValidator(as_text), AfterValidator(_month_days)]
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
Names = Annotated[tuple[Name, ...], Field(max_length=MOST)]
Values = Annotated[tuple[Line, ...], Field(max_length=MOST)]
ZoneName = Annotated[str, AfterValidator(_zone)]


class Route(Section):
    """Which alerts go to whom. Routes are tried in order; all that is given must fit, `*` stands for any text."""

    receivers: Annotated[tuple[Name, ...], Field(min_length=1, max_length=MOST)] = Field(description="Who is told.")
    severities: Values = Field((), description="Default: all but `info` and `none`.")
    alertnames: Values = Field((), description="Alerts by name: `Budget*`.")
    sources: Values = Field((), description="By the label `source`.")
    pools: Values = Field((), description="Agent pools, by the label `pool_id`.")
    teams: Values = Field((), description="By the label `team`, which rules of your own may set.")
    matchers: Annotated[tuple[Matcher, ...], Field(max_length=MOST)] = Field(
        (), description='Any labels: `["account_id=~\\"vip.*\\""]`.'
    )
    group_by: Annotated[tuple[LabelName, ...], Field(min_length=1, max_length=MOST)] | None = Field(
        None, description="What has these labels in common is one message. Default: as without routes."
    )
    group_wait: Duration | None = Field(None, description="How long the first message waits for more.")
    group_interval: Interval | None = Field(None, description="How long what joins a group later waits.")
    repeat_interval: Interval | None = Field(None, description="When what still fires is told again.")
    active_during: Names = Field((), description="Intervals in which alone it tells.")
    mute_during: Names = Field((), description="Intervals in which it does not tell.")
    ignore_quiet_hours: bool = Field(False, description="Whether it tells in quiet hours, too.")
    go_on: bool = Field(False, description="Whether the routes after it are tried as well.")


class TimeInterval(Section):
    """A time that routes refer to. Several of one name are one that holds all of them."""

    name: Name = Field(description="What routes call it.")
    start: ClockTime | None = Field(None, description="Beginning, within the day: `09:00`. Default: midnight.")
    end: ClockTime | None = Field(None, description="End; before `start` it is on the day after.")
    weekdays: tuple[Weekday, ...] = Field((), description="Days on which it begins. Default: every day.")
    days_of_month: Annotated[tuple[MonthDays, ...], Field(max_length=MOST)] = Field(
        (), description="`1`, `1:7`, from the end `-3:-1`."
    )
    months: tuple[Annotated[int, Field(ge=1, le=12)], ...] = Field((), description="Numbers of months.")
    timezone: ZoneName | None = Field(None, description="Default: `timezone`.")

    @property
    def overnight(self) -> bool:
        """Whether it ends on the day after it began; an end at 00:00 is midnight, still the same day."""
        return bool(self.start and self.end and self.end != "00:00" and self.end < self.start)

    @model_validator(mode="after")
    def _some_time(self) -> "TimeInterval":
        if (self.start or "00:00") == self.end:
            raise ValueError("ends when it starts")
        if self.overnight and (self.days_of_month or self.months):
            raise ValueError("over midnight it can be narrowed by weekdays alone")
        return self


class QuietHours(Section):
    """Hours in which people are left alone; what still fires afterwards is told then."""

    start: ClockTime = Field(description="Beginning: `22:00`.")
    end: ClockTime = Field(description="End: `08:00`; before `start` it is on the day after.")
    weekdays: tuple[Weekday, ...] = Field((), description="Days on which they begin. Default: every day.")
    timezone: ZoneName | None = Field(None, description="Default: `timezone`.")

    @model_validator(mode="after")
    def _some_time(self) -> "QuietHours":
        if self.start == self.end:
            raise ValueError("ends when it starts")
        return self


class Inhibition(Section):
    """While an alert that fits `source` fires, those that fit `target` are not told."""

    source: Annotated[tuple[Matcher, ...], Field(min_length=1, max_length=MOST)] = Field(
        description='Matchers: `["alertname=\\"ExporterDown\\""]`.'
    )
    target: Annotated[tuple[Matcher, ...], Field(min_length=1, max_length=MOST)] = Field(description="Matchers.")
    equal: Annotated[tuple[LabelName, ...], Field(max_length=MOST)] = Field(
        (), description="Labels whose values must be the same; missing in both is the same, too."
    )


class Person(Section):
    """A user of the live service: where notifications to this user go, over e-mail, SMS and push."""

    user_id: Text = Field(description="The user's id, as in the notification.")
    receivers: Annotated[tuple[Name, ...], Field(min_length=1, max_length=MOST)] = Field(
        description="Names; each notification goes over the channels of its kind. They get no one else's alerts, "
        "unless a route says so."
    )


class Alerting(Section):
    """Who is told, from which Alertmanager's whole configuration is rendered (docs/alerting.md)."""

    lang: Language = Field("en", description="Language of messages; `both` says each thing twice.")
    email: Annotated[tuple[Mail, ...], Field(max_length=MOST)] = Field((), description="E-mail.")
    sns: Annotated[tuple[Sns, ...], Field(max_length=MOST)] = Field((), description="SMS, by Amazon SNS.")
    telegram: Annotated[tuple[Telegram, ...], Field(max_length=MOST)] = Field((), description="Telegram bots.")
    discord: Annotated[tuple[Discord, ...], Field(max_length=MOST)] = Field((), description="Discord channels.")
    slack: Annotated[tuple[Slack, ...], Field(max_length=MOST)] = Field((), description="Slack channels.")
    wechat: Annotated[tuple[Wechat, ...], Field(max_length=MOST)] = Field((), description="WeChat Work.")
    pagerduty: Annotated[tuple[Pagerduty, ...], Field(max_length=MOST)] = Field((), description="PagerDuty.")
    webhook: Annotated[tuple[Webhook, ...], Field(max_length=MOST)] = Field((), description="Webhooks.")
    routes: Annotated[tuple[Route, ...], Field(max_length=100)] = Field((), description="Who is told of what.")
    default_receivers: Names | None = Field(
        None, description="Who is told of what no route takes. Default: all that no route and no user names."
    )
    notify_email: Names | None = Field(
        None, description="Who gets notifications by e-mail. Default: all e-mail receivers that no user names."
    )
    notify_sms: Names | None = Field(
        None, description="Who gets notifications by SMS. Default: all of `sns` that no user names."
    )
    notify_push: Names | None = Field(
        None, description="Who gets push notifications. Default: all others that no user names."
    )
    users: Annotated[tuple[Person, ...], Field(max_length=1_000)] = Field(
        (), description="Users with receivers of their own."
    )
    time_intervals: Annotated[tuple[TimeInterval, ...], Field(max_length=100)] = Field(
        (), description="Times that routes refer to."
    )
    quiet_hours: Annotated[tuple[QuietHours, ...], Field(max_length=MOST)] = Field(
        (), description="When nobody is told, but of what is urgent."
    )
    urgent_severities: Values = Field(("critical",), description="Severities that are told in quiet hours, too.")
    inhibit_lower_severity: bool = Field(
        True, description="Whether a critical alert keeps the warning of the same name about the same thing quiet."
    )
    inhibitions: Annotated[tuple[Inhibition, ...], Field(max_length=100)] = Field(
        (), description="Further alerts that keep others quiet."
    )
    watchdog_url: SecretAddress | None = Field(
        None, description="Called every five minutes while alerting works: a dead man's switch."
    )
    watchdog_url_file: Path | None = Field(None, description="File that holds it.")
    exporter_url: Address | None = Field(
        None, description="Where Alertmanager reaches the exporter. Default: loopback at `port`."
    )
    exporter_token_file: Path | None = Field(
        None, description="File with the token that Alertmanager shows the exporter, where that asks for one."
    )

    @property
    def configured(self) -> bool:
        """Whether anything is set at all; without, Alertmanager gets the file that comes with Fleetpulse."""
        return self != Alerting()

    @property
    def channels(self) -> tuple[Receiver, ...]:
        """Every channel, kind by kind."""
        return tuple(each for kind in KINDS for each in getattr(self, kind))

    @property
    def names(self) -> tuple[str, ...]:
        """The receivers' names, in order of their first channel."""
        return tuple(dict.fromkeys(each.name for each in self.channels))

    def names_of(self, kinds: Iterable[str]) -> tuple[str, ...]:
        """The names that have a channel of one of these kinds."""
        return tuple(dict.fromkeys(each.name for kind in kinds for each in getattr(self, kind)))

    @model_validator(mode="after")
    def _names_are_known(self) -> "Alerting":
        _known("routes", (name for route in self.routes for name in route.receivers), self.names)
        _known("users", (name for user in self.users for name in user.receivers), self.names)
        _known("default_receivers", self.default_receivers or (), self.names)
        for setting, kinds in (("notify_email", ("email",)), ("notify_sms", ("sns",)), ("notify_push", PUSH_KINDS)):
            _known(setting, getattr(self, setting) or (), self.names_of(kinds))
        intervals = [name for route in self.routes for name in (*route.active_during, *route.mute_during)]
        _known("routes", intervals, [each.name for each in self.time_intervals])
        return self

    @model_validator(mode="after")
    def _distinct(self) -> "Alerting":
        if len({user.user_id for user in self.users}) < len(self.users):
            raise ValueError("users: one user is there twice")
        if any(each.name == QUIET_HOURS for each in self.time_intervals):
            raise ValueError(f"time_intervals: {QUIET_HOURS} is a name that Fleetpulse uses itself")
        once(self, "watchdog_url", "watchdog_url_file", needed=False)
        return self


def _known(setting: str, named: Iterable[str], names: Iterable[str]) -> None:
    if unknown := sorted(set(named) - set(names)):
        raise ValueError(f"{setting}: {unknown[0]} names nothing of the kind")
