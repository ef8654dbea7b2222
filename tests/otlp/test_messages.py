"""The last thing a user said becomes the command, where content was captured, and no more of it than is bounded."""

import json
from typing import Any

import pytest
from tests.otlp.sent import CHAT, logs, read, record, span, stored

ASKED = [
    {"role": "user", "parts": [{"type": "text", "content": "first"}]},
    {"role": "assistant", "parts": [{"type": "text", "content": "answer"}]},
    {"role": "user", "parts": [{"type": "text", "content": "two"}, {"type": "blob"}, {"content": "lines"}]},
    {"role": "tool", "parts": [{"type": "tool_call_response", "id": "1"}]},
]  # fmt: skip


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"gen_ai.input.messages": json.dumps(ASKED)}, "two\nlines"),
        ({"gen_ai.input.messages": ASKED}, "two\nlines"),
        ({"gen_ai.input.messages": json.dumps([{"role": "user", "content": "old"}])}, "old"),
        ({"gen_ai.prompt": json.dumps([{"role": "user", "content": "old"}])}, "old"),
        ({"gen_ai.prompt": "plain words"}, "plain words"),
        ({"gen_ai.prompt": "[not JSON"}, "[not JSON"),
        ({"ai.prompt.messages": json.dumps([{"role": "user", "content": [{"type": "text", "text": "hi"}]}])}, "hi"),
        ({"ai.prompt": json.dumps({"system": "x", "prompt": "hello"})}, "hello"),
        ({"input.value": "plain words"}, "plain words"),
        ({"input.value": json.dumps({"messages": [{"role": "user", "content": "in JSON"}]})}, "in JSON"),
        ({"input.value": json.dumps({"input": "text to embed"})}, "text to embed"),
        (
            {
                "llm.input_messages.0.message.role": "user",
                "llm.input_messages.0.message.contents.0.message_content.type": "text",
                "llm.input_messages.0.message.contents.0.message_content.text": "in parts",
            },
            "in parts",
        ),
        ({"gen_ai.prompt.9.role": "user", "gen_ai.prompt.9.content": "b", "gen_ai.prompt.10.role": "user",
          "gen_ai.prompt.10.content": "c"}, "c"),
        ({"gen_ai.input.messages": json.dumps([{"role": "system", "content": "no user"}])}, ""),
        ({"gen_ai.input.messages": "{}"}, ""),
        ({"gen_ai.input.messages": 5}, ""),
        ({"gen_ai.input.messages": json.dumps([5, None, {"role": "user"}])}, ""),
        ({"gen_ai.input.messages": "[" + "9," * 2**20 + "9]"}, ""),
        ({}, ""),
    ],
)  # fmt: skip
def test_the_last_message_of_the_user(attributes: dict[str, Any], said: str) -> None:
    assert stored(span(CHAT | attributes)).command == (f"chat: {said}" if said else "chat")


@pytest.mark.parametrize(
    "event",
    [
        ("gen_ai.user.message", {"content": "hello", "role": "user"}),
        ("gen_ai.content.prompt", {"gen_ai.prompt": json.dumps([{"role": "user", "content": "hello"}])}),
    ],
)
def test_events_of_a_span_may_hold_it(event: tuple[str, dict[str, Any]]) -> None:
    choice = ("gen_ai.choice", {"message": "never kept"})
    assert (
        stored(span(events=[("gen_ai.user.message", {"content": "before"}), event, choice])).command
        == "chat: hello"
    )


def test_so_may_attributes_of_an_event() -> None:
    (log,) = read(logs(record(CHAT | {"gen_ai.input.messages": ASKED}))).good
    assert log.command == "chat: two\nlines"


def test_a_long_message_is_cut() -> None:
    command = stored(span(CHAT | {"gen_ai.prompt": "你" * 100_000})).command
    assert command == "chat: " + "你" * 1_000
