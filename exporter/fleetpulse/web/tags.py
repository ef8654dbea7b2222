"""The groups of the API's operations, in the order in which people meet them."""

from collections.abc import Collection

TAGS = {
    "Sending": "What programs report: request logs and heartbeats.",
    "Requests": "Stored request logs: filters, search, export.",
    "Messages": "Stored messages of recorded streams and the chat: filters, search, statistics, export, replay.",
    "Statistics": "Sums of request logs over windows of time, from Prometheus.",
    "Money": "Budgets, prices, and requests whose cost is not known.",
    "OpenTelemetry": "Spans and log records of instrumented applications, over OTLP/HTTP.",
    "Agents": "Agent pools as they are now.",
    "Accounts": "Group accounts: what they did, whether they are online, and their alerts.",
    "Alerts": "What fires and what fired, and the way back from Alertmanager.",
    "Live feed": "WebSocket addresses. Their messages: `docs/live.md`.",
    "Chat": "The chat service: its WebSocket addresses, and stored messages. Its messages: `docs/chat.md`.",
    "Notifications": "Notifications to people over live connections, e-mail, SMS and push.",
    "Administration": "The live service: who is connected, and what administrators do about it, with its audit.",
    "Operations": "Metrics, health and readiness, for machines and those who run them.",
    "Pages": "Pages for people, and this document.",
}


def listed(used: Collection[str]) -> list[dict[str, str]]:
    """The Tag Objects of the tags in use, known ones first."""
    known = [{"name": name, "description": text} for name, text in TAGS.items() if name in used]
    return known + [{"name": name} for name in sorted(set(used) - set(TAGS))]


def rank(tag: str) -> int:
    """A tag's place."""
    return list(TAGS).index(tag) if tag in TAGS else len(TAGS)
