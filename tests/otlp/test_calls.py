"""Which spans are model calls, and what becomes of their attributes, in every convention that is known."""

from datetime import UTC, datetime
from typing import Any

import pytest
from tests.otlp.sent import (
    CALL_EVENT,
    CHAT,
    END,
    SPAN,
    START,
    TRACE,
    failed,
    logs,
    read,
    record,
    span,
    stored,
    traces,
)

IDS = f"{TRACE.hex()}-{SPAN.hex()}"


def test_a_span_of_the_newest_conventions() -> None:
    more = {
        "gen_ai.conversation.id": "c-1",
        "user.id": "u-1",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.stream": True,
        "app.tenant": "acme",
    }
    resource = {"service.name": "assistant", "service.version": "2.1", "process.pid": 7}
    log = stored(span(CHAT | more), resource=resource)
    assert log.request_id == IDS
    assert log.trace_id == TRACE.hex()
    assert (log.source, log.user_id, log.session_id, log.command) == ("assistant", "u-1", "c-1", "chat")
    assert (log.status, log.error, log.execution_time) == ("success", None, 1.5)
    assert log.timestamp == datetime(2025, 1, 7, 10, 30, 0, 250_000, UTC)
    assert (log.provider, log.model) == ("openai", "gpt-4o-2024-08-06")
    assert (log.input_tokens, log.cached_tokens, log.output_tokens) == (1_200, 1_000, 300)
    assert (log.tokens_used, log.cost) == (None, None)
    assert log.metadata == {
        "service.version": "2.1",
        "otel.scope.name": "tests",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.stream": True,
        "app.tenant": "acme",
    }


TOLD: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "conventions of 1.27": (
        {
            "gen_ai.system": "openai",
            "gen_ai.operation.name": "text_completion",
            "gen_ai.request.model": "gpt-4o",
            "gen_ai.usage.prompt_tokens": 10,
            "gen_ai.usage.completion_tokens": 5,
            "enduser.id": "u-2",
        },
        {
            "provider": "openai",
            "model": "gpt-4o",
            "input_tokens": 10,
            "output_tokens": 5,
            "user_id": "u-2",
            "command": "text_completion",
        },
    ),
    "OpenInference": (
        {
            "openinference.span.kind": "LLM",
            "llm.system": "openai",
            "llm.provider": "azure",
            "llm.model_name": "gpt-4o-mini",
            "llm.token_count.prompt": 100,
            "llm.token_count.prompt_details.cache_read": 60,
            "llm.token_count.completion": 20,
            "llm.token_count.total": 120,
            "llm.cost.total": 0.25,
            "session.id": "s-1",
            "user.id": "u-3",
            "llm.input_messages.0.message.role": "system",
            "llm.input_messages.0.message.content": "Be brief.",
            "llm.input_messages.1.message.role": "user",
            "llm.input_messages.1.message.content": "你好",
        },
        {
            "provider": "azure",
            "model": "gpt-4o-mini",
            "input_tokens": 100,
            "cached_tokens": 60,
            "output_tokens": 20,
            "tokens_used": 120,
            "cost": 0.25,
            "session_id": "s-1",
            "user_id": "u-3",
            "command": "chat: 你好",
        },
    ),
    "a failed call of OpenInference": (
        {"openinference.span.kind": "LLM", "llm.invocation_parameters": '{"model": "gpt-4o", "n": 1}'},
        {"model": "gpt-4o"},
    ),
    "a call whose parameters are no JSON": (
        {"openinference.span.kind": "LLM", "llm.invocation_parameters": '{"model": '},
        {"model": None},
    ),
    "embeddings of OpenInference": (
        {
            "openinference.span.kind": "EMBEDDING",
            "embedding.model_name": "text-embedding-3-small",
            "llm.token_count.prompt": 8,
            "llm.token_count.total": 8,
            "embedding.embeddings.0.embedding.text": "two and two",
        },
        {
            "model": "text-embedding-3-small",
            "input_tokens": 8,
            "tokens_used": 8,
            "command": "embeddings: two and two",
        },
    ),
    "OpenLLMetry": (
        {
            "gen_ai.system": "Anthropic",
            "llm.request.type": "chat",
            "gen_ai.request.model": "claude-sonnet-4-5",
            "gen_ai.response.model": "claude-sonnet-4-5-20250929",
            "gen_ai.usage.prompt_tokens": 40,
            "gen_ai.usage.completion_tokens": 4,
            "llm.usage.total_tokens": 44,
            "gen_ai.usage.cache_read_input_tokens": 30,
            "gen_ai.prompt.0.role": "user",
            "gen_ai.prompt.0.content": "first",
            "gen_ai.prompt.1.role": "assistant",
            "gen_ai.prompt.1.content": "answer",
            "gen_ai.prompt.2.role": "user",
            "gen_ai.prompt.2.content": "second",
            "gen_ai.completion.0.content": "never kept",
            "traceloop.association.properties.user_id": 42,
            "traceloop.association.properties.session_id": "s-2",
        },
        {
            "provider": "anthropic",
            "model": "claude-sonnet-4-5-20250929",
            "input_tokens": 40,
            "output_tokens": 4,
            "cached_tokens": 30,
            "tokens_used": 44,
            "user_id": "42",
            "session_id": "s-2",
            "command": "chat: second",
        },
    ),
    "Vercel's AI SDK": (
        {
            "operation.name": "ai.generateText.doGenerate",
            "ai.telemetry.metadata.userId": "u-4",
            "gen_ai.system": "openai.chat",
            "gen_ai.request.model": "gpt-4o",
            "gen_ai.usage.input_tokens": 7,
            "gen_ai.usage.output_tokens": 2,
        },
        {"provider": "openai", "model": "gpt-4o", "input_tokens": 7, "user_id": "u-4", "command": "chat"},
    ),
    "an operation that only its author knows": (
        {"gen_ai.operation.name": "converse", "gen_ai.request.model": "nova", "gen_ai.usage.input_tokens": 1},
        {"command": "converse", "model": "nova"},
    ),
    "a server of models": (
        {"gen_ai.response.model": "qwen3", "gen_ai.usage.prompt_tokens": 9, "gen_ai.usage.completion_tokens": 3},
        {"model": "qwen3", "input_tokens": 9, "output_tokens": 3},
    ),
    "two costs without a total": (
        CHAT | {"llm.cost.prompt": 0.25, "llm.cost.completion": 0.5},
        {"cost": 0.75},
    ),
}


