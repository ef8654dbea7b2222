"""The dashboard "Live service": who listens, what they get and how fast, what is given up, how people are told.

Live counters count since the exporter's start, so what is shown of them are rates; only notifications and chat
messages are durable, and exact. Everything adds up over the replicas chosen; quantiles are of all of them together.
"""

from grafana_foundation_sdk.models import dashboard as model

from fleetpulse import catalogue
from fleetpulse.catalogue import Metric
from fleetpulse.config import Thresholds
from grafana.builder.frame import (
    Line,
    Row,
    arrange,
    datasource_variable,
    frame,
    label_variable,
    target_variables,
)
from grafana.builder.panels import Look, card, curves, density, firing_alerts, stacked_areas, stacked_bars
from grafana.builder.promql import growth, or_none, or_nothing, or_zero, quantile, rate, select, step_growth, total
from grafana.builder.queries import Query

TOPIC = ("topic",)
NAME = "{{topic}}"
PLAIN = Look("locale", decimals=0)
COUNT = Look("locale", decimals=0, limits=(0, None), by_threshold=False)
RATE = Look("none", limits=(0, None), by_threshold=False)
BYTES = Look("bytes", limits=(0, None), by_threshold=False)
DEFAULTS = Thresholds()
BAD: tuple[tuple[float | None, str], ...] = ((None, "text"), (1, "red"))
NO_REPLICAS = "No replicas"  # what panels say where no Redis is configured: there are no such series then


def live() -> model.Dashboard:
    """The dashboard, ready to render."""
    board = frame(
        "fleetpulse-live",
        "Live service",
        "The live feed, chat and notifications: who listens, what they get and how fast, what is given up.",
        refresh="10s",
        start="now-1h",
    ).variables(
        [
            datasource_variable(),
            label_variable("topic", "Topic", catalogue.LIVE_SUBSCRIPTIONS, "topic"),
            *target_variables(),
        ]
    )
    made = board.build()
    rows = (_now(), _listeners(), _messages(), _delay(), _given_up(), _chat(), _notifications(), _replicas())
    made.panels = arrange(rows)
    return made


def _now() -> Row:
    alerts = firing_alerts("Alerts", "What is pending or firing, of everything that Fleetpulse watches.")
    cards = (
        _number("Connections", "Open WebSocket connections and event streams.", catalogue.LIVE_CONNECTIONS),
        _number("Subscriptions", "Of the chosen topics.", catalogue.LIVE_SUBSCRIPTIONS),
        _number(
            "Users online", "Users with an open chat connection, over all replicas.", catalogue.CHAT_USERS, "max"
        ),
        _number(
            "Chat sessions",
            "Sessions that somebody has joined, over all replicas.",
            catalogue.CHAT_SESSIONS,
            "max",
        ),
        _number("Waiting mail", "Messages for people who are away.", catalogue.MAILBOX_MESSAGES),
        _number("Outbox", "Deliveries of notifications that wait.", catalogue.NOTIFICATIONS_WAITING),
    )
    return Row("Now", (Line(4, tuple((4, each) for each in cards)), Line(6, ((24, alerts),))))


def _listeners() -> Row:
    connections = stacked_areas(
        "Connections by endpoint",
        "Who listens, and where.",
        [Query(total(select(catalogue.LIVE_CONNECTIONS), ("endpoint",)), "{{endpoint}}", "range")],
        COUNT,
    )
    subscriptions = stacked_areas(
        "Subscriptions by topic",
        "A connection may have many.",
        [Query(total(select(catalogue.LIVE_SUBSCRIPTIONS), TOPIC), NAME, "range")],
        COUNT,
    )
    return Row("Who listens", (Line(8, ((12, connections), (12, subscriptions))),))


def _messages() -> Row:
    published = _by_topic(
        "Published by topic", "Messages a second that came in to be told.", catalogue.LIVE_PUBLISHED
    )
    sent = _by_topic("Sent by topic", "Messages a second that were written to sockets.", catalogue.LIVE_SENT)
    received = curves(
        "Received by endpoint",
        "Messages a second that clients sent.",
        [Query(or_nothing(rate(catalogue.LIVE_RECEIVED, by=("endpoint",))), "{{endpoint}}", "range")],
        RATE,
    )
    refused = curves(
        "Inbound refused",
        "What clients sent and was answered by an error, a second, by its code. Flood: they sent far too much.",
        [Query(or_nothing(rate(catalogue.LIVE_REFUSED, by=("reason",))), "{{reason}}", "range")],
        RATE,
    )
    return Row("What is said", (Line(8, ((12, published), (12, sent))), Line(8, ((12, received), (12, refused)))))


