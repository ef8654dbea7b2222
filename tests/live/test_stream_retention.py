"""Clients that resume below what retention deleted of a stream: told of it, whichever topic they listen to."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.journal.stand import NOW, Stand, at_work
from tests.live.pipe import Pipe

from fleetpulse.config import Journal as JournalSettings
from fleetpulse.config import Live
from fleetpulse.instruments import Instruments
from fleetpulse.journal import MESSAGES, MessageRow, Retention
from fleetpulse.journal.history import CHAT_STREAM, MESSAGE_STREAM, JournalHistory
from fleetpulse.journal.retention import DAY_SECONDS
from fleetpulse.live import EVENT, Hub, LiveEncoder

ENCODER = LiveEncoder()


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with at_work(tmp_path / "journal.db") as made:
        yield made


async def store(stand: Stand, streams: str) -> None:
    """A row for each letter, of the stream of that name; `c` is the chat."""
    at = NOW - 2 * DAY_SECONDS
    rows = [
        MessageRow(f"m{n}", at, None, {"c": "chat"}.get(stream, stream), "text", "room", "ann", "x")
        for n, stream in enumerate(streams)
    ]
    await stand.journal.store(MESSAGES, rows)


async def forget(stand: Stand, *streams: str) -> None:
    settings = JournalSettings(stream_days=dict.fromkeys(streams, 1.0))
    await Retention(stand.journal, settings, stand.instruments, lambda: NOW).once()


def hub_on(stand: Stand) -> Hub:
    """A hub that has just started: what there is, it reads from the journal."""
    hub = Hub(Live(), Instruments(), clock=lambda: NOW, timer=lambda: 0.0)
    hub.declare("messages", EVENT, history=JournalHistory(stand.journal, MESSAGE_STREAM))
    hub.declare("chat", EVENT, history=JournalHistory(stand.journal, CHAT_STREAM))
    return hub


def resumed(stand: Stand, topic: str, offset: int) -> tuple[bool, list[Any]]:
    """What who stood at an offset gets: whether it is recovered; offsets, and gaps as pairs of them."""
    hub, pipe = hub_on(stand), Pipe()
    hub.subscribe(hub.connect(pipe, "test"), topic, ENCODER, resume={stand.journal.epoch: offset})
    for _ in range(20):
        hub.flush()
    answer, *rest = pipe.read()
    got = [(m["from"], m["to"]) if m["type"] == "gap" else m["offset"] for m in rest]
    return answer["recovered"], got


async def test_a_stream_that_lost_rows_says_so(stand: Stand) -> None:
    await store(stand, "abaabb")
    await forget(stand, "a")
    assert resumed(stand, "messages/a", 1) == (False, [(2, 4)])
    assert resumed(stand, "messages/a", 4) == (True, [])
    assert resumed(stand, "messages/b", 0) == (False, [(1, 1), 2, 5, 6])
    assert resumed(stand, "messages/b", 1) == (True, [2, 5, 6])


async def test_of_all_streams_what_is_kept_comes_and_what_is_gone_is_named(stand: Stand) -> None:
    await store(stand, "babaabb")
    await forget(stand, "a")
    assert resumed(stand, "messages", 0) == (True, [1, (2, 2), 3, (4, 5), 6, 7])
    assert resumed(stand, "messages", 4) == (True, [(5, 5), 6, 7])
    assert resumed(stand, "messages", 5) == (True, [6, 7])


async def test_the_chat_loses_only_its_own(stand: Stand) -> None:
    await store(stand, "bcbccb")
    await forget(stand, "chat")
    assert resumed(stand, "chat/room", 1) == (False, [(2, 5)])
    assert resumed(stand, "chat", 0) == (False, [(1, 5)])
    assert resumed(stand, "messages", 0) == (True, [1, 3, 6])
    assert resumed(stand, "messages/b", 0) == (True, [1, 3, 6])


async def test_many_holes_are_told_page_by_page(stand: Stand) -> None:
    await store(stand, "ba" * 1_000)
    await forget(stand, "a")
    recovered, got = resumed(stand, "messages", 0)
    assert recovered
    assert got == [each for n in range(1, 2_000, 2) for each in (n, (n + 1, n + 1))]
