"""Messages of strangers: read where they can be, bounded, and never in anyone's way."""

import re

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.tap.frame import NOW, frame, reading_of, stream

from fleetpulse.signals import DAY_SECONDS, PRINTABLE
from fleetpulse.tap.frames import Reading
from fleetpulse.tap.reading import MAX_NESTED, MAX_PARSED, Reader, make_read
from fleetpulse.tap.values import CUT, as_kind, as_name, as_time

PRESETS = ("auto", "chat", "socket.io", "mattermost", "rocket.chat", "raw")
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["type", "event", "data", "msg", "fields", "args", "user", "ts", "text", "post", "d"]),
            inner,
        )
    ),
    max_leaves=20,
)
PAYLOADS = st.one_of(
    st.text(max_size=50),
    st.binary(max_size=50),
    JSON.map(lambda each: orjson.dumps(each).decode()),
    JSON.map(lambda each: "42" + orjson.dumps(each).decode()),
    JSON.map(lambda each: orjson.dumps({"msg": "changed", "collection": "c", "fields": each}).decode()),
    JSON.map(lambda each: orjson.dumps({"event": "posted", "data": each, "broadcast": {}, "seq": 1}).decode()),
)


@given(payload=PAYLOADS, preset=st.sampled_from(PRESETS))
@example(payload="4", preset="socket.io")
@example(payload="451-", preset="socket.io")
@example(payload='{"timestamp": "9999-12-31T23:59:59-12:00"}', preset="auto")
@example(payload='{"timestamp": 1e308, "user": 18446744073709551615}', preset="auto")
@settings(max_examples=100, deadline=None)
def test_whatever_comes_is_read_within_bounds(payload: str | bytes, preset: str) -> None:
    read = make_read(stream(preset, paths={"text": ["$..text"]}))
    found = read(frame(payload))
    assert found.kind
    assert len(found.kind) <= 64
    assert not any(character.isspace() for character in found.kind)
    assert len(found.user) <= 200
    assert re.match(PRINTABLE, found.user)
    assert len(found.text) <= 8_192
    assert "\0" not in found.text
    assert found.room is None or 0 < len(found.room) <= 200
    assert found.timestamp is None or 0 < found.timestamp <= NOW + DAY_SECONDS
    assert found.text.encode().decode() == found.text  # no half of a surrogate pair


@given(payload=PAYLOADS, preset=st.sampled_from(PRESETS))
@settings(max_examples=60, deadline=None)
def test_nothing_is_read_by_the_last_resort(payload: str | bytes, preset: str) -> None:
    """What never raises would hide every error, so the way that may raise is asked, too."""
    read, message = Reader(stream(preset)), frame(payload)
    understood = read.open(message)
    if understood is not None:
        assert read.read(message, understood) == read(message)


@pytest.mark.parametrize("payload", ["plain text", "", "   ", "nan", "{", '{"a":', '"a string"', "3", "null", "2"])
def test_what_is_no_json_is_raw_text(payload: str) -> None:
    assert reading_of(payload) == Reading("raw", "", payload)


def test_bytes_that_are_text_are_read_and_others_are_not() -> None:
    assert reading_of("好".encode()) == Reading("binary", "", "好")
    assert reading_of(b'{"type":"message","text":"hi"}') == Reading("message", "", "hi")
    assert reading_of(b"\xff\xfe") == Reading("binary", "", "")
    assert reading_of(b"\x00\x01\x02") == Reading("binary", "", "")


def test_json_is_a_message_where_it_says_something_and_its_own_text_where_not() -> None:
    assert reading_of('{"content":"hi"}') == Reading("message", "", "hi")
    assert reading_of('{"n": 1}') == Reading("json", "", '{"n": 1}')
    assert reading_of("[1, 2]") == Reading("raw", "", "[1, 2]")


def test_configured_paths_go_before_the_preset() -> None:
    message = '{"type":"message","content":"hi","user_id":"u1","meta":{"who":"anna","at":[1760000000000]}}'
    paths = {"user": ["$.nobody", "$.meta.who"], "time": ["$..at[0]"], "kind": ["$['type']"]}
    found = reading_of(message, "chat", paths=paths)
    assert found == Reading("message", "anna", "hi", None, 1_760_000_000.0)