def _delay() -> Row:
    quantiles = curves(
        "Delivery delay",
        "From publishing to the clients' sockets, of the flushes of the chosen topics; estimated from a histogram.",
        [_quantile(0.5), _quantile(0.99)],
        Look(
            "s",
            limits=(0, None),
            thresholds=((None, "transparent"), (DEFAULTS.live_delivery_seconds, "red")),
            by_threshold=False,
            nothing="Nothing sent",
        ),
    )
    slowest = curves(
        "Delivery delay by topic, 99 %",
        "Of each topic's flushes; who reads slowly waits longer, and is not counted.",
        [Query(_topic_quantile(0.99), NAME, "range")],
        Look("s", limits=(0, None), by_threshold=False, nothing="Nothing sent"),
    )
    spread = density(
        "Delivery delays",
        "Flushes a second, by how long the oldest message in them had waited.",
        rate(catalogue.LIVE_DELAY, by=("le",), suffix="_bucket"),
        Look("none", nothing="Nothing sent"),
    )
    return Row("How fast", (Line(9, ((8, quantiles), (8, slowest), (8, spread))),))


def _given_up() -> Row:
    buffered = stacked_areas(
        "Buffered bytes",
        "What waits for slow clients, by topic: shared out in proportion to what each topic sent of late.",
        [Query(total(select(catalogue.LIVE_TOPIC_BUFFERED), TOPIC), NAME, "range")],
        BYTES,
    )
    conflated = _by_topic(
        "Conflated by topic",
        "State that a newer one replaced before it was sent, a second.",
        catalogue.LIVE_CONFLATED,
    )
    gapped = _by_topic(
        "Gapped by topic",
        "Events given up for slow clients, a second; a gap record told each which.",
        catalogue.LIVE_GAPPED,
    )
    evicted = curves(
        "Evictions by reason",
        "Connections closed for cause, a second.",
        [Query(or_nothing(rate(catalogue.LIVE_EVICTIONS, by=("reason",))), "{{reason}}", "range")],
        RATE,
    )
    of_topics = curves(
        "Evicted subscriptions by topic",
        "Subscriptions that ended so, a second.",
        [Query(or_nothing(rate(catalogue.LIVE_EVICTED, by=TOPIC)), NAME, "range")],
        RATE,
    )
    return Row(
        "What is given up",
        (
            Line(8, ((12, buffered), (12, conflated))),
            Line(8, ((8, gapped), (8, evicted), (8, of_topics))),
        ),
    )


def _chat() -> Row:
    online = curves(
        "Users and sessions",
        "Users with an open chat connection, and sessions somebody has joined; over all replicas.",
        [
            Query(total(select(catalogue.CHAT_USERS), operator="max"), "Users online", "range"),
            Query(total(select(catalogue.CHAT_SESSIONS), operator="max"), "Sessions", "range"),
        ],
        COUNT,
    )
    messages = stacked_bars(
        "Chat messages by kind",
        "Stored messages of the own chat; exact. Recorded streams have a dashboard of their own.",
        [
            Query(
                or_nothing(step_growth(catalogue.CHAT_MESSAGES, 'stream="chat"', by=("kind",))),
                "{{kind}}",
                "range",
                step="1m",
            )
        ],
        COUNT,
    )
    mail = curves(
        "Mailbox",
        "Messages that wait for people who are away.",
        [Query(total(select(catalogue.MAILBOX_MESSAGES)), "Waiting", "range")],
        COUNT,
    )
    dropped = curves(
        "Dropped",
        "A second: mail refused (full) or too old (age), chat messages over their rate, events not stored.",
        [
            Query(rate(catalogue.MAILBOX_DROPPED, by=("reason",)), "Mail: {{reason}}", "range"),
            Query(rate(catalogue.CHAT_LIMITED), "Chat messages", "range"),
            Query(rate(catalogue.EVENTS_DROPPED), "Events", "range"),
        ],
        RATE,
    )
    return Row("Chat and mail", (Line(8, ((12, online), (12, messages))), Line(8, ((12, mail), (12, dropped)))))


