"""OpenTelemetry out."""

from fleetpulse.catalogue.metric import metric

OTLP_LOGS_SENT = metric(
    "otlp_logs_sent_total",
    "counter",
    "Rows that the OTLP collector took as log records, each counted once however often it had to be sent.",
    ("kind",),
    durable=True,
)
OTLP_LOGS_LOST = metric(
    "otlp_logs_lost_total",
    "counter",
    "Rows that the OTLP collector never gets, by reason: rejected (by the collector), too_large (even alone), "
    "deleted (by retention, before they could be sent).",
    ("kind", "reason"),
    durable=True,
)
OTLP_LOGS_BACKLOG = metric(
    "otlp_logs_backlog_rows",
    "gauge",
    "Rows in the journal that are to be sent yet. Since sending was turned on, rows are sent + lost + backlog; "
    "messages of the exporter's own chat are not sent, and not counted.",
    ("kind",),
)
OTLP_LOGS_LAG = metric(
    "otlp_logs_lag_seconds", "gauge", "How long the oldest row that is to be sent yet has waited; 0 when none has."
)
OTLP_LOGS_RETRIES = metric(
    "otlp_logs_retries_total",
    "counter",
    "Batches that have to be sent again, by what went wrong: unreachable, timeout, busy (429, 502, 503, 504) or "
    "misdirected (the address or the credentials are wrong).",
    ("reason",),
)
OTLP_LOGS_LAST_SUCCESS = metric(
    "otlp_logs_last_success_timestamp_seconds",
    "gauge",
    "When the OTLP collector last took a batch; 0 before the first since the start.",
)

OTLP_SPANS = metric(
    "otlp_spans_total",
    "counter",
    "The exporter's own spans, by what became of them: recorded, then sent or failed. What is recorded and neither "
    "waits, or was dropped from the full queue.",
    ("outcome",),
)
