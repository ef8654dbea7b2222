"""The journal, and what is searched and read of it."""

from fleetpulse.catalogue.metric import FAST_BUCKETS, ROWS_BUCKETS, metric

# Journal ----------------------------------------------------------------------------------------------------
JOURNAL_COMMITS = metric("journal_commits_total", "counter", "Transactions committed.")
JOURNAL_COMMIT_SECONDS = metric(
    "journal_commit_duration_seconds",
    "histogram",
    "How long one group commit took, insert to fsync.",
    buckets=FAST_BUCKETS,
)
JOURNAL_GROUP_ROWS = metric(
    "journal_group_rows", "histogram", "Rows written together in one transaction.", buckets=ROWS_BUCKETS
)
JOURNAL_PENDING = metric("journal_pending_rows", "gauge", "Rows waiting for the writer.")
JOURNAL_PENDING_LIMIT = metric(
    "journal_pending_limit_rows", "gauge", "Rows that may wait; past it ingest answers 503."
)
JOURNAL_SIZE = metric("journal_size_bytes", "gauge", "Size of the journal's files.")
JOURNAL_ROWS = metric("journal_rows", "gauge", "Rows kept.", ("table",))
JOURNAL_OLDEST = metric(
    "journal_oldest_row_timestamp_seconds", "gauge", "When the oldest kept row was received.", ("table",)
)
JOURNAL_WRITABLE = metric(
    "journal_writable", "gauge", "1 when the last commit succeeded, 0 when storage refused it."
)
JOURNAL_FAILURES = metric(
    "journal_commit_failures_total", "counter", "Transactions that storage refused.", ("reason",)
)
JOURNAL_DELETED = metric("journal_retention_deleted_total", "counter", "Rows deleted by retention.", ("table",))

# Search and export ------------------------------------------------------------------------------------------
SEARCH_INDEXED = metric("search_indexed_rows", "gauge", "Requests kept that the search index holds.")
SEARCH_LAG = metric(
    "search_lag_rows", "gauge", "Requests the search index has not come to yet; they are read one by one meanwhile."
)
SEARCH_SIZE = metric("search_index_size_bytes", "gauge", "Size of the search index's files.")
SEARCH_REBUILDS = metric(
    "search_index_rebuilds_total",
    "counter",
    "Times the search index was made again: missing, damaged, of another layout, of another journal.",
    ("reason",),
)
MESSAGE_SEARCH_INDEXED = metric(
    "message_search_indexed_rows", "gauge", "Messages kept that their search index holds."
)
MESSAGE_SEARCH_LAG = metric(
    "message_search_lag_rows",
    "gauge",
    "Messages their search index has not come to yet; they are read one by one meanwhile.",
)
MESSAGE_SEARCH_SIZE = metric(
    "message_search_index_size_bytes", "gauge", "Size of the files of the messages' search index."
)
MESSAGE_SEARCH_REBUILDS = metric(
    "message_search_index_rebuilds_total",
    "counter",
    "Times the messages' search index was made again: missing, damaged, of another layout, of another journal.",
    ("reason",),
)
SEARCH_SECONDS = metric(
    "search_duration_seconds",
    "histogram",
    "How long calls for a page of requests or messages, or a single one, took, waiting included.",
    buckets=FAST_BUCKETS,
)
SEARCH_REFUSED = metric(
    "search_refused_total",
    "counter",
    "Calls answered with 503: too many at once (busy), nothing looked at in time (slow), too many exports.",
    ("reason",),
)
EXPORTS = metric("exports_running", "gauge", "Exports that are being sent.")
EXPORTED_ROWS = metric("exported_rows_total", "counter", "Requests and messages read for exports.")
