"""Both encodings say the same; what is none of them is refused; nothing is read past its bounds."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from tests.otlp.sent import CHAT, END, START, as_json, failed, logs, read, read_bytes, record, span, stored, traces
from tests.otlp.test_intake import anything, names

from fleetpulse.errors import InvalidInputError, MalformedError, TooLargeError
from fleetpulse.otlp.intake import Account
from fleetpulse.otlp.plain import LOGS, TRACES, Kind
from fleetpulse.otlp.reply import JSON, PROTOBUF

MEDIA = (PROTOBUF, JSON)
times = st.integers(0, 2**63) | st.just(START)
ids = st.sampled_from([b"", bytes(16), bytes(range(16)), b"abc"])
attributes = st.dictionaries(names, anything, max_size=6).map(lambda drawn: CHAT | drawn)
spans = st.builds(
    lambda given, trace, own, start, end, message, events: span(
        given,
        trace_id=trace,
        span_id=own[:8],
        start_time_unix_nano=start,
        end_time_unix_nano=end,
        status=failed(message) if message else None,
        events=events,
    ),
    attributes,
    ids,
    ids,
    times,
    times,
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.lists(st.tuples(st.sampled_from(["exception", "gen_ai.user.message", "x"]), attributes), max_size=2),
)
records = st.builds(
    lambda given, trace, own, when, flags: record(
        given, trace_id=trace, span_id=own[:8], time_unix_nano=when, flags=flags
    ),
    attributes,
    ids,
    ids,
    times,
    st.integers(0, 3),
)
resources = st.dictionaries(st.sampled_from(["service.name", "service.version"]), anything, max_size=2)


def told(account: Account) -> tuple[Any, ...]:
    return account.good, account.ignored, account.rejected


@given(st.lists(spans, max_size=3), resources)
def test_spans_say_the_same_in_both_encodings(drawn: list[Any], resource: dict[str, Any]) -> None:
    request = traces(*drawn, resource=resource)
    assert told(read(request, PROTOBUF)) == told(read(request, JSON))


@given(st.lists(records, max_size=3), resources, st.booleans())
def test_records_say_the_same_in_both_encodings(drawn: list[Any], resource: dict[str, Any], events: bool) -> None:  # noqa: FBT001 - drawn
    request = logs(*drawn, resource=resource)
    assert told(read(request, PROTOBUF, events=events)) == told(read(request, JSON, events=events))


@given(st.lists(spans, max_size=3), st.data())
def test_the_walk_finds_what_protobuf_itself_finds(drawn: list[Any], data: st.DataObject) -> None:
    """Fields in any order, unknown ones between them, and numbers written longer than they need be."""
    request = traces(*drawn)
    whole = read(request)
    shuffled = data.draw(st.permutations(list(pieces(request))))
    assert told(read_bytes(b"".join(shuffled))) == told(whole)


def pieces(request: ExportTraceServiceRequest) -> list[bytes]:
    """A request cut into fields that mean the same together: each span in a resource of its own."""
    of_resource = request.resource_spans[0]
    of_scope = of_resource.scope_spans[0]
    resource = of_resource.resource.SerializeToString()
    unknown = field(50, b"unknown", padded=True)
    cut = []
    for each in of_scope.spans:
        scope = field(2, each.SerializeToString() + unknown, padded=True) + field(
            1, of_scope.scope.SerializeToString()
        )
        cut.append(field(1, field(2, scope) + unknown + field(1, resource, padded=True)))
    return [*cut, unknown]


def field(number: int, content: bytes, *, padded: bool = False) -> bytes:
    """A length-delimited field; `padded` writes its tag with a byte more than it needs."""
    tag = number << 3 | 2
    head = bytes([tag & 0x7F | 0x80, tag >> 7 | (0x80 if padded else 0), *([0] if padded else [])])
    size = len(content)
    length = b""
    while size >= 0x80:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return head + length + bytes([size]) + content


def test_large_requests_are_read_in_steps() -> None:
    from fleetpulse.otlp.intake import Intake  # noqa: PLC0415 - here alone

    request = traces(*(span(span_id=number.to_bytes(8, "big")) for number in range(1, 301)))
    for media, body in ((PROTOBUF, request.SerializeToString()), (JSON, as_json(request))):
        account = Account()
        grown = [len(account.good) for _ in Intake(300, events=False).read(TRACES, media, body, account)]
        assert grown == [64, 128, 192, 256, 300]
        assert len({log.request_id for log in account.good}) == 300


def test_attributes_that_are_remembered_are_those_of_each_span() -> None:
    many = [
        span(CHAT | {"session.id": f"s{n % 7}", "app.n": n}, span_id=n.to_bytes(8, "big")) for n in range(1, 20_001)
    ]
    for log, n in zip(read(traces(*many), most=20_000).good, range(1, 20_001), strict=True):
        assert (log.session_id, (log.metadata or {})["app.n"]) == (f"s{n % 7}", n)


@pytest.mark.parametrize("media", MEDIA)
@pytest.mark.parametrize(
    ("kind", "make"), [(TRACES, lambda: traces(span(), span(), span())), (LOGS, lambda: logs(*[record()] * 3))]
)
def test_too_many_items_are_refused(media: str, kind: Kind, make: Callable[[], Message]) -> None:
    body = as_json(make()) if media == JSON else make().SerializeToString()
    assert len(read_bytes(body, kind, media, most=3).good) == 3
    with pytest.raises(TooLargeError, match="more than 2 items"):
        read_bytes(body, kind, media, most=2)


@pytest.mark.parametrize("empty", [b"\x0a\x00" * 100_000, b"\x0a\x02\x12\x00" * 100_000, b"\x98\x06\x00" * 100_000])
def test_frames_are_bounded_like_items(empty: bytes) -> None:
    with pytest.raises(TooLargeError):
        read_bytes(empty, most=1_000)


MANY = 2**20  # empty messages


@pytest.mark.parametrize("inside", [b"\x4a\x00" * MANY, b"\x5a\x00" * MANY, b"\x6a\x00" * MANY])
def test_what_is_inside_a_span_is_not_taken_apart_before_it_is_wanted(inside: bytes) -> None:
    body = field(1, field(2, field(2, inside) + field(2, span().SerializeToString())))
    account = read_bytes(body)
    assert (len(account.good), account.ignored + account.rejected.total()) == (1, 1)


def test_a_resource_is_bounded() -> None:
    with pytest.raises(TooLargeError, match="a resource or a scope"):
        read_bytes(field(1, field(1, b"\x0a\x00" * MANY) + field(2, field(2, b""))))


def test_huge_attributes_and_events_are_left_out() -> None:
    huge = "x" * (2**20 + 1)
    sent = span(
        CHAT | {"gen_ai.prompt": huge}, status=failed("why"), events=[("exception", {"exception.type": huge})]
    )
    log = stored(sent)
    assert (log.command, log.error, log.input_tokens) == ("chat", "why", 1_200)


@pytest.mark.parametrize(
    "body",
    [
        b'{"resourceSpans":[' + b"{}," * 1_000 + b"{}]}",
        b'{"resourceSpans":[{"scopeSpans":[' + b"{}," * 1_000 + b"{}]}]}",
        b'{"resourceSpans":[' + b'{"scopeSpans":[{},{}]},' * 600 + b"{}]}",
        b'{"x":[' + b"{}," * 2_000_000 + b"{}]}",
        b'{"x":' + b"[" * 2_000_001,
    ],
)
def test_objects_are_bounded_like_items(body: bytes) -> None:
    with pytest.raises(TooLargeError):
        read_bytes(body, TRACES, JSON, most=1_000)


def test_every_item_may_have_a_resource_of_its_own() -> None:
    request = ExportTraceServiceRequest()
    for number in range(1, 101):
        request.MergeFrom(traces(span(span_id=number.to_bytes(8, "big")), resource={"service.name": f"s{number}"}))
    for media in MEDIA:
        assert {log.source for log in read(request, media, most=100).good} == {f"s{n}" for n in range(1, 101)}


def test_an_empty_request_is_a_good_one() -> None:
    for body, media in ((b"", PROTOBUF), (b"{}", JSON), (b'{"resourceSpans":[]}', JSON), (b'{"x":1}', JSON)):
        assert told(read_bytes(body, TRACES, media)) == ([], 0, {})


@pytest.mark.parametrize(
    "body",
    [
        b"\xff",
        b"\x00\x00",
        b"\x0b\x0c",
        b"\x0a",
        b"\x0a\x05abc",
        b"\x0a\x02\xff\xff",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b'{"resourceSpans": []}',
        traces(span()).SerializeToString()[:-3],
        field(1, field(1, b"\xff\xff") + field(2, field(2, b""))),
        field(1, field(2, field(2, b"\x0a\xff"))),
        field(1, field(2, field(2, field(9, b"\x0a\x02\xff\xfe")))),
        field(1, field(2, field(1, b"\x0a\x02\xff\xfe") + field(2, b""))),
    ],
)
def test_bytes_that_are_no_such_message(body: bytes) -> None:
    with pytest.raises(MalformedError):
        read_bytes(body)


@given(st.binary(max_size=60) | st.binary(max_size=40).map(lambda inner: field(1, field(2, field(2, inner)))))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    for kind in (TRACES, LOGS):
        try:
            read_bytes(body, kind)
        except InvalidInputError as error:
            assert error.detail.isascii()  # noqa: PT017 - being read is as good


JSON_NAMES = [
    *(
        "resourceSpans",
        "scopeSpans",
        "spans",
        "resourceLogs",
        "scopeLogs",
        "logRecords",
        "attributes",
        "key",
        "value",
    ),
    *("intValue", "arrayValue", "values", "status", "code", "events", "traceId", "resource", "flags"),
]
json_like = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(JSON_NAMES),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300)
@given(json_like)
def test_any_json_is_read_or_refused(document: Any) -> None:
    try:
        body = orjson.dumps(document)
    except TypeError:  # numbers beyond 64 bits
        return
    for kind in (TRACES, LOGS):
        try:
            read_bytes(body, kind, JSON)
        except InvalidInputError as error:
            assert error.detail.isascii()  # noqa: PT017


# JSON's own ways ----------------------------------------------------------------------------------------------
def json_span(**changes: Any) -> bytes:
    document = orjson.loads(as_json(traces(span())))
    document["resourceSpans"][0]["scopeSpans"][0]["spans"][0] |= changes
    return orjson.dumps(document)


@pytest.mark.parametrize(
    "changes",
    [
        {"startTimeUnixNano": START, "endTimeUnixNano": END},
        {"startTimeUnixNano": str(START), "endTimeUnixNano": str(END)},
        {"traceId": "000102030405060708090A0B0C0D0E0F"},
        {"status": {}},
        {"status": None},
        {"status": {"code": None}},
        {"status": {"code": 1}},
        {"events": None},
        {"links": [{"anything": "at all"}]},
        {"unheardOf": {"a": [1, {}]}},
    ],
)
def test_ways_to_write_the_same_in_json(changes: dict[str, Any]) -> None:
    (log,) = read_bytes(json_span(**changes), TRACES, JSON).good
    assert log == stored(span())


@pytest.mark.parametrize(
    "changes",
    [
        {"startTimeUnixNano": -1},
        {"startTimeUnixNano": "soon"},
        {"startTimeUnixNano": 2**64 - 1 + 0.5},
        {"startTimeUnixNano": str(2**64)},
        {"startTimeUnixNano": True},
        {"startTimeUnixNano": [1]},
        {"traceId": "xyz"},
        {"traceId": "abc"},
        {"traceId": 5},
        {"name": 5},
        {"status": 2},
        {"status": {"code": "STATUS_CODE_ERROR"}},
        {"status": {"code": 2**31}},
        {"events": {}},
        {"events": [5]},
        {"attributes": {}},
        {"attributes": [5]},
        {"attributes": [{"key": 5}]},
        {"attributes": [{"key": "a", "value": 5}]},
        {"attributes": [{"key": "a", "value": {"stringValue": 5}}]},
        {"attributes": [{"key": "a", "value": {"intValue": "1.5"}}]},
        {"attributes": [{"key": "a", "value": {"intValue": 2**63}}]},
        {"attributes": [{"key": "a", "value": {"boolValue": "true"}}]},
        {"attributes": [{"key": "a", "value": {"doubleValue": "much"}}]},
        {"attributes": [{"key": "a", "value": {"doubleValue": True}}]},
        {"attributes": [{"key": "a", "value": {"arrayValue": {"values": 5}}}]},
        {"attributes": [{"key": "a", "value": {"kvlistValue": [1]}}]},
    ],
)
def test_what_is_no_otlp_in_json(changes: dict[str, Any]) -> None:
    with pytest.raises(MalformedError, match="not OTLP"):
        read_bytes(json_span(**changes), TRACES, JSON)


@pytest.mark.parametrize("body", [b"", b"[", b"[]", b"5", b'"a"', b"\xff", b'{"a":NaN}', b"{" * 10_000])
def test_what_is_no_json_object(body: bytes) -> None:
    with pytest.raises(MalformedError):
        read_bytes(body, TRACES, JSON)


@pytest.mark.parametrize(
    ("value", "read_as"),
    [
        ({"doubleValue": "NaN"}, None),
        ({"doubleValue": 5}, 5.0),
        ({"doubleValue": "5e3"}, 5_000.0),
        ({"intValue": "-5"}, -5),
        ({"intValue": 5.0}, 5),
        ({"boolValue": False}, False),
        ({"bytesValue": "AAEC"}, None),
        ({"stringValue": None}, None),
        ({"unheardOfValue": 1}, None),
        ({"arrayValue": {"values": [{"stringValue": "a"}, {}]}}, ["a", None]),
        (None, None),
    ],
)
def test_attribute_values_in_json(value: Any, read_as: Any) -> None:
    pairs = orjson.loads(as_json(KeyValue())) or []
    document = orjson.loads(json_span())
    document["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["attributes"] += [
        {"key": "app.x", "value": value},
        *pairs,
    ]
    (log,) = read_bytes(orjson.dumps(document), TRACES, JSON).good
    assert (log.metadata or {}).get("app.x") == read_as


def test_values_nested_too_deep_are_left_out() -> None:
    deep: Any = "bottom"
    for _ in range(40):
        deep = [deep]
    request = traces(span(CHAT | {"gen_ai.input.messages": deep, "app.deep": deep}))
    for media in MEDIA:
        (log,) = read(request, media).good
        assert (log.command, "app.deep" in (log.metadata or {})) == ("chat", False)
