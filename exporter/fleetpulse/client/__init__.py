"""The client library: reports calls, activities and heartbeats to an exporter, never in the program's way.

    from fleetpulse.client import monitor

    await monitor.log_request(source="web", user_id="42", command="chat", status="success", execution_time=0.5)

Owns the way of a record from the caller to the server's acknowledgement: `Monitor` -> `Engine` (queue, threads) ->
`Spool` (disk) -> `Sender`. Needs the standard library and nothing else. docs/client.md explains it.
"""

from fleetpulse.client.activities import ActivityFields
from fleetpulse.client.calls import Call
from fleetpulse.client.heartbeats import Heartbeat
from fleetpulse.client.monitor import Monitor
from fleetpulse.client.records import RequestFields
from fleetpulse.client.tally import Stats
from fleetpulse.client.usage import read_usage

__all__ = ["ActivityFields", "Call", "Heartbeat", "Monitor", "RequestFields", "Stats", "monitor", "read_usage"]

monitor = Monitor()
"""The program's monitor, set up by the environment; inert until it is used."""
