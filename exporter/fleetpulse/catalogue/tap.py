"""The tap: recorded streams. Their messages by kind are `chat_messages_total`, as those of the own chat."""

from fleetpulse.catalogue.metric import metric

STREAM = ("stream",)
TAP_UP = metric("tap_connected", "gauge", "Whether a stream's connection is open.", STREAM)
TAP_STATE = metric(
    "tap_state",
    "gauge",
    "1 for a stream's state: connecting, connected, waiting (to try again) or failed (given up).",
    ("stream", "state"),
)
TAP_CONNECTS = metric("tap_connects_total", "counter", "Connections that were opened.", STREAM)
TAP_DISCONNECTS = metric(
    "tap_disconnects_total",
    "counter",
    "Connections that ended, and attempts that failed, by reason.",
    ("stream", "reason"),
)
TAP_GAP_SECONDS = metric(
    "tap_unconnected_seconds_total", "counter", "Time without a connection, since the exporter started.", STREAM
)
TAP_BYTES = metric("tap_received_bytes_total", "counter", "Bytes of messages received, decompressed.", STREAM)
TAP_LOST = metric(
    "tap_lost_messages_total",
    "counter",
    "Messages that were received and could not be kept, by reason.",
    ("stream", "reason"),
)
TAP_WAITING = metric("tap_waiting_messages", "gauge", "Messages that wait to be stored.", STREAM)
TAP_PAUSED = metric(
    "tap_paused_seconds_total", "counter", "Time in which reading paused, as storing was slower.", STREAM
)
TAP_SEEN = metric(
    "tap_last_message_timestamp_seconds",
    "gauge",
    "When a stream's newest message was received; of a stream without any, when it was connected.",
    STREAM,
)
TAP_ACTIVE_USERS = metric(
    "tap_active_users", "gauge", "Users who said something lately (tap.active_seconds).", STREAM
)
TAP_TOP_USERS = metric(
    "tap_top_user_messages",
    "gauge",
    "Messages today of the users with most, the configured few (tap.top_users) of each stream.",
    ("stream", "user_id"),
)
TAP_RULE_HITS = metric(
    "tap_rule_hits_total", "counter", "Messages that matched a rule.", ("stream", "rule"), durable=True
)
TAP_RULE = metric(
    "tap_rule_info", "gauge", "Always 1; rules that alert, with their severity.", ("rule", "severity")
)
TAP_REPLIES = metric(
    "tap_replies_total",
    "counter",
    "Automatic replies by outcome: sent, limited, echo (of an own one: none was due), failed.",
    ("stream", "rule", "outcome"),
)
TAP_SILENCE_LIMIT = metric(
    "tap_silence_limit_seconds", "gauge", "Configured: a stream silent for longer is told of.", STREAM
)
TAP_FLOOD_LIMIT = metric(
    "tap_flood_limit_messages_per_second", "gauge", "Configured: a stream faster than this is told of.", STREAM
)
TAP_REPLAYS = metric("tap_replays_running", "gauge", "Recorded streams that are being played again.")

# Backups ----------------------------------------------------------------------------------------------------
BACKUPS = metric("backups_total", "counter", "Backups of the journal by outcome: made, failed.", ("outcome",))
BACKUP_LAST_SUCCESS = metric(
    "backup_last_success_timestamp_seconds", "gauge", "When the newest backup that is kept was made; 0: none is."
)
BACKUP_DUE = metric(
    "backup_due_timestamp_seconds",
    "gauge",
    "When the next backup is due, or has been since, should it have failed; 0: never, or there is nothing to save.",
)
BACKUP_INTERVAL = metric("backup_interval_seconds", "gauge", "Configured: how often a backup is made; 0: never.")
BACKUP_SIZE = metric("backup_size_bytes", "gauge", "Bytes of the newest backup.")
BACKUP_SECONDS = metric("backup_duration_seconds", "gauge", "How long the newest backup took.")
