"""What breaks the bounds of a request log is trimmed where that loses little, and rejected where it would lie."""

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.otlp.sent import CHAT, START, logs, read, record, span, stored, traces

from fleetpulse.otlp.checked import CheckedLog, Checker
from fleetpulse.otlp.vocabulary import ORIGIN_METADATA
from fleetpulse.signals import MAX_METADATA_BYTES, RequestLog

TRIMMED: dict[str, tuple[dict[str, Any], str, Any]] = {
    "a long model": ({"gen_ai.response.model": "m" * 300}, "model", "m" * 128),
    "a model of two lines": ({"gen_ai.response.model": "a\nb\x00"}, "model", "a b"),
    "a model of blanks": ({"gen_ai.response.model": " \t "}, "model", None),
    "a long provider": ({"gen_ai.provider.name": "P" * 300}, "provider", "p" * 128),
    "a long user": ({"user.id": "u" * 300}, "user_id", "u" * 200),
    "a long session": ({"session.id": "s" * 300}, "session_id", "s" * 200),
    "a session of two lines": ({"session.id": "a\u2028b"}, "session_id", "a b"),
    "NUL in what was said": ({"gen_ai.prompt": "a\x00b"}, "command", "chat: a b"),
    "a long error": ({"error.type": "e" * 10_000}, "error", "e" * 8_192),
    "NUL in an error": ({"error.type": "a\x00b"}, "error", "a b"),
}


@pytest.mark.parametrize("what", TRIMMED)
def test_texts_are_trimmed(what: str) -> None:
    attributes, field, trimmed = TRIMMED[what]
    log = stored(span(CHAT | attributes))
    assert getattr(log, field) == trimmed
    assert log.input_tokens == 1_200


@pytest.mark.parametrize(("name", "source"), [("n" * 300, "n" * 128), ("a\nb", "a b"), ("\x01", "unknown_service")])
def test_so_is_the_source(name: str, source: str) -> None:
    assert stored(span(), resource={"service.name": name}).source == source


def test_metadata_is_never_too_long() -> None:
    """The most that is kept of everything: names, lists and texts at their limits, and what is added to them."""
    digits = [1] * 126  # 253 bytes of JSON, and 126 blanks where Python writes it
    wide = {f"{number:02}{'k' * 120}": digits for number in range(30)}
    resource = dict.fromkeys(ORIGIN_METADATA, "x" * 254) | {"service.name": "s"}
    counts = {"gen_ai.usage.reasoning.output_tokens": 2**60, "gen_ai.usage.cache_write.input_tokens": 2**60}
    asked = {"gen_ai.request.model": "a" * 254}
    log = stored(span(CHAT | wide | counts | asked), resource=resource)
    assert log.metadata is not None
    assert len(log.metadata) == 24 + len(ORIGIN_METADATA) + 4
    assert 13_500 < len(json.dumps(log.metadata, ensure_ascii=False)) <= MAX_METADATA_BYTES


@pytest.mark.parametrize(
    "value", ["\x01" * 60, "x" * 255, ["x" * 255], [float("nan")], [[1]], {"a": 1}, float("inf")]
)
def test_metadata_is_short_and_flat(value: Any) -> None:
    assert "app.x" not in (stored(span(CHAT | {"app.x": value})).metadata or {})


REJECTED: dict[str, tuple[dict[str, Any], str]] = {
    "negative tokens": ({"gen_ai.usage.input_tokens": -1}, "input_tokens: "),
    "absurd tokens": ({"gen_ai.usage.output_tokens": 2**60}, "output_tokens: "),
    "a fraction of a token": ({"gen_ai.usage.input_tokens": 1.5}, "input_tokens: "),
    "words for tokens": ({"gen_ai.usage.input_tokens": "many"}, "input_tokens: "),
    "no finite tokens": ({"gen_ai.usage.input_tokens": float("nan")}, "input_tokens: "),
    "negative cost": ({"gen_ai.usage.cost": -0.5}, "cost: "),
    "no finite cost": ({"gen_ai.usage.cost": float("inf")}, "cost: "),
}


@pytest.mark.parametrize("what", REJECTED)
def test_numbers_that_would_lie_are_rejected_alone(what: str) -> None:
    attributes, reason = REJECTED[what]
    account = read(traces(span(CHAT | attributes), span(span_id=b"12345678")))
    assert [log.request_id[-16:] for log in account.good] == [b"12345678".hex()]
    (told,) = account.rejected
    assert told.startswith(reason)


def test_whole_numbers_may_be_written_as_others() -> None:
    log = stored(span(CHAT | {"gen_ai.usage.input_tokens": 1_500.0, "gen_ai.usage.output_tokens": "300"}))
    assert (log.input_tokens, log.output_tokens) == (1_500, 300)