def test_a_configured_path_may_take_a_whole_object_as_the_text() -> None:
    found = reading_of('{"content":"hi","data":{"a":[1,2]}}', paths={"text": ["$.data"]})
    assert found.text == '{"a":[1,2]}'


def test_raw_reads_nothing_but_what_paths_find() -> None:
    message = '{"type":"message","content":"hi","user":"anna"}'
    assert reading_of(message, "raw") == Reading("raw", "", message)
    assert reading_of(message, "raw", paths={"user": ["$.user"]}) == Reading("raw", "anna", message)


def test_a_long_text_is_cut_and_marked() -> None:
    found = reading_of("长" * 10_000)
    assert found.text == "长" * 8_191 + CUT
    assert reading_of("x" * 8_192).text == "x" * 8_192


def test_deep_and_huge_json_is_raw() -> None:
    deep = "[" * 5_000 + "]" * 5_000
    assert reading_of(deep).kind == "raw"
    many = "[" + ",".join(["[]"] * MAX_NESTED) + "]"
    assert reading_of(many, "chat") == reading_of(many, "raw")
    huge = '{"type":"message","text":"' + "x" * MAX_PARSED + '"}'
    assert reading_of(huge).kind == "raw"
    assert reading_of(huge.encode()).kind == "binary"


def test_what_is_too_deep_to_be_written_is_only_marked() -> None:
    deep = '{"text":' + "[" * 900 + "]" * 900 + ',"user":"anna"}'
    assert reading_of(deep, paths={"text": ["$.text"]}) == Reading("message", "anna", CUT)
    assert reading_of(deep, paths={"text": ["$[?@.a == @.b].c", "$[?@ == @].c"]}).user == "anna"


def test_a_number_past_64_bits_is_no_user() -> None:
    assert reading_of('{"text":"hi","user":123456789012345678901234567890}').user == ""


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2025-10-09T08:53:20Z", NOW),
        ("2025-10-09T16:53:20+08:00", NOW),
        ("2025-10-09 08:53:20", NOW),
        ("2025-10-09T08:53:20.250Z", NOW + 0.25),
        (1_760_000_000, NOW),
        (1_760_000_000.25, NOW + 0.25),
        (1_760_000_000_250, NOW + 0.25),
        (1_760_000_000_250_000, NOW + 0.25),
        (1_760_000_000_250_000_000, NOW + 0.25),
        ("1760000000.250", NOW + 0.25),
        ("1760000000250", NOW + 0.25),
        ({"$date": 1_760_000_000_250}, NOW + 0.25),
        ("yesterday", None),
        ("1969-12-31T23:59:59Z", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("inf", None),
        ("nan", None),
        (-1, None),
        (0, None),
        (1e300, None),
        (True, None),
        (None, None),
        ([1_760_000_000], None),
    ],
)
def test_times(value: object, seconds: float | None) -> None:
    assert as_time(value) == seconds


def test_a_time_later_than_tomorrow_is_not_believed() -> None:
    assert reading_of(f'{{"text":"hi","ts":{NOW + DAY_SECONDS - 1}}}').timestamp == NOW + DAY_SECONDS - 1
    assert reading_of(f'{{"text":"hi","ts":{NOW + DAY_SECONDS + 1}}}').timestamp is None


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("message", "message"),
        (" new\nmessage ", "new_message"),
        ("消息", "消息"),
        ("a" * 100, "a" * 64),
        (7, "7"),
        (1_760_000_000, None),
        ("", None),
        (" ", None),
        (True, None),
        (["x"], None),
    ],
)
def test_kinds(value: object, kind: str | None) -> None:
    assert as_kind(value) == kind


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (" anna ", "anna"),
        ("an\nna\x00", "an na"),
        ("名" * 300, "名" * 200),
        (80351110224678912, "80351110224678912"),
    ],
)
def test_names(value: object, name: str) -> None:
    assert as_name(value) == name
