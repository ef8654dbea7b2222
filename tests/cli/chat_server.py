"""A chat server as others write them, with the `websockets` library: what one says, all hear."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.system.harness import wait_for
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve


class ChatServer:
    """Runs on threads; `first` is sent to each who connects, and what they send is in `heard`."""

    def __init__(self, port: int = 0, first: tuple[str | bytes, ...] = ()) -> None:
        self.first = first
        self.heard: list[str | bytes] = []
        self.headers: list[dict[str, str]] = []
        self.clients: list[ServerConnection] = []
        self._server = serve(self._handle, "127.0.0.1", port)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.socket.getsockname()[1])

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws/chat"

    def say(self, *messages: Any) -> None:
        """To everyone: texts and bytes as they are, all else as JSON."""
        wait_for(lambda: self.clients, what="a client")
        for message in messages:
            data = message if isinstance(message, str | bytes) else json.dumps(message, ensure_ascii=False)
            for client in self.clients:
                client.send(data)

    def drop(self, code: int = 1012, reason: str = "service restart") -> None:
        """Closes every connection."""
        for client in list(self.clients):
            client.close(code, reason)

    def stop(self) -> None:
        self.drop(1001, "going away")
        self._server.shutdown()
        self._thread.join()

    def _handle(self, client: ServerConnection) -> None:
        assert client.request is not None
        self.headers.append(dict(client.request.headers.raw_items()))
        try:
            for message in self.first:
                client.send(message)
            self.clients.append(client)
            self.heard.extend(client)
        except ConnectionClosed:
            pass
        finally:
            if client in self.clients:
                self.clients.remove(client)


@contextmanager
def chat_server(port: int = 0, first: tuple[str | bytes, ...] = ()) -> Iterator[ChatServer]:
    """A server for as long as the block lasts."""
    server = ChatServer(port, first)
    try:
        yield server
    finally:
        server.stop()
