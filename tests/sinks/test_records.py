import json
from collections.abc import Sequence

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber
from tests.journal.stand import NOW, alert, recorded, request
from tests.sinks.collector import plain

import fleetpulse
from fleetpulse.journal import Numbered, Row
from fleetpulse.sinks import records
from fleetpulse.sinks.records import MESSAGE_CHARACTERS, Batch, encode

TRACE = "0af7651916cd43dd8448eb211c80319c"


def numbered(rows: Sequence[Row]) -> list[Numbered]:
    return [Numbered(number, row) for number, row in enumerate(rows, start=11)]


def record(row: Row) -> LogRecord:
    """That of a row which is sent."""
    made = records.record(row)
    assert made is not None
    return made


def sent(batch: Batch) -> ExportLogsServiceRequest:
    return ExportLogsServiceRequest.FromString(batch.body)


def test_a_request_is_the_json_of_the_api_with_attributes_to_filter_by() -> None:
    row = request("r1", provider="openai", session_id="s1", account_id="a1", metadata='{"topic": "天气"}')
    made = record(row)
    assert json.loads(made.body.string_value) == row.as_json()
    assert "天气" in made.body.string_value
    assert (made.event_name, made.severity_text) == ("fleetpulse.request", "INFO")
    assert made.severity_number == SeverityNumber.SEVERITY_NUMBER_INFO
    assert plain(made.attributes) == {
        "event.name": "fleetpulse.request",
        "fleetpulse.request_id": "r1",
        "fleetpulse.source": "telegram",
        "fleetpulse.status": "success",
        "fleetpulse.execution_time": 0.5,
        "fleetpulse.tokens_used": 30,
        "fleetpulse.cost": 0.25,
        "fleetpulse.cost_source": "reported",
        "fleetpulse.account_id": "a1",
        "user.id": "u1",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.conversation.id": "s1",
        "gen_ai.usage.input_tokens": 20,
        "gen_ai.usage.output_tokens": 10,
        "gen_ai.usage.cache_read.input_tokens": 4,
    }


def test_what_is_not_known_is_left_out() -> None:
    bare = request("r", user_id="", model=None, cost=None, cost_source=None, cached_tokens=None, input_tokens=0)
    names = plain(record(bare).attributes)
    assert names.keys().isdisjoint({"user.id", "gen_ai.request.model", "fleetpulse.cost", "error.type"})
    assert names["gen_ai.usage.input_tokens"] == 0


def test_a_failed_request_is_an_error() -> None:
    made = record(request("r", status="timeout", error="gave up"))
    assert (made.severity_text, made.severity_number) == ("ERROR", SeverityNumber.SEVERITY_NUMBER_ERROR)
    assert plain(made.attributes)["error.type"] == "timeout"


@pytest.mark.parametrize(
    ("given", "found"),
    [(TRACE, TRACE), (TRACE.upper(), TRACE), ("0" * 32, ""), ("not hex", ""), (TRACE + "0", ""), (None, "")],
)
def test_a_valid_trace_id_is_the_records_own(given: str | None, found: str) -> None:
    assert record(request("r", trace_id=given)).trace_id.hex() == found


@pytest.mark.parametrize(
    ("request_id", "span"),
    [
        (f"{TRACE}-b7ad6b7169203331", "b7ad6b7169203331"),
        (f"{TRACE}-{'0' * 16}", ""),
        (f"{'1' * 32}-b7ad6b7169203331", ""),  # of another trace
        ("r1", ""),
    ],
)
def test_a_request_that_came_as_a_span_names_it(request_id: str, span: str) -> None:
    made = record(request(request_id, trace_id=TRACE))
    assert (made.trace_id.hex(), made.span_id.hex()) == (TRACE, span)


@pytest.mark.parametrize(
    ("timestamp", "time"),
    [
        (None, NOW),
        (NOW - 2.5, NOW - 2.5),
        (NOW + 60, NOW + 60),
        (NOW - 1_799, NOW - 1_799),
        (NOW - 1_801, NOW),  # Loki would refuse it: too far behind what came before
        (NOW - 86_400 * 365, NOW),
        (NOW + 301, NOW),
    ],
)
def test_the_time_is_that_of_the_request_while_that_is_near(timestamp: float | None, time: float) -> None:
    made = record(request("r", timestamp=timestamp))
    assert made.time_unix_nano == int(time * 1e9)
    assert made.observed_time_unix_nano == int(NOW * 1e9)
    if timestamp is not None:
        assert "timestamp" in json.loads(made.body.string_value)


