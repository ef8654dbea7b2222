"""Every metric Fleetpulse exports: name, type, help, labels, buckets. Names stand here and nowhere else.

`docs/metrics.md` is generated from this file, and a test fails when a rule or a dashboard names a metric that
is not here. Names carry the prefix `fleetpulse_`; units are base units (seconds, bytes, USD, ratios 0-1).

Durability: a DURABLE metric's value is kept in the journal, changed in the same transaction as the rows behind
it, and restored at start, so it never resets. The others count since the process started.
"""

from dataclasses import dataclass
from typing import Literal

PREFIX = "fleetpulse_"
Kind = Literal["counter", "gauge", "histogram"]

LATENCY_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 120.0)
FAST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
ROWS_BUCKETS = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0)


@dataclass(frozen=True)
class Metric:
    """One metric family; `name` is the family's full name as PromQL sees it (counters end in `_total`)."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    durable: bool = False


def _metric(  # noqa: PLR0913 - one argument per column of the catalogue
    name: str,
    kind: Kind,
    help_text: str,
    labels: tuple[str, ...] = (),
    *,
    buckets: tuple[float, ...] = (),
    durable: bool = False,
) -> Metric:
    return Metric(PREFIX + name, kind, help_text, labels, buckets, durable)


# Request logs -------------------------------------------------------------------------------------------------
REQUESTS = _metric(
    "requests_total",
    "counter",
    "Request logs stored, by outcome.",
    ("source", "model", "status"),
    durable=True,
)
REQUEST_DURATION = _metric(
    "request_duration_seconds",
    "histogram",
    "How long the reported requests took.",
    ("source", "model"),
    buckets=LATENCY_BUCKETS,
    durable=True,
)
TOKENS = _metric(
    "tokens_total",
    "counter",
    "Tokens used. Kinds never overlap, so their sum is the total: input (not from cache), cached, output, "
    "unattributed (reported only as a total).",
    ("source", "model", "kind"),
    durable=True,
)
COST = _metric(
    "cost_usd_total",
    "counter",
    "Cost in USD: as reported, else computed from model and tokens. Unpriced requests add nothing here.",
    ("source", "model"),
    durable=True,
)
UNPRICED = _metric(
    "unpriced_requests_total",
    "counter",
    "Requests whose cost is unknown: none reported and no price known for the model.",
    ("source", "model"),
    durable=True,
)
PRICED_AFTERWARDS = _metric(
    "priced_afterwards_requests_total",
    "counter",
    "Unpriced requests that got a cost later, which is in the totals since. Those still unpriced: "
    "fleetpulse_unpriced_requests_total less this, which has no series before the first.",
    ("source", "model"),
    durable=True,
)
ACTIVE_USERS = _metric(
    "active_users",
    "gauge",
    "Distinct users of requests in the last hour (to 5 minutes) and day (to an hour); an estimate, 1.6 % off at "
    "one standard error. Of several replicas each counts its own.",
    ("window",),
)
TOP_USER_REQUESTS = _metric(
    "top_user_requests",
    "gauge",
    "Requests in the last day (to an hour) of the users with most of them; limits.top_users says how many.",
    ("user_id",),
)
TOP_USER_COST = _metric(
    "top_user_cost_usd",
    "gauge",
    "Cost in USD in the last day (to an hour) of the users who cost most, as known when it was stored.",
    ("user_id",),
)
ALERT_EVENTS = _metric(
    "alert_events_total",
    "counter",
    "Alert changes received from Alertmanager and stored.",
    ("alertname", "status"),
    durable=True,
)
CHAT_MESSAGES = _metric(
    "chat_messages_total",
    "counter",
    "Stored messages of chats: of the exporter's own (stream `chat`), and of streams that were recorded.",
    ("stream", "kind"),
    durable=True,
)
SIGNALS = _metric(
    "ingest_signals_total",
    "counter",
    "Signals received, by what became of each: stored, duplicate, rejected (invalid) or refused (overload; the "
    "sender was told to try again). Stored and duplicate requests and alerts survive restarts.",
    ("kind", "outcome"),
    durable=True,
)
FOLDED_LABELS = _metric(
    "label_values_folded_total",
    "counter",
    "Signals whose value of this label was past its cap and was counted under 'other'. Sums stay exact. All but "
    "agent_status survive restarts.",
    ("label",),
    durable=True,
)

OTLP_ITEMS_RECEIVED = _metric(
    "otlp_items_received_total",
    "counter",
    "Spans and log records received over OTLP (signal: traces, logs), by what became of each: stored as a request "
    "log, duplicate, ignored (it tells of no model call), rejected (invalid) or refused (overload; the sender was "
    "told to try again).",
    ("signal", "outcome"),
)

# Budgets and thresholds ---------------------------------------------------------------------------------------
BUDGET_LIMIT = _metric(
    "budget_limit_usd", "gauge", "Limit of each configured budget.", ("budget", "scope", "target", "period")
)
BUDGET_SPENT = _metric(
    "budget_spent_usd",
    "gauge",
    "Exact spend in the budget's current period, which begins at midnight, Monday or the first in the configured "
    "time zone. A request counts when it is received.",
    ("budget", "scope", "target", "period"),
)
BUDGET_COST = _metric(
    "budget_cost_usd_total",
    "counter",
    "Spend of the budget over all its periods: what a pace is measured by, across the turn of a period.",
    ("budget", "scope", "target", "period"),
)
BUDGET_CORRECTED = _metric(
    "budget_corrected_usd_total",
    "counter",
    "Of the spend over all periods, what was added by pricing stored requests afterwards.",
    ("budget", "scope", "target", "period"),
)
BUDGET_UNPRICED = _metric(
    "budget_unpriced_requests",
    "gauge",
    "Requests of the current period that the budget is of and that have no cost (yet): while there are any, the "
    "spend is a lower bound.",
    ("budget", "scope", "target", "period"),
)
BUDGET_PERIOD_START = _metric(
    "budget_period_start_timestamp_seconds",
    "gauge",
    "When the budget's current period began.",
    ("budget", "scope", "target", "period"),
)
BUDGET_PERIOD_END = _metric(
    "budget_period_end_timestamp_seconds",
    "gauge",
    "When the budget's current period ends.",
    ("budget", "scope", "target", "period"),
)
THRESHOLD = _metric(
    "threshold",
    "gauge",
    "Configured alert thresholds, so that rules compare with configuration: error_rate, account_error_rate, "
    "cpu_warning, cpu_critical, memory_warning, memory_critical (ratios 0-1), heartbeat_silence_seconds, "
    "error_rate_min_requests, account_error_min_activities, account_idle_seconds, live_delivery_seconds.",
    ("name",),
)

# Agents -------------------------------------------------------------------------------------------------------
AGENT_UP = _metric(
    "agent_up",
    "gauge",
    "1 while the agent's heartbeats arrive, 0 once silent or offline.",
    ("pool_id", "agent_id"),
)
AGENT_CPU = _metric(
    "agent_cpu_usage_ratio", "gauge", "CPU use in the newest heartbeat, 0-1.", ("pool_id", "agent_id")
)
AGENT_MEMORY = _metric(
    "agent_memory_usage_ratio", "gauge", "Memory use in the newest heartbeat, 0-1.", ("pool_id", "agent_id")
)
AGENT_TASKS = _metric(
    "agent_running_tasks", "gauge", "Tasks running in the newest heartbeat.", ("pool_id", "agent_id")
)
AGENT_SEEN = _metric(
    "agent_last_heartbeat_timestamp_seconds",
    "gauge",
    "When the newest heartbeat arrived.",
    ("pool_id", "agent_id"),
)
AGENT_STATUS = _metric(
    "agent_status",
    "gauge",
    "Always 1; the label says the status the agent last reported, or 'silent' when its heartbeats stopped.",
    ("pool_id", "agent_id", "status"),
)
AGENTS = _metric(
    "agents",
    "gauge",
    "Known agents by pool and status; exact even past the cap on agent series.",
    ("pool_id", "status"),
)

AGENTS_OVER_LIMIT = _metric(
    "agents_over_limit",
    "gauge",
    "Known agents without series of their own, because limits.agent_series is reached.",
)

# Group accounts -----------------------------------------------------------------------------------------------
ACCOUNT_MESSAGES = _metric(
    "account_messages_total", "counter", "Messages of each group account.", ("account_id",), durable=True
)
ACCOUNT_REPLIES = _metric(
    "account_replies_total", "counter", "Replies of each group account.", ("account_id",), durable=True
)
ACCOUNT_REDPACKETS = _metric(
    "account_redpackets_total", "counter", "Red packets of each group account.", ("account_id",), durable=True
)
ACCOUNT_ERRORS = _metric(
    "account_errors_total", "counter", "Errors of each group account.", ("account_id",), durable=True
)
ACCOUNT_ACTIVITIES = _metric(
    "account_activities_total",
    "counter",
    "All that each group account did: messages, replies, red packets and errors.",
    ("account_id",),
    durable=True,
)
ACCOUNT_REPLY_SECONDS = _metric(
    "account_reply_seconds_total",
    "counter",
    "Seconds that the replies of each group account took, as far as it told.",
    ("account_id",),
    durable=True,
)
ACCOUNT_TIMED_REPLIES = _metric(
    "account_timed_replies_total",
    "counter",
    "Replies of each group account whose time is known.",
    ("account_id",),
    durable=True,
)
ACCOUNT_REPLY_DURATION = _metric(
    "account_reply_duration_seconds",
    "histogram",
    "How long the replies of all group accounts took.",
    buckets=LATENCY_BUCKETS,
    durable=True,
)
ACCOUNT_ONLINE = _metric(
    "account_online",
    "gauge",
    "1 while the group account is online, 0 once it says otherwise or is not heard for "
    "accounts.offline_after_seconds.",
    ("account_id",),
)
ACCOUNT_SEEN = _metric(
    "account_last_activity_timestamp_seconds",
    "gauge",
    "When the group account last did something.",
    ("account_id",),
)
ACCOUNTS = _metric(
    "accounts", "gauge", "Known group accounts by state; exact even past the cap on account series.", ("state",)
)

# Live feed ----------------------------------------------------------------------------------------------------
LIVE_CONNECTIONS = _metric("live_connections", "gauge", "Open WebSocket connections.", ("endpoint",))
LIVE_SUBSCRIPTIONS = _metric("live_subscriptions", "gauge", "Subscriptions by topic family.", ("topic",))
LIVE_PUBLISHED = _metric("live_messages_published_total", "counter", "Messages published to topics.", ("topic",))
LIVE_SENT = _metric("live_messages_sent_total", "counter", "Messages written to client sockets.", ("topic",))
LIVE_CONFLATED = _metric(
    "live_messages_conflated_total",
    "counter",
    "State messages replaced by a newer one of the same key before a slow client got them.",
    ("topic",),
)
LIVE_GAPPED = _metric(
    "live_messages_gapped_total",
    "counter",
    "Event messages that a client did not get as they are kept no longer; a gap record told it which.",
    ("topic",),
)
LIVE_EVICTIONS = _metric(
    "live_evictions_total", "counter", "Connections closed by the server for cause.", ("reason",)
)
LIVE_BUFFERED = _metric("live_buffered_bytes", "gauge", "Bytes waiting in client sockets' buffers.")
LIVE_TOPIC_BUFFERED = _metric(
    "live_topic_buffered_bytes",
    "gauge",
    "The same by topic family: what waits for a client is shared out over its topics in proportion to what each "
    "sent of late, so that they add up to all. `none` is of connections without a subscription.",
    ("topic",),
)
LIVE_EVICTED = _metric(
    "live_evicted_subscriptions_total",
    "counter",
    "Subscriptions that ended as their connection was closed for cause.",
    ("topic", "reason"),
)
LIVE_RECEIVED = _metric("live_messages_received_total", "counter", "Messages that clients sent.", ("endpoint",))
LIVE_REFUSED = _metric(
    "live_messages_refused_total",
    "counter",
    "What clients sent or asked for in their address and was answered by an error, by its code; `flood` is what "
    "was dropped as it was too much, and closed the connection.",
    ("endpoint", "reason"),
)
LIVE_DELAY = _metric(
    "live_publish_delay_seconds",
    "histogram",
    "From publishing a message to handing it to the clients' sockets.",
    ("topic",),
    buckets=FAST_BUCKETS,
)

# Chat ---------------------------------------------------------------------------------------------------------
CHAT_SESSIONS = _metric("chat_sessions", "gauge", "Chat sessions that someone has joined.")
CHAT_USERS = _metric("chat_users_online", "gauge", "Users with an open chat connection.")
CHAT_LIMITED = _metric(
    "chat_limited_total", "counter", "Messages of clients that were dropped, as they sent too many; they were told."
)
CHAT_RECEIPTS_DROPPED = _metric(
    "chat_receipts_dropped_total",
    "counter",
    "Receipts of chat messages that were given up as the journal could not take them; the messages stay `sent`.",
)
MAILBOX_MESSAGES = _metric("mailbox_messages", "gauge", "Messages that wait for people who are away.")
MAILBOX_DROPPED = _metric(
    "mailbox_dropped_total",
    "counter",
    "Messages for people who are away that were not kept: refused as the box was full, or dropped for their age.",
    ("reason",),
)

# Journal ------------------------------------------------------------------------------------------------------
JOURNAL_COMMITS = _metric("journal_commits_total", "counter", "Transactions committed.")
JOURNAL_COMMIT_SECONDS = _metric(
    "journal_commit_duration_seconds",
    "histogram",
    "How long one group commit took, insert to fsync.",
    buckets=FAST_BUCKETS,
)
JOURNAL_GROUP_ROWS = _metric(
    "journal_group_rows", "histogram", "Rows written together in one transaction.", buckets=ROWS_BUCKETS
)
JOURNAL_PENDING = _metric("journal_pending_rows", "gauge", "Rows waiting for the writer.")
JOURNAL_PENDING_LIMIT = _metric(
    "journal_pending_limit_rows", "gauge", "Rows that may wait; past it ingest answers 503."
)
JOURNAL_SIZE = _metric("journal_size_bytes", "gauge", "Size of the journal's files.")
JOURNAL_ROWS = _metric("journal_rows", "gauge", "Rows kept.", ("table",))
JOURNAL_OLDEST = _metric(
    "journal_oldest_row_timestamp_seconds", "gauge", "When the oldest kept row was received.", ("table",)
)
JOURNAL_WRITABLE = _metric(
    "journal_writable", "gauge", "1 when the last commit succeeded, 0 when storage refused it."
)
JOURNAL_FAILURES = _metric(
    "journal_commit_failures_total", "counter", "Transactions that storage refused.", ("reason",)
)
JOURNAL_DELETED = _metric("journal_retention_deleted_total", "counter", "Rows deleted by retention.", ("table",))

# OpenTelemetry out --------------------------------------------------------------------------------------------
OTLP_LOGS_SENT = _metric(
    "otlp_logs_sent_total",
    "counter",
    "Rows that the OTLP collector took as log records, each counted once however often it had to be sent.",
    ("kind",),
    durable=True,
)
OTLP_LOGS_LOST = _metric(
    "otlp_logs_lost_total",
    "counter",
    "Rows that the OTLP collector never gets, by reason: rejected (by the collector), too_large (even alone), "
    "deleted (by retention, before they could be sent).",
    ("kind", "reason"),
    durable=True,
)
OTLP_LOGS_BACKLOG = _metric(
    "otlp_logs_backlog_rows",
    "gauge",
    "Rows in the journal that are to be sent yet. Since sending was turned on, rows are sent + lost + backlog.",
    ("kind",),
)
OTLP_LOGS_LAG = _metric(
    "otlp_logs_lag_seconds", "gauge", "How long the oldest row that is to be sent yet has waited; 0 when none has."
)
OTLP_LOGS_RETRIES = _metric(
    "otlp_logs_retries_total",
    "counter",
    "Batches that have to be sent again, by what went wrong: unreachable, timeout, busy (429, 502, 503, 504) or "
    "misdirected (the address or the credentials are wrong).",
    ("reason",),
)
OTLP_LOGS_LAST_SUCCESS = _metric(
    "otlp_logs_last_success_timestamp_seconds",
    "gauge",
    "When the OTLP collector last took a batch; 0 before the first since the start.",
)

OTLP_SPANS = _metric(
    "otlp_spans_total",
    "counter",
    "The exporter's own spans, by what became of them: recorded, then sent or failed. What is recorded and neither "
    "waits, or was dropped from the full queue.",
    ("outcome",),
)

# Events -------------------------------------------------------------------------------------------------------
EVENTS = _metric(
    "events_total", "counter", "Things that happened in the service, told of or recorded.", ("category",)
)
EVENTS_DROPPED = _metric(
    "events_dropped_total",
    "counter",
    "Events that were told and not stored: too many waited, or they could not be. Audited calls are never among "
    "them.",
)
EVENT_HANDLER_CALLS = _metric(
    "event_handler_calls_total",
    "counter",
    "Events for each handler, by what became of them: done, failed, timeout (took too long) or dropped (a newer "
    "one needed the place in the handler's queue).",
    ("handler", "outcome"),
)

# Reports ------------------------------------------------------------------------------------------------------
REPORT_MAILS = _metric(
    "report_mails_total",
    "counter",
    "Reports by e-mail: sent; attempts that failed, each of which may be repeated; missed, which are given up.",
    ("report", "outcome"),
)
REPORT_DUE = _metric(
    "report_due_timestamp_seconds",
    "gauge",
    "When the last scheduled report was due; no series before the first.",
    ("report",),
)
REPORT_LAST_SUCCESS = _metric(
    "report_last_success_timestamp_seconds",
    "gauge",
    "When a scheduled report was last sent, also before a restart; no series before the first.",
    ("report",),
)

# Notifications ------------------------------------------------------------------------------------------------
NOTIFICATIONS = _metric(
    "notifications_total",
    "counter",
    "What became of notifications, per recipient and channel: delivered, queued (behind others), stored (the user "
    "is away), offline, over_limit, sent (Alertmanager took it), held, failed (tried again), given_up, expired, "
    "suppressed, duplicate, digested. What was held, failed or stored counts again when it comes to something "
    "else.",
    ("channel", "level", "outcome"),
    durable=True,
)
NOTIFICATIONS_WAITING = _metric(
    "notifications_waiting", "gauge", "Deliveries of notifications that are held, tried again or under way."
)
NOTIFICATIONS_LIMIT = _metric(
    "notifications_waiting_limit", "gauge", "Deliveries of notifications that may wait; past it they are refused."
)
NOTIFICATIONS_DROPPED = _metric(
    "notifications_dropped_total",
    "counter",
    "Notifications that were to be made by themselves and were not: too many at once (full), refused (the outbox "
    "or the journal is full).",
    ("reason",),
)

# Search and export ---------------------------------------------------------------------------------------------
SEARCH_INDEXED = _metric("search_indexed_rows", "gauge", "Requests kept that the search index holds.")
SEARCH_LAG = _metric(
    "search_lag_rows", "gauge", "Requests the search index has not come to yet; they are read one by one meanwhile."
)
SEARCH_SIZE = _metric("search_index_size_bytes", "gauge", "Size of the search index's files.")
SEARCH_REBUILDS = _metric(
    "search_index_rebuilds_total",
    "counter",
    "Times the search index was made again: missing, damaged, of another layout, of another journal.",
    ("reason",),
)
SEARCH_SECONDS = _metric(
    "search_duration_seconds",
    "histogram",
    "How long calls for a page of requests or a single one took, waiting included.",
    buckets=FAST_BUCKETS,
)
SEARCH_REFUSED = _metric(
    "search_refused_total",
    "counter",
    "Calls answered with 503: too many at once (busy), nothing looked at in time (slow), too many exports.",
    ("reason",),
)
EXPORTS = _metric("exports_running", "gauge", "Exports that are being sent.")
EXPORTED_ROWS = _metric("exported_rows_total", "counter", "Requests read for exports.")

# Several replicas ---------------------------------------------------------------------------------------------
CLUSTER_CONNECTED = _metric(
    "cluster_connected", "gauge", "Whether Redis can be reached; no series where none is configured."
)
CLUSTER_REPLICAS = _metric("cluster_replicas", "gauge", "Other replicas that were heard of lately.")
CLUSTER_RELAY_LAG = _metric(
    "cluster_relay_lag_rows",
    "gauge",
    "Rows that other replicas have stored and that have not come here yet.",
    ("table",),
)
CLUSTER_MESSAGES = _metric(
    "cluster_messages_total",
    "counter",
    "Messages between replicas: sent, received, dropped (Redis away, or the queue full; rows are asked for again), "
    "broken (not understood).",
    ("direction",),
)
CLUSTER_REPLAYS = _metric(
    "cluster_replays_total",
    "counter",
    "Pages of rows that this replica asked others for (asked), read for them (answered), or did not, as too many "
    "were asked for (refused).",
    ("outcome",),
)
CLUSTER_LOST_ROWS = _metric(
    "cluster_lost_rows_total",
    "counter",
    "Rows of other replicas that were deleted there before they could be had.",
    ("table",),
)

# The service itself -------------------------------------------------------------------------------------------
HTTP_REQUESTS = _metric("http_requests_total", "counter", "HTTP requests answered.", ("route", "code"))
LOOP_LAG = _metric("event_loop_lag_seconds", "gauge", "Worst delay of the event loop since the last scrape.")
BUILD_INFO = _metric("build_info", "gauge", "Always 1; version of the running exporter.", ("version", "python"))

METRICS: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
