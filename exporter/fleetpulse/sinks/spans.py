"""The tracer behind the exporter's own spans: OpenTelemetry's SDK, without any of its global state.

Spans are samples of the exporter's own work, so unlike request logs they may be lost: they wait in the SDK's
bounded queue, which drops the oldest when it is full, and are given up after OTEL_EXPORTER_OTLP_TIMEOUT. The SDK
reads OTEL_BSP_* (the queue) and OTEL_TRACES_SAMPLER (which requests) itself.
"""

import asyncio
from collections.abc import Mapping, Sequence

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Tracer
from prometheus_client import Counter

import fleetpulse
from fleetpulse import catalogue
from fleetpulse.errors import ConfigError
from fleetpulse.instruments import Instruments
from fleetpulse.sinks.variables import Destination

SCOPE = "fleetpulse.http"
STOP_SECONDS = 2.0


class OwnSpans:
    """Holds `tracer`, whose spans are sent in the background until `stop`."""

    def __init__(self, destination: Destination, resource: Mapping[str, str], instruments: Instruments) -> None:
        """Raises ConfigError for OTEL_BSP_* that cannot work."""
        counted = instruments.counter(catalogue.OTLP_SPANS)
        try:
            self._queue = _Queue(_Counting(_exporter(destination), counted), counted)
        except ValueError as error:
            raise ConfigError(f"OTEL_BSP_*: {error}") from error
        provider = TracerProvider(resource=Resource(dict(resource)), shutdown_on_exit=False)
        provider.add_span_processor(self._queue)
        self.tracer: Tracer = provider.get_tracer(SCOPE, fleetpulse.__version__)

    async def stop(self) -> None:
        """Sends what waits, for STOP_SECONDS at the most."""
        await asyncio.to_thread(self._queue.end, STOP_SECONDS)


class _Queue(BatchSpanProcessor):
    def __init__(self, exporter: SpanExporter, counted: Counter) -> None:
        super().__init__(exporter)
        self._recorded = counted.labels("recorded")

    def on_end(self, span: ReadableSpan) -> None:
        """Called by the SDK for each span that has ended."""
        if span.context is not None and span.context.trace_flags.sampled:
            self._recorded.inc()
        super().on_end(span)

    def end(self, seconds: float) -> None:
        """Shuts down within a time of our choice; `shutdown` itself would wait for half a minute."""
        self._batch_processor.shutdown(timeout_millis=int(seconds * 1_000))


class _Counting(SpanExporter):
    """Counts what became of the spans, which the SDK only logs."""

    def __init__(self, exporter: OTLPSpanExporter, counted: Counter) -> None:
        self._exporter = exporter
        self._sent, self._failed = counted.labels("sent"), counted.labels("failed")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Sends a batch."""
        result = self._exporter.export(spans)
        outcome = self._sent if result is SpanExportResult.SUCCESS else self._failed
        outcome.inc(len(spans))
        return result

    def shutdown(self) -> None:
        """Ends what is under way."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # untyped in the SDK


def _exporter(destination: Destination) -> OTLPSpanExporter:
    paths = (destination.certificate, destination.client_key, destination.client_certificate)
    certificate, key, client = (str(path) if path else None for path in paths)
    return OTLPSpanExporter(
        endpoint=destination.url,
        certificate_file=certificate,
        client_key_file=key,
        client_certificate_file=client,
        headers=dict(destination.headers),
        timeout=destination.timeout_seconds,
        compression=Compression.Gzip if destination.gzip else Compression.NoCompression,
    )
