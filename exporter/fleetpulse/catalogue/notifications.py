"""Events, reports and notifications: what people and plug-ins are told."""

from fleetpulse.catalogue.metric import metric

# Events -----------------------------------------------------------------------------------------------------
EVENTS = metric(
    "events_total", "counter", "Things that happened in the service, told of or recorded.", ("category",)
)
EVENTS_DROPPED = metric(
    "events_dropped_total",
    "counter",
    "Events that were told and not stored: too many waited, or they could not be. Audited calls are never among "
    "them.",
)
EVENT_HANDLER_CALLS = metric(
    "event_handler_calls_total",
    "counter",
    "Events for each handler, by what became of them: done, failed, timeout (took too long) or dropped (a newer "
    "one needed the place in the handler's queue).",
    ("handler", "outcome"),
)

# Reports ----------------------------------------------------------------------------------------------------
REPORT_MAILS = metric(
    "report_mails_total",
    "counter",
    "Reports by e-mail: sent; attempts that failed, each of which may be repeated; missed, which are given up.",
    ("report", "outcome"),
)
REPORT_DUE = metric(
    "report_due_timestamp_seconds",
    "gauge",
    "When the last scheduled report was due; no series before the first.",
    ("report",),
)
REPORT_LAST_SUCCESS = metric(
    "report_last_success_timestamp_seconds",
    "gauge",
    "When a scheduled report was last sent, also before a restart; no series before the first.",
    ("report",),
)

# Notifications ----------------------------------------------------------------------------------------------
NOTIFICATIONS = metric(
    "notifications_total",
    "counter",
    "What became of notifications, per recipient and channel: delivered, queued (behind others), stored (the user "
    "is away), offline, over_limit, sent (Alertmanager took it), held, failed (tried again), given_up, expired, "
    "suppressed, duplicate, digested. What was held, failed or stored counts again when it comes to something "
    "else.",
    ("channel", "level", "outcome"),
    durable=True,
)
NOTIFICATIONS_WAITING = metric(
    "notifications_waiting", "gauge", "Deliveries of notifications that are held, tried again or under way."
)
NOTIFICATIONS_LIMIT = metric(
    "notifications_waiting_limit", "gauge", "Deliveries of notifications that may wait; past it they are refused."
)
NOTIFICATIONS_DROPPED = metric(
    "notifications_dropped_total",
    "counter",
    "Notifications that were to be made by themselves and were not: too many at once (full), refused (the outbox "
    "or the journal is full).",
    ("reason",),
)
