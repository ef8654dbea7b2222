"""Agents and their heartbeats."""

from fleetpulse.catalogue.metric import metric

AGENT_UP = metric(
    "agent_up",
    "gauge",
    "1 while the agent's heartbeats arrive, 0 once silent or offline.",
    ("pool_id", "agent_id"),
)
AGENT_CPU = metric(
    "agent_cpu_usage_ratio", "gauge", "CPU use in the newest heartbeat, 0-1.", ("pool_id", "agent_id")
)
AGENT_MEMORY = metric(
    "agent_memory_usage_ratio", "gauge", "Memory use in the newest heartbeat, 0-1.", ("pool_id", "agent_id")
)
AGENT_TASKS = metric(
    "agent_running_tasks", "gauge", "Tasks running in the newest heartbeat.", ("pool_id", "agent_id")
)
AGENT_SEEN = metric(
    "agent_last_heartbeat_timestamp_seconds",
    "gauge",
    "When the newest heartbeat arrived.",
    ("pool_id", "agent_id"),
)
AGENT_STATUS = metric(
    "agent_status",
    "gauge",
    "Always 1; the label says the status the agent last reported, or 'silent' when its heartbeats stopped.",
    ("pool_id", "agent_id", "status"),
)
AGENTS = metric(
    "agents",
    "gauge",
    "Known agents by pool and status; exact even past the cap on agent series.",
    ("pool_id", "status"),
)

AGENTS_OVER_LIMIT = metric(
    "agents_over_limit",
    "gauge",
    "Known agents without series of their own, because limits.agent_series is reached.",
)
