import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tap.items import happened, heard

from fleetpulse.tap.output import harmless, json_line, text_line


def test_a_message_has_the_names_of_the_api() -> None:
    item = heard('{"m":"重要"}', kind="chat", user="ann", text="重要", room="r1", rules=("keywords",))
    assert json.loads(json_line(item)) == {
        "type": "message",
        "message_id": "main/run-1/1",
        "stream": "main",
        "kind": "chat",
        "user_id": "ann",
        "session_id": "r1",
        "text": "重要",
        "raw": '{"m":"重要"}',
        "opcode": 1,
        "size": 14,
        "clock": 0.5,
        "connection": "run-1",
        "rules": ["keywords"],
        "received_at": "2023-11-14T22:13:21.250Z",
        "timestamp": "2023-11-14T22:13:21.250Z",
    }
    assert "重要".encode() in json_line(item)


def test_the_payload_is_there_where_it_is_kept() -> None:
    assert json.loads(json_line(heard("plain")))["raw"] == "plain"
    assert json.loads(json_line(heard(b"\x00\xff")))["raw_base64"] == "AP8="
    assert "raw" not in json.loads(json_line(heard("{}", text="x")._replace(keep_raw=False)))


def test_half_of_a_surrogate_pair_is_still_json() -> None:
    assert json.loads(json_line(heard('"\\ud83d"', text="\ud83d")))["text"] == "\ud83d"


@pytest.mark.parametrize(
    ("kind", "detail", "words"),
    [
        ("stream_connected", {"url": "ws://a/b", "seconds_without": 0.1}, "connected to ws://a/b\n"),
        ("stream_connected", {"url": "ws://a/b", "seconds_without": 7.25}, "ws://a/b, after 7.2 s without"),
        (
            "stream_disconnected",
            {"why": "closed with 1012", "messages": 1_200},
            "1012; it brought 1,200",
        ),
        ("stream_retrying", {"why": "no answer"}, "no connection yet: no answer"),
        ("stream_failed", {"why": "HTTP 401"}, "given up: HTTP 401"),
        ("stream_lost", {}, "stream_lost\n"),
    ],
)
def test_what_happens_to_a_connection_is_a_line(kind: str, detail: dict[str, object], words: str) -> None:
    item = happened(kind, at=1.0, **detail)
    assert words in text_line(item).decode()
    told = json.loads(json_line(item))
    assert (told["type"], told["received_at"], told["stream"]) == (kind, "2023-11-14T22:13:20.250Z", "main")
    assert told.items() >= detail.items()


def test_people_read_who_where_what_and_why_it_matters() -> None:
    line = text_line(heard("{}", kind="chat", user="ann", text="hi\nthere", room="r1", rules=("a", "b"))).decode()
    assert line.endswith("main chat ann@r1: hi there [a, b]\n")
    assert text_line(heard(b"12345", kind="binary")).decode().endswith("main binary -: (5 bytes)\n")


@settings(max_examples=50)
@given(st.text())
def test_a_terminal_obeys_nothing_that_a_server_says(text: str) -> None:
    shown = harmless(text)
    assert not set(shown) & {chr(code) for code in (*range(32), *range(127, 160), 0x202E, 0x2066, 0x2028)}
    assert shown == text or any(not each.isprintable() for each in text)


def test_what_can_be_seen_is_shown_as_it_is() -> None:
    for text in ("重要 紧急", "é ü", "👨\u200d👩\u200d👧", "a b"):
        assert harmless(text) == text
    assert harmless("\x1b[31mred\x07") == "\\x1b[31mred\\x07"
