"""Makes deliveries: over the live connections by the router, over everything else by Alertmanager.

Promises: what it returns says what became of each. What Alertmanager did not take is to be tried again; what went
to a socket, or into a mailbox, is not.
"""

import asyncio
import json
import logging
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from fleetpulse.chat.routing import Delivery, Outcome, Router
from fleetpulse.errors import FleetpulseError, UpstreamError
from fleetpulse.journal.notices import NoticeRow, Target
from fleetpulse.notices.audience import SESSION, USER
from fleetpulse.notices.model import Channel, Level, wire
from fleetpulse.query.alertmanager import Alertmanager, PostedAlert

ALERTNAME = "Notification"  # what the routes know these alerts by, and the way back, too
AVOID_SECONDS = 0.5  # after a failure Alertmanager is not asked again for so long
TOGETHER = 100  # users written to at the same time: their mailboxes share commits
# The best that became of it for any connection of a recipient.
BEST = tuple(map(str, Outcome))
log = logging.getLogger(__name__)


class Load(NamedTuple):
    """One delivery to be made."""

    notice: NoticeRow
    target: Target
    channel: Channel
    quiet: bool = False


class Fate(NamedTuple):
    """What became of one: with `again` it is to be tried again."""

    outcome: str
    detail: str = ""
    again: bool = False


class Carrier:
    """Carries notifications to whoever brings them to people."""

    def __init__(self, router: Router, alertmanager: Alertmanager, alert_seconds: float) -> None:
        """Alertmanager holds what it is given for `alert_seconds`."""
        self._router = router
        self._alertmanager = alertmanager
        self._alert_seconds = alert_seconds
        self._avoid_until = 0.0
        self._why = ""

    async def carry(self, loads: Sequence[Load], now: float, *, dry_run: bool = False) -> list[Fate]:
        """Makes all, and says what became of each, in order."""
        live = [at for at, load in enumerate(loads) if load.channel is Channel.WEBSOCKET]
        others = [at for at, load in enumerate(loads) if load.channel is not Channel.WEBSOCKET]
        told, posted = await asyncio.gather(
            self._speak([loads[at] for at in live], dry_run=dry_run),
            self._post([loads[at] for at in others], now, dry_run=dry_run),
        )
        fates = dict(zip(live, told, strict=True)) | dict(zip(others, posted, strict=True))
        return [fates[at] for at in range(len(loads))]

    # Live connections ---------------------------------------------------------------------------------------------
    async def _speak(self, loads: Sequence[Load], *, dry_run: bool) -> list[Fate]:
        fates: list[Fate] = []
        for start in range(0, len(loads), TOGETHER):
            group = loads[start : start + TOGETHER]
            fates += await asyncio.gather(*(self._say(load, dry_run=dry_run) for load in group))
        return fates

    async def _say(self, load: Load, *, dry_run: bool) -> Fate:
        message = wire(load.notice, quiet=load.quiet)
        try:
            reached = await self._route(load, message, dry_run=dry_run)
        except FleetpulseError as error:  # a full mailbox or disk
            return Fate("failed", error.detail, again=True)
        except Exception as error:  # one recipient must not cost the others theirs
            log.exception("the notification %s cannot be delivered", load.notice.notification_id)
            return Fate("failed", type(error).__name__, again=True)
        found = {str(each.outcome) for each in reached}
        return Fate(next((each for each in BEST if each in found), "offline"))

    async def _route(self, load: Load, message: Mapping[str, Any], *, dry_run: bool) -> Sequence[Delivery]:
        audience, name = load.target
        if audience == USER:
            delivery_id = mail_id(load.notice.notification_id, name)
            return await self._router.to_user(
                name, message, kind="notification", delivery_id=delivery_id, dry_run=dry_run
            )
        if audience == SESSION:
            return await self._router.to_session(name, message, dry_run=dry_run)
        return await self._router.to_all(message, dry_run=dry_run)

    # Alertmanager -------------------------------------------------------------------------------------------------
    async def _post(self, loads: Sequence[Load], now: float, *, dry_run: bool) -> list[Fate]:
        if not loads or dry_run:
            return [Fate("sent")] * len(loads)
        began = time.monotonic()
        if began < self._avoid_until:
            return [Fate("failed", self._why, again=True)] * len(loads)
        try:
            await self._alertmanager.post_alerts([self._alert(load, now) for load in loads])
        except UpstreamError as error:
            self._why = error.detail
            ended = time.monotonic()  # where it only fails slowly, half of the time at most is spent on it
            self._avoid_until = ended + max(AVOID_SECONDS, ended - began)
            return [Fate("failed", error.detail, again=True)] * len(loads)
        return [Fate("sent")] * len(loads)

    def _alert(self, load: Load, now: float) -> PostedAlert:
        notice = load.notice
        shown = json.loads(notice.document)
        labels = {
            "alertname": ALERTNAME,
            "severity": Level(notice.level).severity,
            "level": notice.level,
            "channel": load.channel.lower(),
            "kind": notice.kind,
            "notification_id": notice.notification_id,  # without it, the next of its kind would be the same alert
        }
        people = {"user_id": load.target.recipient} if load.target.audience == USER else {}
        text = {"summary": shown["title"], "description": shown["message"], "action_url": shown["action_url"] or ""}
        return PostedAlert(
            labels=labels | people,
            annotations={name: value for name, value in text.items() if value},
            starts_at=datetime.fromtimestamp(notice.created_at, UTC),
            ends_at=datetime.fromtimestamp(now + self._alert_seconds, UTC),
        )


def mail_id(notification_id: str, user_id: str) -> str:
    """What a user's mailbox knows a notification by."""
    return f"{notification_id}/{user_id}"


def unpacked_mail_id(delivery_id: str, user_id: str) -> str:
    """The notification that a mailbox knows by such a name."""
    return delivery_id.removesuffix(f"/{user_id}")
