"""Messages to somebody who is away, with the exporter killed on the way: each comes, once, in order."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.system.harness import DEADLINE, Exporter, started, wait_for
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

COUNT = 1_000


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[Exporter]:
    # Sent as fast as the disk takes it: the rate of people is not looked at here.
    limits = {"FLEETPULSE_CHAT__MESSAGES_PER_SECOND": "100000"}
    yield from started(Exporter(tmp_path, **limits))


def test_a_thousand_messages_outlive_kills_and_come_once_in_order(exporter: Exporter) -> None:
    acknowledged = send(exporter, 0, COUNT // 2)
    exporter.kill()
    exporter.start()
    acknowledged |= send(exporter, 0, COUNT)  # whoever heard nothing sends again, with the same ids
    assert len(acknowledged) == COUNT
    exporter.kill()
    exporter.start()
    first = receive(exporter, 0, COUNT // 3)
    exporter.kill()  # in the middle of the delivery
    exporter.start()
    rest = receive(exporter, first[-1]["offset"], COUNT - len(first))
    assert [message["message"]["text"] for message in (*first, *rest)] == [str(number) for number in range(COUNT)]
    assert nothing_waits(exporter)
    assert told_of_delivery(exporter)
    assert exporter.metrics()['fleetpulse_chat_messages_total{stream="chat",kind="text"}'] == COUNT


def talk(exporter: Exporter, user: str, **query: object) -> ClientConnection:
    named = "".join(f"&{name}={value}" for name, value in query.items())
    return connect(f"ws://127.0.0.1:{exporter.port}/ws/chat?user_id={user}{named}")


def heard(feed: ClientConnection) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(feed.recv(DEADLINE))
    return message


def send(exporter: Exporter, begin: int, end: int) -> set[str]:
    """Sends messages to ben, a few at a time; the client ids of those that were acknowledged."""
    acknowledged: set[str] = set()
    with talk(exporter, "anna") as feed:
        for start in range(begin, end, 50):
            numbers = range(start, min(start + 50, end))
            for number in numbers:
                text = {"text": str(number), "client_message_id": f"c{number}"}
                feed.send(json.dumps({"type": "send_message", "user_id": "ben"} | text))
            while not acknowledged >= {f"c{number}" for number in numbers}:
                message = heard(feed)
                assert message["type"] != "error", message
                if message["type"] == "message_status_update" and message["status"] == "sent":
                    acknowledged.add(message["client_message_id"])
    return acknowledged


def told_of_delivery(exporter: Exporter) -> bool:
    """Whether anna, who was away when ben got her messages, hears of it on her return."""
    with talk(exporter, "anna") as feed:
        while (message := heard(feed))["type"] != "message_status_update":
            pass
        wait_for(lambda: exporter.metrics()["fleetpulse_mailbox_messages"] == 0)
    return bool(message["status"] == "delivered")


def receive(exporter: Exporter, offset: int, count: int) -> list[dict[str, Any]]:
    """Reads so many messages, as a client that keeps its place."""
    epoch = established(exporter)
    found: list[dict[str, Any]] = []
    with talk(exporter, "ben", inbox_epoch=epoch, inbox_offset=offset) as feed:
        while len(found) < count:
            message = heard(feed)
            if message["type"] == "new_message":
                found.append(message)
        feed.send(json.dumps({"type": "received", "offset": found[-1]["offset"]}))
        feed.send('{"type": "ping"}')
        while heard(feed)["type"] != "pong":
            pass
    return found


def established(exporter: Exporter) -> str:
    """The journal's epoch, as any connection is told."""
    with talk(exporter, "carol") as feed:
        return str(heard(feed)["inbox"]["epoch"])


def nothing_waits(exporter: Exporter) -> bool:
    with talk(exporter, "ben") as feed:
        feed.send('{"type": "ping", "id": 1}')
        try:
            return [heard(feed)["type"] for _ in range(2)] == ["connection_established", "pong"]
        except ConnectionClosed:
            return False
