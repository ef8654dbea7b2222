"""The models of what comes in: bounds on both sides of each edge, and no document that breaks anything."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from fleetpulse.signals import (
    MAX_INT,
    MAX_METADATA_BYTES,
    AgentHeartbeat,
    AlertEvent,
    Heartbeat,
    RequestLog,
    RunningTask,
    Signal,
)

REQUEST = {"request_id": "r", "source": "telegram", "status": "success", "execution_time": 1.0}
BEAT = {"status": "busy", "cpu_usage": 50, "memory_usage": 50}
ALERT = {"fingerprint": "f", "alertname": "a", "status": "firing", "starts_at": "2025-10-09T08:00:00Z"}
MINIMAL: list[tuple[type[Signal], dict[str, Any]]] = [
    (RequestLog, REQUEST),
    (Heartbeat, BEAT),
    (AgentHeartbeat, BEAT | {"agent_id": "a"}),
    (AlertEvent, ALERT),
    (RunningTask, {"task_id": 1}),
]


def parse(model: type[BaseModel], document: dict[str, Any]) -> Any:
    return model.model_validate_json(json.dumps(document))


@pytest.mark.parametrize(("model", "document"), MINIMAL)
def test_the_least_that_is_needed_is_enough(model: type[Signal], document: dict[str, Any]) -> None:
    parse(model, document)
    for name in document:
        with pytest.raises(ValidationError):
            parse(model, {key: value for key, value in document.items() if key != name})


@pytest.mark.parametrize(("model", "document"), MINIMAL)
def test_unknown_fields_are_ignored(model: type[Signal], document: dict[str, Any]) -> None:
    assert parse(model, document | {"from_the_future": {"x": 1}}) == parse(model, document)


def test_signals_are_frozen() -> None:
    log = parse(RequestLog, REQUEST)
    with pytest.raises(ValidationError):
        log.source = "x"


GOOD: list[tuple[type[Signal], str, Any]] = [
    (RequestLog, "request_id", "x" * 200),
    (RequestLog, "request_id", "  请求-1  "),
    (RequestLog, "source", "群" * 128),
    (RequestLog, "source", 'a "b" \\ {c}'),
    (RequestLog, "status", "x" * 64),
    (RequestLog, "user_id", ""),
    (RequestLog, "user_id", "x" * 200),
    (RequestLog, "command", ""),
    (RequestLog, "command", "line\nline\t" + "x" * 8_182),
    (RequestLog, "execution_time", 0),
    (RequestLog, "execution_time", 1_000_000.0),
    (RequestLog, "execution_time", "1.5"),
    (RequestLog, "cost", 0.0),
    (RequestLog, "cost", 1_000_000),
    (RequestLog, "cost", None),
    (RequestLog, "tokens_used", MAX_INT),
    (RequestLog, "tokens_used", 3.0),
    (RequestLog, "timestamp", "1970-01-01T00:00:00Z"),
    (RequestLog, "timestamp", "2025-01-07T10:30:00"),
    (RequestLog, "timestamp", "2025-01-07T18:30:00+08:00"),
    (RequestLog, "timestamp", 1_736_245_800),
    (RequestLog, "metadata", {}),
    (RequestLog, "metadata", {"deep": [{"er": None}], "数": 1e300}),
    (Heartbeat, "cpu_usage", 0),
    (Heartbeat, "cpu_usage", 100),
    (Heartbeat, "memory_usage", 100.0),
    (Heartbeat, "status", " 忙 "),
    (Heartbeat, "running_tasks", []),
    (Heartbeat, "running_tasks", [{"task_id": n} for n in range(1_000)]),
    (Heartbeat, "running_tasks", [{"task_id": "uuid", "workspace_id": None}]),
    (Heartbeat, "pool_id", None),
    (AgentHeartbeat, "agent_id", "x" * 128),
    (AlertEvent, "ends_at", "0001-01-01T00:00:00Z"),
    (AlertEvent, "labels", {f"l{n}": "v" for n in range(64)}),
    (AlertEvent, "annotations", {"summary": "两行\n文字"}),
    (RunningTask, "task_id", MAX_INT),
    (RunningTask, "task_id", "x"),
]

BAD: list[tuple[type[Signal], str, Any]] = [
    (RequestLog, "request_id", ""),
    (RequestLog, "request_id", "   "),
    (RequestLog, "request_id", "x" * 201),
    (RequestLog, "request_id", "a\nb"),
    (RequestLog, "request_id", "a\x00b"),
    (RequestLog, "request_id", "a\u2028b"),
    (RequestLog, "request_id", "a\x7fb"),
    (RequestLog, "request_id", 7),
    (RequestLog, "request_id", None),
    (RequestLog, "source", "x" * 129),
    (RequestLog, "source", "a\tb"),
    (RequestLog, "status", "x" * 65),
    (RequestLog, "status", ""),
    (RequestLog, "user_id", "x" * 201),
    (RequestLog, "command", "x" * 8_193),
    (RequestLog, "command", "a\x00"),
    (RequestLog, "execution_time", -0.001),
    (RequestLog, "execution_time", 1_000_000.1),
    (RequestLog, "execution_time", float("nan")),
    (RequestLog, "execution_time", float("inf")),
    (RequestLog, "execution_time", "soon"),
    (RequestLog, "execution_time", None),
    (RequestLog, "cost", -0.01),
    (RequestLog, "cost", 1_000_000.01),
    (RequestLog, "cost", float("nan")),
    (RequestLog, "tokens_used", -1),
    (RequestLog, "tokens_used", MAX_INT + 1),
    (RequestLog, "tokens_used", 1.5),
    (RequestLog, "tokens_used", 10**400),
    (RequestLog, "timestamp", "1969-12-31T23:59:59Z"),
    (RequestLog, "timestamp", "9999-12-31T23:59:59-12:00"),
    (RequestLog, "timestamp", "0001-01-01T00:00:00+14:00"),
    (RequestLog, "timestamp", "yesterday"),
    (RequestLog, "timestamp", float("nan")),
    (RequestLog, "timestamp", 1e300),
    (
        RequestLog,
        "timestamp",
        (datetime.now(UTC) + timedelta(days=1, hours=2)).isoformat(),
    ),  # collected long before it runs
    (RequestLog, "metadata", {"x": "y" * MAX_METADATA_BYTES}),
    (RequestLog, "metadata", {"x": float("nan")}),
    (RequestLog, "metadata", {"x": 10**30}),
    (RequestLog, "metadata", [1]),
    (RequestLog, "metadata", "text"),
    (Heartbeat, "cpu_usage", -0.1),
    (Heartbeat, "cpu_usage", 100.1),
    (Heartbeat, "memory_usage", float("nan")),
    (Heartbeat, "memory_usage", float("-inf")),
    (Heartbeat, "status", ""),
    (Heartbeat, "running_tasks", [{"task_id": n} for n in range(1_001)]),
    (Heartbeat, "running_tasks", [{}]),
    (Heartbeat, "running_tasks", None),
    (Heartbeat, "pool_id", "x" * 129),
    (Heartbeat, "pool_id", ""),
    (AgentHeartbeat, "agent_id", "a\r\nb"),
    (AlertEvent, "status", "silenced"),
    (AlertEvent, "starts_at", "2025-10-09T08:00:00"),
    (AlertEvent, "labels", {f"l{n}": "v" for n in range(65)}),
    (AlertEvent, "labels", {"a": "x" * 8_193}),
    (AlertEvent, "labels", {"a\nb": "x"}),
    (RunningTask, "task_id", -1),
    (RunningTask, "task_id", MAX_INT + 1),
    (RunningTask, "task_id", ""),
]


def of(model: type[Signal]) -> dict[str, Any]:
    return next(document for each, document in MINIMAL if each is model)


@pytest.mark.parametrize(("model", "name", "value"), GOOD)
def test_within_the_bounds(model: type[Signal], name: str, value: Any) -> None:
    parse(model, of(model) | {name: value})


@pytest.mark.parametrize(("model", "name", "value"), BAD)
def test_past_the_bounds(model: type[Signal], name: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        parse(model, of(model) | {name: value})
    assert caught.value.errors()[0]["loc"][0] == name


@pytest.mark.parametrize("escaped", ["\\ud800", "\\udfff", "a\\ud83d"])
def test_half_a_character_is_refused(escaped: str) -> None:
    body = json.dumps(REQUEST).replace("telegram", escaped)
    with pytest.raises(ValidationError):
        RequestLog.model_validate_json(body)


def test_a_whole_one_is_kept() -> None:
    body = json.dumps(REQUEST).replace("telegram", "\\ud83e\\udd16")
    assert RequestLog.model_validate_json(body).source == "🤖"


def test_names_are_stripped_and_statuses_are_lower_case() -> None:
    log = parse(RequestLog, REQUEST | {"source": " 群 ", "status": " SUCCESS "})
    assert (log.source, log.status) == ("群", "success")
    assert parse(Heartbeat, BEAT | {"status": "Offline"}).status == "offline"


@pytest.mark.parametrize(
    "written", ["2025-01-07T10:30:00Z", "2025-01-07T10:30:00", "2025-01-07T18:30:00+08:00", 1_736_245_800]
)
def test_times_are_utc(written: Any) -> None:
    found = parse(RequestLog, REQUEST | {"timestamp": written}).timestamp
    assert found == datetime(2025, 1, 7, 10, 30, tzinfo=UTC)
    assert found.utcoffset() == timedelta(0)


def test_a_clock_that_is_a_little_ahead_is_no_error() -> None:
    ahead = datetime.now(UTC) + timedelta(hours=23)
    assert parse(RequestLog, REQUEST | {"timestamp": ahead.isoformat()}).timestamp == ahead


def test_the_longest_metadata_is_kept() -> None:
    room = MAX_METADATA_BYTES - len(json.dumps({"x": ""}))
    parse(RequestLog, REQUEST | {"metadata": {"x": "群" * room}})
    with pytest.raises(ValidationError):
        parse(RequestLog, REQUEST | {"metadata": {"x": "群" * (room + 1)}})


@pytest.mark.parametrize(
    ("tokens", "total"),
    [
        ({}, 0),
        ({"tokens_used": 5}, 5),
        ({"input_tokens": 3, "output_tokens": 4}, 7),
        ({"tokens_used": 9, "input_tokens": 3, "output_tokens": 4}, 9),
        ({"tokens_used": 2, "input_tokens": 3, "output_tokens": 4}, 7),
        ({"input_tokens": 3, "cached_tokens": 3}, 3),
    ],
)
def test_the_total_is_what_was_reported_or_the_sum_where_that_is_more(tokens: dict[str, int], total: int) -> None:
    assert parse(RequestLog, REQUEST | tokens).total_tokens == total


@pytest.mark.parametrize("tokens", [{"cached_tokens": 1}, {"input_tokens": 3, "cached_tokens": 4}])
def test_cached_tokens_are_part_of_the_input(tokens: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match="cached_tokens exceed input_tokens"):
        parse(RequestLog, REQUEST | tokens)


def test_the_documents_own_examples_are_valid() -> None:
    parse(
        Heartbeat,
        {
            "status": "busy",
            "cpu_usage": 45.2,
            "memory_usage": 62.8,
            "running_tasks": [
                {
                    "task_id": 123,
                    "task_type": "code_review",
                    "workspace_id": "ws",
                    "started_at": "2025-01-07T10:30:00Z",
                }
            ],
        },
    )
    parse(
        RequestLog,
        {
            "request_id": "req_1",
            "source": "telegram",
            "user_id": "user_1",
            "command": "查询",
            "status": "success",
            "execution_time": 1.5,
            "tokens_used": 100,
            "cost": 0.002,
        },
    )


# Any document -------------------------------------------------------------------------------------------------
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["", "2025-01-01", "9999-12-31T23:59:59-23:59", "NaN", "1e999", "\x00", "success"])
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner)
)


def documents(model: type[Signal]) -> st.SearchStrategy[Any]:
    """Documents near the model: valid ones with some fields changed, and anything at all."""
    near = st.dictionaries(st.sampled_from([*model.model_fields, "extra"]), values)
    return near.map(lambda changed: of(model) | changed) | values


@pytest.mark.parametrize("model", [model for model, _ in MINIMAL])
@given(data=st.data())
def test_any_document_is_valid_or_says_what_is_wrong(model: type[Signal], data: st.DataObject) -> None:
    body = json.dumps(data.draw(documents(model)))
    try:
        signal = model.model_validate_json(body)
    except ValidationError as error:
        assert error.errors(include_url=False, include_context=False, include_input=False)  # noqa: PT017 - both outcomes are right; a refusal has to say why
    else:
        again = model.model_validate_json(signal.model_dump_json())
        assert again == signal, "what is valid once is valid again"


@pytest.mark.parametrize("model", [model for model, _ in MINIMAL])
@given(body=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_refused_in_words(model: type[Signal], body: bytes) -> None:
    with pytest.raises(ValidationError):
        model.model_validate_json(body)


def test_deep_nesting_is_refused_in_words() -> None:
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        nested = opening * 100_000 + "1" + closing * 100_000
        with pytest.raises(ValidationError):
            RequestLog.model_validate_json(json.dumps(REQUEST)[:-1] + f', "metadata": {nested}}}')
