"""No message whatever ends a chat connection, or is passed over without an answer that says why."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.web.chat_stand import CHAT, MONITOR
from tests.web.server import Server
from websockets.sync.client import connect

TYPES = [
    "join_session",
    "leave_session",
    "send_message",
    "typing",
    "typing_start",
    "message_status",
    "read",
    "ai_processing_status",
    "received",
    "ping",
    "pong",
    "auth",
    "authenticate",
    "ack",
    "new_message",
]
FIELDS = [
    "id",
    "session_id",
    "sessionId",
    "user_id",
    "to",
    "target",
    "text",
    "content",
    "message",
    "data",
    "payload",
    "kind",
    "client_message_id",
    "metadata",
    "timestamp",
    "is_typing",
    "status",
    "progress",
    "message_id",
    "up_to",
    "offset",
    "epoch",
    "resume",
    "positions",
    "history",
    "token",
    "type",
]
LIKELY = ["s1", "*", "broadcast", "read", "thinking", True, 0, 1, -1, 2**63, 1.5, "", "\u0000", "x" * 300, None]
values = st.recursive(
    st.sampled_from(LIKELY) | st.text(max_size=20) | st.integers() | st.floats(allow_nan=False) | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=3),
    max_leaves=8,
)
likely = st.fixed_dictionaries(
    {"type": st.sampled_from(TYPES)},
    optional={name: values for name in FIELDS if name != "type"},
)
anything = likely | st.dictionaries(st.sampled_from(FIELDS), values) | values
said = anything.map(json.dumps) | st.text(max_size=100) | st.just("[" * 5_000) | st.binary(max_size=50)


@pytest.mark.parametrize("path", [CHAT, "/ws/chat/session/s1", MONITOR])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(said, max_size=12))
def test_any_message_is_answered_or_done(server: Server, path: str, messages: list[str | bytes]) -> None:
    with connect(f"ws://127.0.0.1:{server.port}{path}") as feed:
        for message in messages:
            feed.send(message)
        feed.send('{"type": "ping", "id": "the last"}')
        while (heard := _heard(feed.recv(30))) != heard | {"type": "pong", "id": "the last"}:
            assert heard["type"] != "error" or (heard["code"] != "internal" and heard["message"])


def _heard(text: str | bytes) -> dict[str, Any]:
    heard: dict[str, Any] = json.loads(text)
    assert heard["type"]
    return heard


def test_nothing_of_it_is_in_the_log_as_an_error(server: Server, tmp_path: Path) -> None:
    del tmp_path
    assert "Traceback" not in server.output()
