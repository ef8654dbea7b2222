"""A server of another kind than the exporter: it reads requests over real sockets and answers by a script."""

import gzip
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

Answer = bytes | Callable[[socket.socket, "Request"], None]


@dataclass
class Request:
    """What came."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def lines(self) -> list[bytes]:
        """The lines of a body of NDJSON."""
        plain = gzip.decompress(self.body) if self.headers.get("content-encoding") == "gzip" else self.body
        return plain.splitlines()


@dataclass
class Scripted:
    """`script` is used up request by request, its last answer for ever; `closing` ends connections after each."""

    script: list[Answer]
    closing: bool = False
    tls: ssl.SSLContext | None = None
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    url: str = ""
    ended: threading.Event = field(default_factory=threading.Event)

    def serve(self, listener: socket.socket) -> None:
        """Until the listener is closed."""
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                self.connections += 1
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, plain: socket.socket) -> None:
        with suppress(OSError), plain, self._secured(plain) as connection, connection.makefile("rb") as file:
            while line := file.readline():
                headers = {}
                while (header := file.readline()) not in (b"\r\n", b""):
                    name, _, value = header.decode("latin-1").partition(":")
                    headers[name.lower()] = value.strip()
                body = file.read(int(headers.get("content-length", 0)))
                request = Request(line.decode("latin-1").strip(), headers, body)
                self.requests.append(request)
                answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
                if callable(answer):
                    answer(connection, request)
                else:
                    connection.sendall(answer)
                if self.closing:
                    return

    def _secured(self, plain: socket.socket) -> socket.socket:
        return self.tls.wrap_socket(plain, server_side=True) if self.tls else plain


@contextmanager
def serving(*script: Answer, closing: bool = False, tls: ssl.SSLContext | None = None) -> Iterator[Scripted]:
    """A running server."""
    server = Scripted(list(script), closing, tls)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.url = f"{'https' if tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}"
        thread = threading.Thread(target=server.serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.ended.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def http(status: str, body: bytes | dict[str, object] = b"", *headers: str) -> bytes:
    """A whole answer."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + content


def acknowledge(connection: socket.socket, request: Request) -> None:
    """All of it is taken."""
    taken = {"accepted": len(request.lines), "duplicates": 0, "rejected": []}
    connection.sendall(http("202 Accepted", taken))
