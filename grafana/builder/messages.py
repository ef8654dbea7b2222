"""Panels of single messages of recorded streams, from Loki: the newest as a table, and those that matched a rule.

The exporter sends every recorded message to Loki (docs/opentelemetry.md), without its payload; a line is its JSON
as the API shows it. Totals never come from here: Prometheus has them, exact.

Without Loki the panels are empty and say why.
"""

from typing import Any

from grafana_foundation_sdk.models import dashboard as model

from grafana.builder.frame import Line, Row
from grafana.builder.logs import from_loki, log_lines, rows
from grafana.builder.panels import Look, finish

SHOWN_MESSAGES = 100
SHOWN_HITS = 100
NOTHING = "No messages, or no Loki: GET /api/messages lists them as well"
MESSAGES = '{service_name="fleetpulse"} | event_name="fleetpulse.message" | fleetpulse_stream=~"$stream"'
LINE = '| json text="text" | line_format `{{.fleetpulse_stream}} {{.user_id}}: {{.text}} ({{.fleetpulse_rules}})`'
COLUMNS = {
    "received_at": "Time",
    "stream": "Stream",
    "kind": "Kind",
    "session_id": "Room",
    "user_id": "User",
    "text": "Text",
    "rules": "Rules",
    "message_id": "Message",
}
WIDTHS = {"Stream": 130, "Kind": 110, "Room": 130, "User": 150, "Rules": 150, "Message": 220}


def single_messages() -> Row:
    """The row with both panels."""
    return Row("Single messages", (Line(12, ((24, recent_messages()),)), Line(9, ((24, rule_hits()),))))


def recent_messages() -> model.Panel:
    """A table of the newest messages of the chosen streams."""
    description = (
        "The newest messages of the time range, as Loki has them a second or two after they were stored. All of "
        "them, with search: GET /api/messages and /api/search of the exporter."
    )
    fields: dict[str, dict[str, Any]] = {
        "Time": {"unit": "dateTimeAsIsoNoDateIfToday", "custom.width": 170},
        **{name: {"custom.width": width} for name, width in WIDTHS.items()},
    }
    look = Look("none", nothing=NOTHING, fields=fields)
    made = finish(rows(COLUMNS), (f"Last {SHOWN_MESSAGES} messages", description), look, [])
    return from_loki(made, MESSAGES, "range", lines=SHOWN_MESSAGES)


def rule_hits() -> model.Panel:
    """The newest messages that matched a rule, as lines."""
    description = (
        "The newest messages that matched a rule: stream, user, text, rules. Open a line for the whole message."
    )
    made = finish(log_lines(), ("Messages that matched a rule", description), Look("none", nothing="No hits"), [])
    return from_loki(made, f'{MESSAGES} | fleetpulse_rules!="" {LINE}', "range", lines=SHOWN_HITS)
