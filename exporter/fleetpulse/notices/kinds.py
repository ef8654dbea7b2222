"""Ready-made notifications: what each kind says, how much it matters, and what of it is the same.

Kinds and their occasions are those of the live service's document. Words are kept in one place, here.
"""

from collections.abc import Sequence
from datetime import datetime

from fleetpulse.config import Budget
from fleetpulse.notices.model import Level, NotificationRequest, Recipients

DAY_SECONDS = 86_400
FLAP_SECONDS = 60
NAMED = 5  # of many agents
TITLE, MESSAGE = 200, 4_000
RISK, BLOCKED, ONLINE, OFFLINE = "risk_control", "blocked", "online", "offline"
RISKY_WORDS = {  # what agents' statuses say, in the words of the document, too
    "risk_control": RISK,
    "risk-control": RISK,
    "risk control": RISK,
    "风控": RISK,
    "blocked": BLOCKED,
    "banned": BLOCKED,
    "被封": BLOCKED,
    "封禁": BLOCKED,
}
STATES = {
    ONLINE: Level.SUCCESS,
    OFFLINE: Level.WARNING,
    RISK: Level.ERROR,
    BLOCKED: Level.URGENT,
}
WORDS = {ONLINE: "online", OFFLINE: "offline", RISK: "under risk control", BLOCKED: "blocked"}
COST_LEVELS = {80: Level.WARNING, 95: Level.ERROR, 100: Level.URGENT}


def _line(text: str) -> str:
    """A text as a title: one line, of bounded length."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())[:TITLE] or "?"


def _text(text: str) -> str:
    return text.replace("\0", "")[:MESSAGE]


def device_state(status: str, *, up: bool) -> str:
    """An agent's state as these notifications know it: online, offline, risk_control, blocked."""
    return RISKY_WORDS.get(status, ONLINE) if up else OFFLINE


def device_status(device: str, name: str, old: str, new: str, recipients: Recipients) -> NotificationRequest:
    """A device went from one state to another: online, offline, risk_control, blocked."""
    title = f"{name} is {WORDS.get(new, new)}"
    return NotificationRequest(
        title=_line(title),
        message=_text(f"Device {name} went from {WORDS.get(old, old)} to {WORDS.get(new, new)}."),
        level=STATES.get(new, Level.INFO),
        kind="device_status",
        subject=device,
        recipients=recipients,
        dedup_key=f"device_status:{old}:{new}:{device}"[:TITLE],
        dedup_seconds=FLAP_SECONDS,
        metadata={"device_id": device, "old": old, "new": new},
    )


def devices_status(names: Sequence[str], new: str, recipients: Recipients) -> NotificationRequest:
    """Many devices went to one state at once."""
    listed = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
    return NotificationRequest(
        title=f"{len(names)} devices are {WORDS.get(new, new)}",
        message=_text(f"{listed}."),
        level=STATES.get(new, Level.INFO),
        kind="device_status",
        recipients=recipients,
        dedup_seconds=0,
        metadata={"new": new, "devices": len(names)},
    )


def cost_warning(  # noqa: PLR0913 - what it says
    budget: Budget, percent: int, spent: float, until: datetime, now: datetime, recipients: Recipients
) -> NotificationRequest:
    """A budget is spent to 80, 95 or 100 % (`percent`) of its limit, in USD; told once `until` its period ends."""
    left = (until - now).total_seconds()
    return NotificationRequest(
        title=_line(f"Budget {budget.name}: {percent} % is spent"),
        message=f"${spent:,.2f} of ${budget.limit_usd:,.2f} are spent this {budget.period}.",
        level=COST_LEVELS[percent],
        kind="cost_warning",
        subject=_line(budget.name),
        recipients=recipients,
        dedup_key=f"cost_warning:{percent}:{until.isoformat()}:{_line(budget.name)}"[:TITLE],
        dedup_seconds=int(min(max(left, 60), 31 * DAY_SECONDS)),
        metadata={"budget": budget.name, "percent": percent, "spent_usd": spent, "limit_usd": budget.limit_usd},
    )


def risk_control(account: str, text: str, alert: str, recipients: Recipients) -> NotificationRequest:
    """Something is wrong with a group account; `alert` says which time."""
    return NotificationRequest(
        title=_line(f"Account {account} needs attention"),
        message=_text(text),
        level=Level.ERROR,
        kind="risk_control",
        subject=_line(account),
        recipients=recipients,
        dedup_key=f"risk_control:{alert}"[:TITLE],
        dedup_seconds=DAY_SECONDS,
        metadata={"account_id": account},
    )


def maintenance(start: datetime, end: datetime, text: str, recipients: Recipients) -> NotificationRequest:
    """The service will be maintained between two moments; not told any more once it is over."""
    return NotificationRequest(
        title=f"Maintenance from {_moment(start)} to {_moment(end)}",
        message=text,
        level=Level.WARNING,
        kind="maintenance",
        recipients=recipients,
        dedup_key=f"maintenance:{start.isoformat()}:{end.isoformat()}",
        expires_at=end,
        metadata={"start": start.isoformat(), "end": end.isoformat()},
    )


def ai_processing(session: str, text: str, recipients: Recipients) -> NotificationRequest:
    """An AI could not answer in a chat session."""
    return NotificationRequest(
        title=_line(f"The AI could not answer in {session}"),
        message=_text(text),
        level=Level.WARNING,
        kind="ai_processing",
        subject=_line(session),
        recipients=recipients,
        metadata={"session_id": session},
    )


def takeover(session: str, text: str, recipients: Recipients) -> NotificationRequest:
    """A chat session needs a person to take over from the AI."""
    return NotificationRequest(
        title=_line(f"{session} needs a person"),
        message=_text(text),
        level=Level.WARNING,
        kind="takeover",
        subject=_line(session),
        recipients=recipients,
        metadata={"session_id": session},
    )


def _moment(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M %Z}".strip()