@pytest.mark.parametrize("told", TOLD)
def test_every_convention_is_read(told: str) -> None:
    attributes, expected = TOLD[told]
    log = stored(span(attributes))
    assert {name: getattr(log, name) for name in expected} == expected


IGNORED: dict[str, dict[str, Any]] = {
    "an agent": CHAT | {"gen_ai.operation.name": "invoke_agent"},
    "a tool": {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"},
    "a workflow": CHAT | {"gen_ai.operation.name": "invoke_workflow"},
    "a retrieval": {"gen_ai.operation.name": "retrieval", "gen_ai.request.model": "m"},
    "a chain of OpenInference": CHAT | {"openinference.span.kind": "CHAIN"},
    "an agent of OpenInference": {"openinference.span.kind": "AGENT", "llm.token_count.total": 5},
    "a retriever of OpenInference": {"openinference.span.kind": "RETRIEVER"},
    "a workflow of OpenLLMetry": CHAT | {"traceloop.span.kind": "workflow"},
    "an operation nobody knows, without tokens": {
        "gen_ai.operation.name": "create_memory",
        "gen_ai.system": "openai",
        "gen_ai.request.model": "m",
    },
    "HTTP": {"http.request.method": "POST", "url.full": "https://api.openai.com/v1/chat/completions"},
    "a database": {"db.system.name": "postgresql"},
    "nothing": {},
}


@pytest.mark.parametrize("what", IGNORED)
def test_what_is_no_call_is_ignored_and_counted(what: str) -> None:
    account = read(traces(span(IGNORED[what]), span(IGNORED[what], trace_id=b"", span_id=b"")))
    assert (account.good, account.ignored, account.rejected.total()) == ([], 2, 0)


def test_the_better_name_wins_wherever_it_stands() -> None:
    names = {"gen_ai.usage.prompt_tokens": 1, "gen_ai.usage.input_tokens": 2, "llm.token_count.prompt": 3}
    for attributes in (names, dict(reversed(names.items()))):
        assert stored(span({"gen_ai.operation.name": "chat"} | attributes)).input_tokens == 2
    empty = {"gen_ai.operation.name": "chat", "gen_ai.response.model": "", "gen_ai.request.model": "gpt-4o"}
    assert stored(span(empty)).model == "gpt-4o"


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("openai", "openai"),
        ("OpenAI", "openai"),
        ("openai.responses", "openai"),
        ("azure.ai.openai", "azure"),
        ("az.ai.inference", "azure"),
        ("aws.bedrock", "aws"),
        ("gcp.vertex_ai", "google"),
        ("google.generative-ai", "google"),
        ("x_ai", "x-ai"),
        ("mistral_ai", "mistral"),
        ("ibm.watsonx.ai", "ibm.watsonx.ai"),
        ("Ollama", "ollama"),
    ],
)
def test_providers_have_the_names_of_their_prices(said: str, meant: str) -> None:
    assert stored(span(CHAT | {"gen_ai.provider.name": said})).provider == meant


@pytest.mark.parametrize(
    ("resource", "source"),
    [
        ({"service.name": "bot"}, "bot"),
        ({"service.name": "unknown_service:python"}, "unknown_service"),
        ({"service.name": ""}, "unknown_service"),
        ({}, "unknown_service"),
    ],
)
def test_the_service_is_the_source(resource: dict[str, Any], source: str) -> None:
    assert stored(span(), resource=resource).source == source


def test_an_account_may_be_named_for_a_service_or_a_call() -> None:
    resource = {"service.name": "bot", "fleetpulse.account_id": "wechat-7"}
    assert stored(span(), resource=resource).account_id == "wechat-7"
    assert stored(span(CHAT | {"fleetpulse.account_id": "wechat-8"}), resource=resource).account_id == "wechat-8"


