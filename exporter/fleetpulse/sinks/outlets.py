"""Everything that goes out over OpenTelemetry, as the exporter starts and stops it; nothing without an endpoint."""

import dataclasses
import logging
from typing import TYPE_CHECKING

from fleetpulse import config
from fleetpulse.errors import OverloadedError
from fleetpulse.instruments import Instruments
from fleetpulse.journal import Journal
from fleetpulse.sinks.otlp import OtlpLogs
from fleetpulse.sinks.resource import describe, keep
from fleetpulse.sinks.variables import Telemetry, Variables, read_telemetry

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from fleetpulse.sinks.spans import OwnSpans

log = logging.getLogger(__name__)


class Outlets:
    """Holds the sinks that are configured. `tracer` makes the exporter's own spans; None where they are off."""

    def __init__(
        self, settings: config.OtlpOut, variables: Variables, journal: Journal, instruments: Instruments
    ) -> None:
        """Raises ConfigError for variables that cannot work."""
        asked = read_telemetry(variables)
        self._journal = journal
        self._telemetry = dataclasses.replace(asked, resource=describe(journal, asked.resource))
        self._logs = (
            OtlpLogs(self._telemetry, asked.logs, journal, instruments, settings.begin) if asked.logs else None
        )
        self._spans = _own_spans(self._telemetry, instruments)
        self.tracer: Tracer | None = self._spans.tracer if self._spans else None

    async def start(self) -> None:
        """Begins to send. Call when the journal has started, before anything new is stored."""
        if self._logs is None and self._spans is None:
            return
        try:
            await keep(self._journal, self._telemetry.resource)
        except OverloadedError as error:  # a full disk: the next start makes up another
            log.warning("service.instance.id is not kept: %s", error)
        if self._logs is not None:
            await self._logs.start()

    async def stop(self) -> None:
        """Sends what is left, within seconds. Call before the journal stops."""
        if self._logs is not None:
            await self._logs.stop()
        if self._spans is not None:
            await self._spans.stop()


def _own_spans(telemetry: Telemetry, instruments: Instruments) -> "OwnSpans | None":
    if telemetry.traces is None:
        return None
    from fleetpulse.sinks.spans import OwnSpans  # noqa: PLC0415 - the SDK takes a while to load

    log.info("sending the exporter's own spans to %s", telemetry.traces.shown)
    return OwnSpans(telemetry.traces, telemetry.resource, instruments)
