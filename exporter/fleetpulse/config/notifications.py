"""The section about notifications: to whom, over which channels, how often, and when not."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fleetpulse.config.alerting import QuietHours
from fleetpulse.config.sections import Positive, Section
from fleetpulse.signals import Identifier

ChannelName = Literal["websocket", "email", "sms", "push"]
RoleName = Literal["viewer", "reporter", "operator", "admin"]
AutomaticKind = Literal["device_status", "cost_warning", "risk_control", "takeover", "ai_processing"]
Channels = Annotated[tuple[ChannelName, ...], Field(min_length=1, max_length=4)]
People = Annotated[tuple[Identifier, ...], Field(max_length=1_000)]
UNASKED = frozenset({"ai_processing"})  # kinds that are made only where the configuration says so


class Member(Section):
    """A user with a role, who is told of what is addressed to the role while away, too."""

    user_id: Identifier = Field(description="The user.")
    role: RoleName = Field(description="The role.")


class Automatic(Section):
    """Notifications of one kind that are made by themselves: whether, and for whom."""

    kind: AutomaticKind = Field(description="Which.")
    enabled: bool = Field(True, description="Whether they are made.")
    users: People = Field((), description="Users who get them.")
    roles: Annotated[tuple[RoleName, ...], Field(max_length=4)] = Field(
        ("operator",), description="And users with one of these roles; administrators are operators, too."
    )
    sessions: People = Field((), description="And who is in one of these chat sessions.")
    everyone: bool = Field(False, description="All users, in place of these.")
    channels: Channels | None = Field(None, description="Over which channels. Default: by level.")

    @model_validator(mode="after")
    def _somebody(self) -> "Automatic":
        if self.enabled and not (self.users or self.roles or self.sessions or self.everyone):
            raise ValueError("is enabled and for nobody")
        return self


class Notifications(Section):
    """Notifications to people. E-mail, SMS and push go through Alertmanager, to the receivers of `alerting`."""

    auto: Annotated[tuple[Automatic, ...], Field(max_length=5)] = Field(
        (), description="What is made by itself, where it is not to be as by default: to operators, by level."
    )
    channels_info: Channels = Field(("websocket",), description="Channels of level INFO.")
    channels_success: Channels = Field(("websocket",), description="Channels of level SUCCESS.")
    channels_warning: Channels = Field(("websocket",), description="Channels of level WARNING.")
    channels_error: Channels = Field(("websocket", "email"), description="Channels of level ERROR.")
    channels_urgent: Channels = Field(
        ("websocket", "email", "sms", "push"), description="Channels of level URGENT."
    )
    members: Annotated[tuple[Member, ...], Field(max_length=1_000)] = Field(
        (), description="Users with a role; others have it while they are connected with a token that says so."
    )
    quiet_hours: Annotated[tuple[QuietHours, ...], Field(max_length=50)] = Field(
        (), description="When all but URGENT waits, or comes without a sound; besides `alerting.quiet_hours`."
    )
    dedup_seconds: Annotated[int, Field(ge=0, le=31 * 86_400)] = Field(
        300, description="The same notification is told once within this time; 0: every time."
    )
    rate_limit: Positive = Field(
        20, description="Most to one recipient over one channel in `rate_seconds`; the rest comes as one digest."
    )
    rate_seconds: Positive = Field(60, description="How long that is.")
    outbox: Positive = Field(
        10_000, description="Deliveries that may wait to be made; past it, new notifications are refused."
    )
    give_up_seconds: Positive = Field(
        86_400, description="How long a delivery is tried again while Alertmanager does not answer."
    )
    alert_seconds: Annotated[int, Field(ge=60, le=86_400)] = Field(
        300, description="How long Alertmanager holds a notification; longer than it waits before it sends one."
    )
    kept: Positive = Field(
        100_000, description="Notifications kept, for `journal.retention_days` at most; the oldest go first."
    )
    preferences: Positive = Field(10_000, description="Users who may have preferences of their own.")

    @model_validator(mode="after")
    def _distinct(self) -> "Notifications":
        if len({each.kind for each in self.auto}) < len(self.auto):
            raise ValueError("auto: one kind is there twice")
        return self

    def automatic(self, kind: AutomaticKind) -> Automatic:
        """What is configured of a kind, else its default."""
        default = Automatic(kind=kind, enabled=kind not in UNASKED)
        return next((each for each in self.auto if each.kind == kind), default)