@pytest.mark.parametrize(
    ("status", "severity", "text"),
    [
        ("firing", "critical", "ERROR"),
        ("firing", "warning", "WARN"),
        ("firing", "none", "INFO"),
        ("resolved", "critical", "INFO"),
    ],
)
def test_an_alert(status: str, severity: str, text: str) -> None:
    row = alert("f1", status, severity=severity)
    made = record(row)
    assert (made.event_name, made.severity_text) == ("fleetpulse.alert", text)
    assert json.loads(made.body.string_value) == row.as_json()
    assert plain(made.attributes) == {
        "event.name": "fleetpulse.alert",
        "fleetpulse.alertname": "BudgetExceeded",
        "fleetpulse.status": status,
        "fleetpulse.severity": severity,
        "fleetpulse.fingerprint": "f1",
    }


def test_a_recorded_message_goes_without_its_payload() -> None:
    row = recorded(1, text="紧急: 停机", raw='{"text": "紧急: 停机"}', rules=",urgent,boss,", timestamp=NOW - 3)
    made = record(row)
    assert (made.event_name, made.severity_text) == ("fleetpulse.message", "INFO")
    assert json.loads(made.body.string_value) == row.as_json()
    assert "raw" not in json.loads(made.body.string_value)
    assert "紧急" in made.body.string_value
    assert made.time_unix_nano == int((NOW - 3) * 1e9)
    assert plain(made.attributes) == {
        "event.name": "fleetpulse.message",
        "fleetpulse.message_id": "live/c1/1",
        "fleetpulse.stream": "live",
        "fleetpulse.kind": "message",
        "fleetpulse.room": "lobby",
        "fleetpulse.rules": "urgent,boss",
        "user.id": "u1",
    }


def test_of_a_message_from_nobody_to_nowhere_that_is_left_out() -> None:
    names = plain(record(recorded(1, user_id="", session_id=None)).attributes)
    assert names.keys().isdisjoint({"user.id", "fleetpulse.room", "fleetpulse.rules", "fleetpulse.text_length"})


@pytest.mark.parametrize("character", ["x", "天", "\x01", "😀"])
def test_a_text_that_a_store_of_logs_would_refuse_is_cut_and_says_so(character: str) -> None:
    made = record(recorded(1, text=character * 500_000))
    assert json.loads(made.body.string_value)["text"] == character * MESSAGE_CHARACTERS
    assert plain(made.attributes)["fleetpulse.text_length"] == 500_000
    assert len(made.body.string_value.encode()) < 256 * 2**10
    assert "fleetpulse.text_length" not in plain(record(recorded(1, text="x" * MESSAGE_CHARACTERS)).attributes)


def test_messages_of_the_own_chat_are_passed_over() -> None:
    rows = [recorded(1, stream="chat"), recorded(2), recorded(3, stream="chat")]
    batch = encode(numbered(rows), {}, 2**20, 512)
    assert (batch.records, batch.passed, batch.upto, batch.full) == (1, 2, 13, False)
    nothing = encode(numbered(rows[:1]), {}, 2**20, 1)
    assert (nothing.records, nothing.passed, nothing.upto, nothing.full) == (0, 1, 11, True)


def test_a_row_for_which_there_is_no_room_is_not_passed_over() -> None:
    rows = [recorded(1, stream="chat"), recorded(2, text="x" * 8_000), recorded(3, text="x" * 8_000)]
    batch = encode(numbered(rows), {}, 10_000, 512)
    assert (batch.records, batch.passed, batch.upto, batch.full) == (1, 1, 12, True)


def test_a_batch_says_who_sends_and_what_it_is() -> None:
    batch = encode(numbered([request("a"), request("b")]), {"service.name": "x"}, 2**20, 512)
    (group,) = sent(batch).resource_logs
    (scope,) = group.scope_logs
    assert plain(group.resource.attributes) == {"service.name": "x"}
    assert (scope.scope.name, scope.scope.version) == ("fleetpulse.signals", fleetpulse.__version__)
    assert [plain(each.attributes)["fleetpulse.request_id"] for each in scope.log_records] == ["a", "b"]
    assert (batch.records, batch.upto, batch.full) == (2, 12, False)


def test_a_batch_is_full_when_it_has_as_many_rows_as_it_may() -> None:
    assert encode(numbered([request("a"), request("b")]), {}, 2**20, 2).full


def test_a_batch_is_bounded_in_bytes() -> None:
    rows = numbered([request(f"r{n}", command="x" * 8_000) for n in range(20)])
    batch = encode(rows, {}, 50_000, 512)
    assert (batch.records, batch.upto, batch.full) == (5, 15, True)
    assert len(batch.body) < 50_000


def test_a_row_larger_than_a_batch_goes_alone() -> None:
    batch = encode(numbered([request("a", command="x" * 8_000), request("b")]), {}, 100, 512)
    assert (batch.records, batch.upto, batch.full) == (1, 11, True)
