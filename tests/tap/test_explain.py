"""An explanation tells what is recorded, and why."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tap.frame import frame, reading_of, stream
from tests.tap.test_reading import PAYLOADS, PRESETS

from fleetpulse.tap.explain import FUTURE, TOO_LARGE, Explanation, explain
from fleetpulse.tap.paths import WIDE_NODES
from fleetpulse.tap.presets import FIELDS

PATHS = {"user": ["$.nobody", "$..user"], "text": ["$.text"], "kind": ["$['type']"]}


def used(explanation: Explanation) -> dict[str, object]:
    """What gave each field."""
    return {each.field: each.found for each in explanation.tried if each.used}


@given(payload=PAYLOADS, preset=st.sampled_from(PRESETS), own=st.booleans())
@settings(max_examples=60, deadline=None)
def test_it_explains_the_reading_that_is_recorded(payload: str | bytes, preset: str, *, own: bool) -> None:
    paths = PATHS if own else {}
    found = explain(stream(preset, paths=paths), frame(payload))
    assert found.reading == reading_of(payload, preset, paths=paths)
    values = found.reading._asdict() | {"time": found.reading.timestamp}
    assert used(found) == {name: values[name] for name in FIELDS if name in used(found)}
    assert not any(values[name] for name in FIELDS if name not in used(found))


def test_everything_tried_is_there_in_order() -> None:
    found = explain(stream("chat", paths=PATHS), frame('{"type":"say","username":"anna","text":"hi"}'))
    assert [(each.whose, each.where, each.found) for each in found.tried if each.field == "user"][:3] == [
        ("configured", "$.nobody", None),
        ("configured", "$..user", None),
        ("chat", "$.user_id", None),
    ]
    assert used(found) == {"kind": "say", "user": "anna", "text": "hi"}


def test_lines_for_the_terminal() -> None:
    found = explain(stream("chat", paths=PATHS), frame('{"type":"say","username":"anna","text":"hi\\nyou"}'))
    assert found.lines() == [
        "preset  chat",
        'message {"type":"say","username":"anna","text":"hi\\nyou"}',
        "kind    say   <- configured $['type']",
        "user    anna   <- chat $.username",
        "          configured $.nobody: nothing",
        "          configured $..user: nothing",
        "room    -",
        "text    hi you   <- configured $.text",
        "time    -",
    ]
    assert "          chat $.user_id: nothing" in found.lines(everything=True)


def test_what_was_not_asked_or_not_believed_is_said() -> None:
    long = '{"ts":99999999999,"text":"%s"}' % ("x," * WIDE_NODES)
    notes = {each.field: each.note for each in explain(stream(paths=PATHS), frame(long)).tried if each.note}
    assert notes == {"user": TOO_LARGE, "time": FUTURE}


@pytest.mark.parametrize("payload", [b"\x00\x01", "text"])
def test_messages_without_anything_are_explained(payload: str | bytes) -> None:
    found = explain(stream(), frame(payload))
    assert used(found)["kind"] == found.reading.kind
    assert found.lines()
    assert found.as_json()["reading"]["kind"] == found.reading.kind
