"""People and programs that listen to a running exporter, and some who do so badly."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from tests.system.harness import post
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

LOUD = "loud"  # the source of requests that are large, and count for nothing
LARGE = "x" * 8_000
BATCH, BATCHES = 250, 8  # in all more than the kernel keeps for one socket
TOPICS = "agents,requests,alerts,stats"
HANDSHAKE = (
    "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


@contextmanager
def listeners(exporter_url: str) -> Iterator[ClientConnection]:
    """One who listens to the feed (it is given), one who never reads, two who chat; and one thrown out already."""
    base = exporter_url.replace("http", "ws", 1)
    with ExitStack() as stack:
        stack.enter_context(deaf(exporter_url, "/ws/live?topics=requests"))
        ann, ben = (stack.enter_context(connect(f"{base}/ws/chat?user_id={name}")) for name in ("ann", "ben"))
        for person in (ann, ben):
            say(person, "join_session", session_id="s1")
            hear(person, "session_joined")
        chat(ann, ben)
        rude(f"{base}/ws/live")
        yield stack.enter_context(connect(f"{base}/ws/live?topics={TOPICS}", max_size=None, max_queue=None))


def chat(ann: ClientConnection, ben: ClientConnection) -> None:
    """A message to the session, one to somebody who is away, and one that cannot be."""
    say(ann, "send_message", session_id="s1", content="hello")
    hear(ben, "new_message")
    say(ann, "no such type")
    hear(ann, "error")


def rude(url: str) -> None:
    """Sends far too much, and is thrown out."""
    with connect(f"{url}?topics=agents") as client:
        with suppress(ConnectionClosed):
            for _ in range(1_000):
                client.send('{"type": "ping"}')
            while True:
                client.recv(10)
        assert client.close_code == 4429


@contextmanager
def deaf(exporter_url: str, path: str) -> Iterator[socket.socket]:
    """A connection that nobody reads."""
    address = urlsplit(exporter_url)
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        sock.connect((address.hostname, address.port))
        sock.sendall(HANDSHAKE.format(path, address.netloc).encode())
        assert b" 101 " in sock.recv(64)
        yield sock


def loud(exporter_url: str) -> None:
    """More than a connection holds that nobody reads."""
    wave = time.time_ns()
    for number in range(BATCHES):
        batch = [
            {
                "request_id": f"{LOUD}-{wave}-{number}-{each}",
                "source": LOUD,
                "user_id": "u1",
                "command": LARGE,
                "status": "success",
                "execution_time": 0.1,
                "model": "gpt-4o",
                "cost": 0,
            }
            for each in range(BATCH)
        ]
        status, answer = post(f"{exporter_url}/api/log-request", batch)
        assert (status, answer["accepted"]) == (202, BATCH)


def notify(exporter_url: str) -> None:
    """Notifications to somebody who is there, and to somebody who is away."""
    for user in ("ann", "zoe"):
        fields = {"title": f"for {user}", "message": "m", "level": "INFO", "recipients": {"users": [user]}}
        status, answer = post(f"{exporter_url}/api/v1/notifications", fields)
        assert status == 200, answer


def say(client: ClientConnection, type_: str, **fields: Any) -> None:
    client.send(json.dumps({"type": type_, **fields}))


def hear(client: ClientConnection, type_: str, **fields: Any) -> dict[str, Any]:
    """The next message of a type with these fields; others are passed over."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        message: dict[str, Any] = json.loads(client.recv(60))
        if message["type"] == type_ and fields.items() <= message.items():
            return message
    raise AssertionError(f"no {type_} came")
