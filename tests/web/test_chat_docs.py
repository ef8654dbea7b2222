"""What docs/chat.md shows is what the chat service does."""

import json
import re

import pytest
from tests.tools import ROOT
from tests.web.chat_stand import ChatServe

from fleetpulse.chat.requests import TYPES

PAGE = (ROOT / "docs/chat.md").read_text("utf-8")
SAID, TOLD = (PAGE.split("## What you may say")[1], PAGE.split("## What you are sent")[1])
EXAMPLES = [json.loads(line) for line in re.findall(r"```json\n(.*?)```", SAID, re.DOTALL)[0].splitlines()]

MESSAGES = [
    "connection_established",
    "session_joined",
    "session_left",
    "new_message",
    "typing",
    "message_status_update",
    "ai_processing_status",
    "notification",
    "stats_update",
    "user_status_update",
    "ping",
    "pong",
    "error",
]


async def test_the_examples_are_taken_in_order(chat_serve: ChatServe) -> None:
    stand = await chat_serve()
    anna = await stand.enter("anna")
    sent = ""
    for example in EXAMPLES:
        await anna.socket.send_json(example | ({"message_id": sent} if "message_id" in example else {}))
        if example["type"] == "send_message":
            sent = (await anna.hear("message_status_update", status="sent"))["message_id"]
            if "session_id" in example and all(each["type"] != "new_message" for each in anna.passed):
                anna.passed.append(await anna.hear("new_message"))  # or she may have left before it goes out
        await anna.say("ping", id="next")
        await anna.hear("pong", id="next")
    assert [each for each in anna.passed if each["type"] == "error"] == []
    assert {each["type"] for each in anna.passed} >= {"session_joined", "new_message", "session_left"}


def test_every_type_and_other_name_is_documented() -> None:
    named = set(re.findall(r"`([a-z_]+)`", SAID.split("## What you are sent")[0]))
    assert set(TYPES.values()) - {"auth"} <= named
    assert {each["type"] for each in EXAMPLES} <= set(TYPES.values()) | {"typing", "pong"}


@pytest.mark.parametrize("kind", MESSAGES)
def test_the_documents_messages_are_documented(kind: str) -> None:
    assert f"`{kind}`" in TOLD
