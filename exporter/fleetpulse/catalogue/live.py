"""The live feed, chat, and what several replicas tell each other."""

from fleetpulse.catalogue.metric import FAST_BUCKETS, metric

# Live feed --------------------------------------------------------------------------------------------------
LIVE_CONNECTIONS = metric("live_connections", "gauge", "Open WebSocket connections.", ("endpoint",))
LIVE_SUBSCRIPTIONS = metric("live_subscriptions", "gauge", "Subscriptions by topic family.", ("topic",))
LIVE_PUBLISHED = metric("live_messages_published_total", "counter", "Messages published to topics.", ("topic",))
LIVE_SENT = metric("live_messages_sent_total", "counter", "Messages written to client sockets.", ("topic",))
LIVE_CONFLATED = metric(
    "live_messages_conflated_total",
    "counter",
    "State messages replaced by a newer one of the same key before a slow client got them.",
    ("topic",),
)
LIVE_GAPPED = metric(
    "live_messages_gapped_total",
    "counter",
    "Event messages that a client did not get as they are kept no longer; a gap record told it which.",
    ("topic",),
)
LIVE_EVICTIONS = metric(
    "live_evictions_total", "counter", "Connections closed by the server for cause.", ("reason",)
)
LIVE_BUFFERED = metric("live_buffered_bytes", "gauge", "Bytes waiting in client sockets' buffers.")
LIVE_TOPIC_BUFFERED = metric(
    "live_topic_buffered_bytes",
    "gauge",
    "The same by topic family: what waits for a client is shared out over its topics in proportion to what each "
    "sent of late, so that they add up to all. `none` is of connections without a subscription.",
    ("topic",),
)
LIVE_EVICTED = metric(
    "live_evicted_subscriptions_total",
    "counter",
    "Subscriptions that ended as their connection was closed for cause.",
    ("topic", "reason"),
)
LIVE_RECEIVED = metric("live_messages_received_total", "counter", "Messages that clients sent.", ("endpoint",))
LIVE_REFUSED = metric(
    "live_messages_refused_total",
    "counter",
    "What clients sent or asked for in their address and was answered by an error, by its code; `flood` is what "
    "was dropped as it was too much, and closed the connection.",
    ("endpoint", "reason"),
)
LIVE_DELAY = metric(
    "live_publish_delay_seconds",
    "histogram",
    "From publishing a message to handing it to the clients' sockets.",
    ("topic",),
    buckets=FAST_BUCKETS,
)

# Chat -------------------------------------------------------------------------------------------------------
CHAT_SESSIONS = metric("chat_sessions", "gauge", "Chat sessions that someone has joined.")
CHAT_USERS = metric("chat_users_online", "gauge", "Users with an open chat connection.")
CHAT_LIMITED = metric(
    "chat_limited_total", "counter", "Messages of clients that were dropped, as they sent too many; they were told."
)
CHAT_RECEIPTS_DROPPED = metric(
    "chat_receipts_dropped_total",
    "counter",
    "Receipts of chat messages that were given up as the journal could not take them; the messages stay `sent`.",
)
MAILBOX_MESSAGES = metric("mailbox_messages", "gauge", "Messages that wait for people who are away.")
MAILBOX_DROPPED = metric(
    "mailbox_dropped_total",
    "counter",
    "Messages for people who are away that were not kept: refused as the box was full, or dropped for their age.",
    ("reason",),
)

# Several replicas -------------------------------------------------------------------------------------------
CLUSTER_CONNECTED = metric(
    "cluster_connected", "gauge", "Whether Redis can be reached; no series where none is configured."
)
CLUSTER_REPLICAS = metric("cluster_replicas", "gauge", "Other replicas that were heard of lately.")
CLUSTER_RELAY_LAG = metric(
    "cluster_relay_lag_rows",
    "gauge",
    "Rows that other replicas have stored and that have not come here yet.",
    ("table",),
)
CLUSTER_MESSAGES = metric(
    "cluster_messages_total",
    "counter",
    "Messages between replicas: sent, received, dropped (Redis away, or the queue full; rows are asked for again), "
    "broken (not understood).",
    ("direction",),
)
CLUSTER_REPLAYS = metric(
    "cluster_replays_total",
    "counter",
    "Pages of rows that this replica asked others for (asked), read for them (answered), or did not, as too many "
    "were asked for (refused).",
    ("outcome",),
)
CLUSTER_LOST_ROWS = metric(
    "cluster_lost_rows_total",
    "counter",
    "Rows of other replicas that were deleted there before they could be had.",
    ("table",),
)
