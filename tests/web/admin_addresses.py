"""The addresses of the administration of the live service."""

PREFIX = "/api/v1/websocket"
READS = tuple(
    f"{PREFIX}/{path}"
    for path in (
        "stats",
        "health",
        "connections",
        "users/{user_id}/connections",
        "online-users",
        "sessions",
        "topics",
        "audit",
    )
)
COMMANDS = tuple(
    f"{PREFIX}/{path}"
    for path in (
        "broadcast",
        "notify",
        "ping/{user_id}",
        "users/disconnect",
        "connections/{connection_id}/disconnect",
        "sessions/{session_id}/close",
    )
)
