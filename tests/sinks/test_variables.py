from pathlib import Path

import pytest

from fleetpulse.errors import ConfigError
from fleetpulse.sinks.variables import READ, Destination, Telemetry, read_telemetry

BASE = "OTEL_EXPORTER_OTLP_"


def logs(**variables: str) -> Destination:
    found = read_telemetry({f"{BASE}LOGS_ENDPOINT": "http://loki:3100/otlp/v1/logs"} | variables).logs
    assert found is not None
    return found


def test_everything_is_off_without_an_endpoint() -> None:
    found = read_telemetry({"OTEL_LOGS_EXPORTER": "otlp", f"{BASE}HEADERS": "a=b", f"{BASE}PROTOCOL": "grpc"})
    assert found == Telemetry(resource={"service.name": "fleetpulse"})


def test_a_signals_own_endpoint_is_used_as_it_is() -> None:
    assert logs().url == "http://loki:3100/otlp/v1/logs"
    assert read_telemetry({f"{BASE}LOGS_ENDPOINT": "http://loki"}).traces is None


@pytest.mark.parametrize("base", ["http://c:4318", "http://c:4318/"])
def test_below_the_endpoint_for_all_signals_each_has_its_path(base: str) -> None:
    found = read_telemetry({f"{BASE}ENDPOINT": base})
    assert found.logs is not None
    assert found.traces is not None
    assert (found.logs.url, found.traces.url) == ("http://c:4318/v1/logs", "http://c:4318/v1/traces")


@pytest.mark.parametrize(
    ("variable", "value", "signals"),
    [
        ("OTEL_LOGS_EXPORTER", "none", {"traces"}),
        ("OTEL_TRACES_EXPORTER", "None", {"logs"}),
        ("OTEL_LOGS_EXPORTER", "otlp", {"logs", "traces"}),
        ("OTEL_SDK_DISABLED", "TRUE", set()),
        ("OTEL_SDK_DISABLED", "1", {"logs", "traces"}),  # only `true` is true, says the specification
    ],
)
def test_signals_can_be_turned_off(variable: str, value: str, signals: set[str]) -> None:
    found = read_telemetry({f"{BASE}ENDPOINT": "http://c:4318", variable: value})
    assert {name for name in ("logs", "traces") if getattr(found, name)} == signals


def test_what_is_set_for_one_signal_wins_over_what_is_set_for_all() -> None:
    variables = {
        f"{BASE}HEADERS": "authorization=Basic%20YWJj, x-tenant = a",
        f"{BASE}LOGS_HEADERS": "X-Scope-OrgID=fleet",
        f"{BASE}TIMEOUT": "2500",
        f"{BASE}TRACES_TIMEOUT": "500",
        f"{BASE}COMPRESSION": "GZIP",
        f"{BASE}LOGS_COMPRESSION": "none",
    }
    found = read_telemetry({f"{BASE}ENDPOINT": "http://c:4318"} | variables)
    assert found.logs is not None
    assert found.traces is not None
    assert found.logs.headers == {"x-scope-orgid": "fleet"}
    assert found.traces.headers == {"authorization": "Basic YWJj", "x-tenant": "a"}
    assert (found.logs.timeout_seconds, found.traces.timeout_seconds) == (2.5, 0.5)
    assert (found.logs.gzip, found.traces.gzip) == (False, True)


def test_who_sends() -> None:
    given = "service.name=other,deployment.environment=prod%2Ceu, service.instance.id = 7"
    variables = {f"{BASE}ENDPOINT": "http://c", "OTEL_RESOURCE_ATTRIBUTES": given}
    assert read_telemetry(variables).resource == {
        "service.name": "other",
        "deployment.environment": "prod,eu",
        "service.instance.id": "7",
    }
    assert read_telemetry(variables | {"OTEL_SERVICE_NAME": "bots"}).resource["service.name"] == "bots"


def test_batches() -> None:
    found = read_telemetry({"OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": "64", "OTEL_BLRP_SCHEDULE_DELAY": "200"})
    assert (found.batch_rows, found.delay_seconds) == (64, 0.2)
    assert (Telemetry().batch_rows, Telemetry().delay_seconds) == (512, 1.0)


def test_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    assert logs(**{f"{BASE}CERTIFICATE": str(tmp_path / "ca.pem")}).certificate == tmp_path / "ca.pem"


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("LOGS_ENDPOINT", "loki:3100", "such as http://"),
        ("LOGS_ENDPOINT", "ftp://loki", "such as http://"),
        ("LOGS_ENDPOINT", "http://loki:none", "such as http://"),
        ("PROTOCOL", "grpc", "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL=http/protobuf"),
        ("LOGS_PROTOCOL", "http/json", "4318"),
        ("HEADERS", "secret", "name=value"),
        ("HEADERS", "na me=secret", "header"),
        ("HEADERS", "name=sec%0Aret", "header"),
        ("TIMEOUT", "secret", "number"),
        ("TIMEOUT", "nan", "number"),
        ("TIMEOUT", "0", "number"),
        ("COMPRESSION", "zstd", "gzip or none"),
        ("CERTIFICATE", "/nowhere/secret.pem", "not there"),
    ],
)
def test_what_cannot_work_is_named_and_its_value_is_not(variable: str, value: str, told: str) -> None:
    with pytest.raises(ConfigError, match=f"^{BASE}{variable}.*{told}") as caught:
        logs(**{f"{BASE}{variable}": value})
    assert "secret" not in caught.value.detail


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_LOGS_EXPORTER", "console"),
        ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "0"),
        ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "100000"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "0"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a"),
    ],
)
def test_other_variables_that_cannot_work_are_named_too(variable: str, value: str) -> None:
    with pytest.raises(ConfigError, match=variable):
        logs(**{variable: value})


def test_credentials_are_not_shown() -> None:
    found = logs(**{f"{BASE}LOGS_ENDPOINT": "http://me:secret@loki:3100/v1/logs?key=secret"})
    assert found.shown == "http://loki:3100/v1/logs"
    assert "secret" not in repr(logs(**{f"{BASE}HEADERS": "authorization=secret"}))
    assert "secret" not in repr(found)


class Asked(dict[str, str]):
    """Variables that remember which were asked for."""

    def __init__(self, *args: dict[str, str]) -> None:
        super().__init__(*args)
        self.names: set[str] = set()

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]  # one use of get
        self.names.add(name)
        return super().get(name, default)


def test_every_variable_that_is_read_is_documented() -> None:
    variables = Asked({f"{BASE}ENDPOINT": "http://c"})
    read_telemetry(variables)
    every = {name.replace("OTLP_LOGS_", "OTLP_").replace("OTLP_TRACES_", "OTLP_") for name in variables.names}
    documented = {name for name, _, _ in READ}
    assert every <= documented
    read_by_the_sdk = {name for name in documented if name.startswith(("OTEL_BSP_", "OTEL_TRACES_SAMPLER"))}
    assert documented - every - read_by_the_sdk == {f"{BASE}LOGS_ENDPOINT", f"{BASE}TRACES_ENDPOINT"}
