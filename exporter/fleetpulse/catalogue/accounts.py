"""Group accounts."""

from fleetpulse.catalogue.metric import LATENCY_BUCKETS, metric

ACCOUNT_MESSAGES = metric(
    "account_messages_total", "counter", "Messages of each group account.", ("account_id",), durable=True
)
ACCOUNT_REPLIES = metric(
    "account_replies_total", "counter", "Replies of each group account.", ("account_id",), durable=True
)
ACCOUNT_REDPACKETS = metric(
    "account_redpackets_total", "counter", "Red packets of each group account.", ("account_id",), durable=True
)
ACCOUNT_ERRORS = metric(
    "account_errors_total", "counter", "Errors of each group account.", ("account_id",), durable=True
)
ACCOUNT_ACTIVITIES = metric(
    "account_activities_total",
    "counter",
    "All that each group account did: messages, replies, red packets and errors.",
    ("account_id",),
    durable=True,
)
ACCOUNT_REPLY_SECONDS = metric(
    "account_reply_seconds_total",
    "counter",
    "Seconds that the replies of each group account took, as far as it told.",
    ("account_id",),
    durable=True,
)
ACCOUNT_TIMED_REPLIES = metric(
    "account_timed_replies_total",
    "counter",
    "Replies of each group account whose time is known.",
    ("account_id",),
    durable=True,
)
ACCOUNT_REPLY_DURATION = metric(
    "account_reply_duration_seconds",
    "histogram",
    "How long the replies of all group accounts took.",
    buckets=LATENCY_BUCKETS,
    durable=True,
)
ACCOUNT_ONLINE = metric(
    "account_online",
    "gauge",
    "1 while the group account is online, 0 once it says otherwise or is not heard for "
    "accounts.offline_after_seconds.",
    ("account_id",),
)
ACCOUNT_SEEN = metric(
    "account_last_activity_timestamp_seconds",
    "gauge",
    "When the group account last did something.",
    ("account_id",),
)
ACCOUNTS = metric(
    "accounts", "gauge", "Known group accounts by state; exact even past the cap on account series.", ("state",)
)
