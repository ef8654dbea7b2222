"""A WebSocket server that nobody of ours wrote, for exporters to record, and settings to record it with."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, Thread
from typing import Any

from websockets.sync.server import ServerConnection, serve

STREAM, RULE = "lobby", "urgent"
PATHS = {"kind": ["$.type"], "user": ["$.from"], "room": ["$.room"], "text": ["$.text"]}


class Speaker:
    """Says what it is told to everybody who is connected."""

    def __init__(self) -> None:
        self.url = ""
        self._listeners: set[ServerConnection] = set()
        self._lock = Lock()

    @property
    def heard(self) -> int:
        """How many are connected."""
        with self._lock:
            return len(self._listeners)

    def say(self, user: str, text: str, kind: str = "message") -> None:
        """One message, to everybody."""
        said = json.dumps({"type": kind, "from": user, "room": "r1", "text": text})
        with self._lock:
            listeners = list(self._listeners)
        for each in listeners:
            each.send(said)

    def attend(self, connection: ServerConnection) -> None:
        """Keeps a connection until the other side closes it."""
        with self._lock:
            self._listeners.add(connection)
        try:
            for _ in connection:
                pass
        finally:
            with self._lock:
                self._listeners.discard(connection)


@contextmanager
def speaking() -> Iterator[Speaker]:
    """A server on a free port."""
    speaker = Speaker()
    with serve(speaker.attend, "127.0.0.1", 0) as server:
        speaker.url = f"ws://127.0.0.1:{server.socket.getsockname()[1]}/"
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield speaker
        finally:
            server.shutdown()
            thread.join()


def recording(speaker: Speaker) -> dict[str, str]:
    """Settings of an exporter that records it, with a rule to look for."""
    stream: dict[str, Any] = {
        "name": STREAM,
        "url": speaker.url,
        "allow_private": True,
        "paths": PATHS,
        "reconnect": {"first_seconds": 0},
        "silence_seconds": 3_600,
        "flood_per_second": 1_000,
    }
    rule = {"name": RULE, "keywords": ["紧急"], "severity": "critical"}
    return {"FLEETPULSE_TAP__STREAMS": json.dumps([stream]), "FLEETPULSE_TAP__RULES": json.dumps([rule])}
