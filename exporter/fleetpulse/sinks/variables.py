"""OpenTelemetry's standard variables, as its specification has them (Environment Variables; OTLP Exporter).

A signal is off unless an endpoint is set for it. A variable that is set to nothing counts as not set. What is wrong
is a ConfigError that names the variable and never its value, which may be a secret. Times are milliseconds, as the
specification has it (some SDKs read OTEL_EXPORTER_OTLP_TIMEOUT as seconds).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit, urlunsplit

from fleetpulse.errors import ConfigError

# What is read, its default, and what it means here; docs/configuration.md lists it.
READ = (
    (
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
        "",
        "Where log records are posted, as it is: `http://127.0.0.1:3100/otlp/v1/logs` for Loki.",
    ),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "", "Where the exporter's own spans are posted, as it is."),
    (
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "",
        "A collector that takes both, at `v1/logs` and `v1/traces` below it: `http://127.0.0.1:4318`.",
    ),
    ("OTEL_EXPORTER_OTLP_HEADERS", "", "Headers to send, such as credentials: `name=value,other=value`."),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", "10000", "Milliseconds that an answer may take."),
    ("OTEL_EXPORTER_OTLP_COMPRESSION", "none", "`gzip` or `none`."),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", "Nothing else is spoken; another value stops the start."),
    ("OTEL_EXPORTER_OTLP_CERTIFICATE", "", "File of the certificates to trust, instead of the system's."),
    ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "", "File of the certificate to show (mutual TLS)."),
    ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "", "File of its key."),
    ("OTEL_LOGS_EXPORTER", "otlp", "`none` sends no log records, whatever the endpoint."),
    ("OTEL_TRACES_EXPORTER", "otlp", "`none` sends no spans, whatever the endpoint."),
    ("OTEL_SDK_DISABLED", "false", "`true` sends nothing."),
    ("OTEL_SERVICE_NAME", "fleetpulse", "The sender's `service.name`."),
    ("OTEL_RESOURCE_ATTRIBUTES", "", "More about the sender: `name=value,other=value`."),
    ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "512", "Log records in one request, at most."),
    ("OTEL_BLRP_SCHEDULE_DELAY", "1000", "Milliseconds between requests while there are few log records."),
    ("OTEL_BSP_MAX_QUEUE_SIZE", "2048", "Spans that may wait; past it the oldest are dropped."),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "512", "Spans in one request, at most."),
    ("OTEL_BSP_SCHEDULE_DELAY", "5000", "Milliseconds between requests while there are few spans."),
    ("OTEL_TRACES_SAMPLER", "parentbased_always_on", "Which requests have a span; see OpenTelemetry."),
    ("OTEL_TRACES_SAMPLER_ARG", "", "The share of them, for the samplers that want one."),
)
PROTOCOL = "http/protobuf"
MAX_BATCH_ROWS = 8_192
COMPRESSIONS = {"none": False, "gzip": True}
Signal = Literal["logs", "traces"]
Variables = Mapping[str, str]


@dataclass(frozen=True)
class Destination:
    """Where one signal is posted. Addresses and headers may hold credentials, so neither is shown."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False, default_factory=dict)
    timeout_seconds: float = 10.0
    gzip: bool = False
    certificate: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None

    @property
    def shown(self) -> str:
        """The address without credentials and query, for logs."""
        parts = urlsplit(self.url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


@dataclass(frozen=True)
class Telemetry:
    """What the variables say. `resource` are attributes of whoever sends; `logs`, `traces` are None where off."""

    logs: Destination | None = None
    traces: Destination | None = None
    resource: Mapping[str, str] = field(default_factory=dict)
    batch_rows: int = 512
    delay_seconds: float = 1.0


def read_telemetry(variables: Variables) -> Telemetry:
    """What the variables ask for. Raises ConfigError."""
    if variables.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return Telemetry()
    return Telemetry(
        _destination(variables, "logs"),
        _destination(variables, "traces"),
        _resource(variables),
        int(_number(variables, "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", 512, 1, MAX_BATCH_ROWS)),
        _number(variables, "OTEL_BLRP_SCHEDULE_DELAY", 1_000, 10, 3_600_000) / 1_000,
    )


def _destination(variables: Variables, signal: Signal) -> Destination | None:
    url = _endpoint(variables, signal)
    if url is None or not _wanted(variables, signal):
        return None
    _check_protocol(variables, signal)
    timeout = _name(variables, signal, "TIMEOUT")
    return Destination(
        url,
        _headers(variables, _name(variables, signal, "HEADERS")),
        _number(variables, timeout, 10_000, 1, 3_600_000) / 1_000,
        _compressed(variables, _name(variables, signal, "COMPRESSION")),
        _file(variables, _name(variables, signal, "CERTIFICATE")),
        _file(variables, _name(variables, signal, "CLIENT_CERTIFICATE")),
        _file(variables, _name(variables, signal, "CLIENT_KEY")),
    )


def _name(variables: Variables, signal: Signal, what: str) -> str:
    """The variable that says it: the signal's own where it is set, else that for all signals."""
    own = f"OTEL_EXPORTER_OTLP_{signal.upper()}_{what}"
    return own if variables.get(own) else f"OTEL_EXPORTER_OTLP_{what}"


def _endpoint(variables: Variables, signal: Signal) -> str | None:
    """The signal's own endpoint as it is; below the one for all signals it is at `v1/…`."""
    name = _name(variables, signal, "ENDPOINT")
    url = variables.get(name)
    if not url:
        return None
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise ConfigError(f"{name} is not an address such as http://127.0.0.1:4318")
    return url if name == f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT" else f"{url.rstrip('/')}/v1/{signal}"


def _wanted(variables: Variables, signal: Signal) -> bool:
    name = f"OTEL_{signal.upper()}_EXPORTER"
    chosen = {each.strip().lower() for each in variables.get(name, "otlp").split(",")}
    if not chosen <= {"otlp", "none"}:
        raise ConfigError(f"{name} can be otlp or none here")
    return "none" not in chosen


def _check_protocol(variables: Variables, signal: Signal) -> None:
    name = _name(variables, signal, "PROTOCOL")
    if variables.get(name, PROTOCOL).strip().lower() != PROTOCOL:
        raise ConfigError(
            f"{name}: only {PROTOCOL} is spoken; set OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL={PROTOCOL}, and "
            f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT to the collector's port for HTTP, most often 4318"
        )


def _headers(variables: Variables, name: str) -> dict[str, str]:
    """`name=value` pairs, apart by commas, values percent-encoded. Names are lower-case, as HTTP/2 has them."""
    headers = {}
    for key, value in _pairs(variables, name):
        sound = key.isascii() and all(each.isalnum() or each in "!#$%&'*+-.^_`|~" for each in key)
        if not sound or not value.isprintable():
            raise ConfigError(f"{name} holds what cannot be a header")
        headers[key.lower()] = value
    return headers


def _pairs(variables: Variables, name: str) -> list[tuple[str, str]]:
    pairs = []
    for each in variables.get(name, "").split(","):
        key, equals, value = (part.strip() for part in each.partition("="))
        if not each.strip():
            continue
        if not key or not equals:
            raise ConfigError(f"{name} is not a list such as name=value,other=value")
        pairs.append((unquote(key), unquote(value)))
    return pairs


def _resource(variables: Variables) -> dict[str, str]:
    attributes = {"service.name": "fleetpulse", **dict(_pairs(variables, "OTEL_RESOURCE_ATTRIBUTES"))}
    if name := variables.get("OTEL_SERVICE_NAME"):
        attributes["service.name"] = name
    return attributes


def _number(variables: Variables, name: str, default: float, least: float, most: float) -> float:
    try:
        value = float(variables.get(name) or default)
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        raise ConfigError(f"{name} is not a number from {least:g} to {most:g}")
    return value


def _compressed(variables: Variables, name: str) -> bool:
    chosen = COMPRESSIONS.get(variables.get(name, "none").strip().lower())
    if chosen is None:
        raise ConfigError(f"{name} can be gzip or none")
    return chosen


def _file(variables: Variables, name: str) -> Path | None:
    value = variables.get(name)
    if value and not Path(value).is_file():
        raise ConfigError(f"{name} names a file that is not there")
    return Path(value) if value else None