@pytest.mark.parametrize(
    ("start", "end", "seconds", "told"),
    [(START, END, 1.5, True), (END, START, 0, True), (0, END, 0, True), (START, 0, 0, True), (0, 0, 0, False)],
)
def test_times_that_are_wrong_or_missing(start: int, end: int, seconds: float, *, told: bool) -> None:
    log = stored(span(start_time_unix_nano=start, end_time_unix_nano=end))
    assert log.execution_time == seconds
    assert (log.timestamp is not None) is told


@pytest.mark.parametrize("changes", [{"trace_id": b""}, {"span_id": bytes(8)}, {"trace_id": b"short"}])
def test_a_call_needs_an_identity(changes: dict[str, Any]) -> None:
    account = read(traces(span(**changes), span()))
    assert len(account.good) == 1
    assert list(account.rejected) == ["trace_id and span_id: a span needs both, of 16 and 8 bytes"]


def test_tokens_that_have_no_field_of_their_own_are_metadata() -> None:
    names = ("gen_ai.usage.cache_creation.input_tokens", "gen_ai.usage.reasoning.output_tokens")
    told = {names[0]: 30, "llm.token_count.completion_details.reasoning": 200}
    metadata = stored(span(CHAT | told)).metadata
    assert metadata is not None
    assert [metadata[name] for name in names] == [30, 200]


def test_content_becomes_no_metadata() -> None:
    content = {
        "gen_ai.input.messages": "[]",
        "gen_ai.output.messages": "[]",
        "gen_ai.system_instructions": "Be good.",
        "llm.invocation_parameters": "{}",
        "output.value": "Four.",
    }
    metadata = stored(span(CHAT | content)).metadata
    assert metadata == {"otel.scope.name": "tests", "gen_ai.request.model": "gpt-4o"}


def test_metadata_is_bounded() -> None:
    long = {"long": "x" * 300, "n" * 200: "name", "list": ["x" * 300], "nested": {"a": 1}, "odd": float("nan")}
    many = {f"key.{number}": number for number in range(100)}
    metadata = stored(span(CHAT | long | many)).metadata
    assert metadata is not None
    assert not set(long) & set(metadata)
    assert len(metadata) <= 36
    assert metadata["key.0"] == 0


# Log records --------------------------------------------------------------------------------------------------
IN_SPAN: dict[str, Any] = {"trace_id": TRACE, "span_id": SPAN}


def test_an_event_outside_of_spans_is_a_request_log() -> None:
    (log,) = read(logs(record())).good
    assert (log.source, log.model, log.input_tokens) == ("assistant", "gpt-4o-2024-08-06", 1_200)
    assert (log.execution_time, log.trace_id) == (0, None)
    assert log.timestamp == datetime(2025, 1, 7, 10, 30, 0, 250_000, UTC)


def test_an_event_outside_of_spans_is_known_by_what_it_says() -> None:
    (log,) = read(logs(record())).good
    assert log.request_id.startswith("log-")
    assert read(logs(record())).good[0].request_id == log.request_id
    for other in (
        logs(record(time_unix_nano=START + 1_000)),
        logs(record(), resource={"service.name": "b"}),
        logs(record(CHAT | {"gen_ai.response.id": "2"})),
    ):
        assert read(other).good[0].request_id != log.request_id


def test_an_event_of_an_exported_span_is_told_by_the_span() -> None:
    sampled = logs(record(**IN_SPAN, flags=3))
    assert (read(sampled).good, read(sampled).ignored) == ([], 1)
    (log,) = read(sampled, events=True).good
    assert log.request_id == stored(span()).request_id


def test_an_event_of_a_span_that_is_not_exported_has_its_identity() -> None:
    (log,) = read(logs(record(**IN_SPAN, flags=2))).good
    assert (log.request_id, log.trace_id) == (IDS, TRACE.hex())


def test_an_event_named_by_an_attribute_counts_too() -> None:
    account = read(logs(record(CHAT | {"event.name": CALL_EVENT}, event_name="")))
    assert len(account.good) == 1


def test_an_event_without_a_time_has_that_of_its_observation() -> None:
    (log,) = read(logs(record(time_unix_nano=0, observed_time_unix_nano=START))).good
    assert log.timestamp == datetime(2025, 1, 7, 10, 30, 0, 250_000, UTC)


def test_an_event_may_tell_of_an_error() -> None:
    (log,) = read(logs(record(CHAT | {"error.type": "RateLimitError"}))).good
    assert (log.status, log.error) == ("rate_limited", "RateLimitError")


@pytest.mark.parametrize("name", ["gen_ai.user.message", "gen_ai.choice", "gen_ai.evaluation.result", ""])
def test_other_records_are_ignored(name: str) -> None:
    account = read(logs(record(event_name=name)))
    assert (account.good, account.ignored) == ([], 1)


def test_what_fleetpulse_sends_itself_is_ignored() -> None:
    own = "fleetpulse.signals"
    for account in (read(logs(record(), scope=own)), read(traces(span(status=failed()), scope=own))):
        assert (account.good, account.ignored) == ([], 1)
