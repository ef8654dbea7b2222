"""What is known of requests, alerts and messages."""

from fleetpulse.catalogue.metric import LATENCY_BUCKETS, metric

REQUESTS = metric(
    "requests_total",
    "counter",
    "Request logs stored, by outcome.",
    ("source", "model", "status"),
    durable=True,
)
REQUEST_DURATION = metric(
    "request_duration_seconds",
    "histogram",
    "How long the reported requests took.",
    ("source", "model"),
    buckets=LATENCY_BUCKETS,
    durable=True,
)
TOKENS = metric(
    "tokens_total",
    "counter",
    "Tokens used. Kinds never overlap, so their sum is the total: input (not from cache), cached, output, "
    "unattributed (reported only as a total).",
    ("source", "model", "kind"),
    durable=True,
)
COST = metric(
    "cost_usd_total",
    "counter",
    "Cost in USD: as reported, else computed from model and tokens. Unpriced requests add nothing here.",
    ("source", "model"),
    durable=True,
)
UNPRICED = metric(
    "unpriced_requests_total",
    "counter",
    "Requests whose cost is unknown: none reported and no price known for the model.",
    ("source", "model"),
    durable=True,
)
PRICED_AFTERWARDS = metric(
    "priced_afterwards_requests_total",
    "counter",
    "Unpriced requests that got a cost later, which is in the totals since. Those still unpriced: "
    "fleetpulse_unpriced_requests_total less this, which has no series before the first.",
    ("source", "model"),
    durable=True,
)
ACTIVE_USERS = metric(
    "active_users",
    "gauge",
    "Distinct users of requests in the last hour (to 5 minutes) and day (to an hour); an estimate, 1.6 % off at "
    "one standard error. Of several replicas each counts its own.",
    ("window",),
)
TOP_USER_REQUESTS = metric(
    "top_user_requests",
    "gauge",
    "Requests in the last day (to an hour) of the users with most of them; limits.top_users says how many.",
    ("user_id",),
)
TOP_USER_COST = metric(
    "top_user_cost_usd",
    "gauge",
    "Cost in USD in the last day (to an hour) of the users who cost most, as known when it was stored.",
    ("user_id",),
)
ALERT_EVENTS = metric(
    "alert_events_total",
    "counter",
    "Alert changes received from Alertmanager and stored.",
    ("alertname", "status"),
    durable=True,
)
CHAT_MESSAGES = metric(
    "chat_messages_total",
    "counter",
    "Stored messages of chats: of the exporter's own (stream `chat`), and of streams that were recorded.",
    ("stream", "kind"),
    durable=True,
)
SIGNALS = metric(
    "ingest_signals_total",
    "counter",
    "Signals received, by what became of each: stored, duplicate, rejected (invalid) or refused (overload; the "
    "sender was told to try again). Stored and duplicate requests and alerts survive restarts.",
    ("kind", "outcome"),
    durable=True,
)
FOLDED_LABELS = metric(
    "label_values_folded_total",
    "counter",
    "Signals whose value of this label was past its cap and was counted under 'other'. Sums stay exact. All but "
    "agent_status survive restarts.",
    ("label",),
    durable=True,
)

OTLP_ITEMS_RECEIVED = metric(
    "otlp_items_received_total",
    "counter",
    "Spans and log records received over OTLP (signal: traces, logs), by what became of each: stored as a request "
    "log, duplicate, ignored (it tells of no model call), rejected (invalid) or refused (overload; the sender was "
    "told to try again).",
    ("signal", "outcome"),
)