def _by(label: str, description: str) -> model.Panel:
    grown = or_nothing(step_growth(catalogue.NOTIFICATIONS, by=(label,)))
    query = Query(grown, f"{{{{{label}}}}}", "range", step="1m")
    return stacked_bars(f"Notifications by {label}", description, [query], COUNT)


def _notifications() -> Row:
    outcomes = _by(
        "outcome",
        "What became of each, per recipient and channel; exact. What was held or failed counts again later.",
    )
    channels = _by("channel", "Whatever became of them; exact.")
    failed = card(
        "Failed or given up",
        "Attempts that failed and deliveries given up, in the time range.",
        or_zero(growth(catalogue.NOTIFICATIONS, 'outcome=~"failed|given_up"')),
        Look("locale", decimals=0, thresholds=BAD),
    )
    outbox = curves(
        "Outbox size",
        "Deliveries that are held, tried again or under way, and how many may be.",
        [
            Query(total(select(catalogue.NOTIFICATIONS_WAITING)), "Waiting", "range"),
            Query(total(select(catalogue.NOTIFICATIONS_LIMIT)), "Limit", "range"),
        ],
        COUNT,
    )
    return Row("Notifications", (Line(8, ((8, outcomes), (6, channels), (4, failed), (6, outbox))),))


def _replicas() -> Row:
    connected = card(
        "Redis",
        "Whether every exporter reaches Redis. Without it, each goes on alone, and catches up later.",
        or_none(total(select(catalogue.CLUSTER_CONNECTED), operator="min")),
        Look("none", words={"-1": (NO_REPLICAS, "text"), "0": ("away", "red"), "1": ("connected", "green")}),
    )
    others = card(
        "Other replicas",
        "That an exporter hears of: the least that any of them does.",
        or_none(total(select(catalogue.CLUSTER_REPLICAS), operator="min")),
        Look("none", decimals=0, words={"-1": (NO_REPLICAS, "text")}),
    )
    lag = curves(
        "Rows that have not come yet",
        "Stored by other replicas, and still to come; by table. 0 where there are none.",
        [Query(or_nothing(total(select(catalogue.CLUSTER_RELAY_LAG), ("table",))), "{{table}}", "range")],
        Look("locale", decimals=0, limits=(0, None), by_threshold=False, nothing=NO_REPLICAS),
    )
    talk = curves(
        "Messages between replicas",
        "A second. Dropped: Redis is away; rows are asked for again. 0 where there are none.",
        [
            Query(or_nothing(rate(catalogue.CLUSTER_MESSAGES, by=("direction",))), "{{direction}}", "range"),
            Query(or_nothing(rate(catalogue.CLUSTER_REPLAYS, by=("outcome",))), "replays {{outcome}}", "range"),
            Query(or_nothing(rate(catalogue.CLUSTER_LOST_ROWS)), "rows lost", "range"),
        ],
        Look("none", limits=(0, None), by_threshold=False, nothing=NO_REPLICAS),
    )
    return Row("Replicas", (Line(8, ((4, connected), (4, others), (8, lag), (8, talk))),))


def _number(title: str, description: str, metric: Metric, operator: str = "sum") -> model.Panel:
    return card(title, description, or_zero(total(select(metric), operator=operator)), PLAIN)


def _by_topic(title: str, description: str, metric: Metric) -> model.Panel:
    return stacked_areas(title, description, [Query(or_nothing(rate(metric, by=TOPIC)), NAME, "range")], RATE)


def _quantile(share: float) -> Query:
    return Query(quantile(share, catalogue.LIVE_DELAY), f"{share:.0%}", "range")


def _topic_quantile(share: float) -> str:
    observed = f"{rate(catalogue.LIVE_DELAY, by=TOPIC, suffix='_count')} > 0"
    buckets = rate(catalogue.LIVE_DELAY, by=("topic", "le"), suffix="_bucket")
    return f"histogram_quantile({share}, {buckets}) and on (topic) ({observed})"