@pytest.mark.parametrize(
    ("start", "seconds", "reason"),
    [
        (time.time_ns() + 3 * 86_400 * 10**9, 1, "timestamp: "),
        (2**64 - 1 - 10**9, 1, "timestamp: "),
        (START, 10**7, "execution_time: "),
    ],
)
def test_times_that_cannot_be_are_rejected(start: int, seconds: int, reason: str) -> None:
    account = read(traces(span(start_time_unix_nano=start, end_time_unix_nano=start + seconds * 10**9)))
    (told,) = account.rejected
    assert told.startswith(reason)


def test_too_many_attributes_are_rejected() -> None:
    account = read(traces(span({f"k{number}": number for number in range(3_000)}), span()))
    assert (len(account.good), list(account.rejected)) == (1, ["attributes: there are too many of them"])
    assert not read(logs(record({f"k{number}": number for number in range(3_000)}))).good


def test_reasons_are_counted_and_bounded() -> None:
    odd = [span(CHAT | {f"gen_ai.usage.{kind}_tokens": -1}) for kind in ("input", "input", "output")]
    said = read(traces(*odd)).reasons("spans")
    assert said == (
        "2 spans rejected: input_tokens: Input should be greater than or equal to 0; "
        "1 spans rejected: output_tokens: Input should be greater than or equal to 0"
    )


anything: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(st.characters(codec="utf-8"), max_size=400)
    | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(
    [
        *CHAT,
        "gen_ai.system",
        "gen_ai.usage.cost",
        "gen_ai.usage.total_tokens",
        "gen_ai.input.messages",
        "openinference.span.kind",
        "llm.cost.prompt",
        "error.type",
        "user.id",
        "session.id",
        "input.value",
        "traceloop.span.kind",
        "app.any",
    ]
)


@given(
    st.dictionaries(names, anything, max_size=8),
    st.dictionaries(st.sampled_from(["service.name", "service.version", "fleetpulse.account_id"]), anything),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1),
)
def test_whatever_is_sent_every_item_is_accounted_for_and_valid(
    attributes: dict[str, Any], resource: dict[str, Any], start: int, end: int
) -> None:
    base = span(CHAT | attributes, start_time_unix_nano=start, end_time_unix_nano=end)
    account = read(traces(base, span({"gen_ai.operation.name": "chat"} | attributes), resource=resource))
    assert len(account.good) + account.ignored + account.rejected.total() == 2
    for log in account.good:
        fields = log._asdict() if isinstance(log, CheckedLog) else log.model_dump()
        assert RequestLog.model_validate(fields).model_dump() == fields
        assert RequestLog.model_validate(fields).total_tokens == log.total_tokens
    assert account.reasons("spans").isprintable()


BOUNDS: dict[str, list[Any]] = {
    "model": ["m" * 128, "m" * 129, " m", "m\u3000", "\u3000", "a\u00a0b", "a\x85b", "a\u2028b", "", None],
    "provider": ["p" * 128, "p" * 129, "p ", None],
    "source": ["s" * 128, "s" * 129, "", "a\tb"],
    "user_id": ["u" * 200, "u" * 201, "", " ", "a\nb"],
    "session_id": ["s" * 200, "s" * 201, "", None],
    "account_id": ["a" * 200, "a" * 201, "", None],
    "command": ["c" * 8_192, "c" * 8_193, "a\x00b", "a\nb", ""],
    "error": ["a\x00b", "a\nb", None],
    "execution_time": [0.0, -0.1, 1e6, 1e6 + 1, float("nan"), float("inf")],
    "timestamp": [None, datetime.now(UTC), datetime.now(UTC) + timedelta(days=1, minutes=1)],
    "input_tokens": [0, -1, 2**53 - 1, 2**53, 1.0, 1.5, "1", True, None, [1], float("nan")],
    "output_tokens": [0, -1, 2**53, None],
    "cached_tokens": [0, 1, 10, 11, None],
    "tokens_used": [0, -1, 2**53, None],
    "cost": [0.0, -0.1, 1e6, 1e6 + 1, float("nan"), 1, "1", True, None],
}


@pytest.mark.parametrize("field", BOUNDS)
def test_what_is_taken_at_a_glance_would_pass_validation_as_it_is(field: str) -> None:
    checker, taken = Checker(), []
    for value in BOUNDS[field]:
        fields: dict[str, Any] = {
            "request_id": "r",
            "source": "s",
            "status": "success",
            "execution_time": 1.0,
            "input_tokens": 10,
            field: value,
        }
        for _ in range(2):  # the second time, labels are known
            log = checker.checked(fields)
            if log is not None:
                taken.append(value)
                assert RequestLog.model_validate(fields).model_dump() == log._asdict()
    assert taken, "nothing is taken at a glance"


@given(st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in BOUNDS.items()}))
def test_so_it_is_for_all_fields_together(drawn: dict[str, Any]) -> None:
    base = {
        "request_id": "r",
        "source": "s",
        "status": "success",
        "execution_time": 1.0,
        "user_id": "",
        "command": "",
    }
    fields = base | drawn
    log = Checker().checked(fields)
    if log is not None:
        assert RequestLog.model_validate(fields).model_dump() == log._asdict()
