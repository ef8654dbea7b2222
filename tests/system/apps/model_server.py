"""A stand-in for a provider's HTTP API, as OpenAI documents it: chat, streamed chat, embeddings, and errors.

Answers on a free loopback port. A message of digits alone is answered with that status, as a provider in trouble
would; any other gets the usage below, whatever it says.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

MODEL = "gpt-4o-2024-08-06"
EMBEDDING_MODEL = "text-embedding-3-small"
INPUT, CACHED, OUTPUT = 1_200, 1_024, 40
STREAM_INPUT, STREAM_OUTPUT = 300, 20
EMBEDDED = 8
USAGE = {
    "prompt_tokens": INPUT,
    "completion_tokens": OUTPUT,
    "total_tokens": INPUT + OUTPUT,
    "prompt_tokens_details": {"cached_tokens": CACHED},
}
STREAM_USAGE = {
    "prompt_tokens": STREAM_INPUT,
    "completion_tokens": STREAM_OUTPUT,
    "total_tokens": STREAM_INPUT + STREAM_OUTPUT,
}


@contextmanager
def model_server() -> Iterator[str]:
    """Serves while the context lasts; gives the base URL that clients are pointed at."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/v1/embeddings":
            return self._answer(200, embeddings())
        said = str(asked["messages"][-1]["content"])
        if said.isdigit():
            return self._answer(int(said), {"error": {"message": f"told to answer {said}", "type": "trouble"}})
        return self._stream() if asked.get("stream") else self._answer(200, completion())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named by http.server
        """Says nothing."""

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(document).encode())

    def _stream(self) -> None:
        lines = [*(f"data: {json.dumps(piece)}\n\n" for piece in pieces()), "data: [DONE]\n\n"]
        self._send(200, "text/event-stream", "".join(lines).encode())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def completion() -> dict[str, Any]:
    """A whole answer."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Four."}}
    return _head("chat.completion") | {"choices": [choice], "usage": USAGE}


def pieces() -> Iterator[dict[str, Any]]:
    """The same a word at a time; the last piece has the usage and no choice."""
    for word, reason in (("It ", None), ("is four.", "stop")):
        choice = {"index": 0, "finish_reason": reason, "delta": {"role": "assistant", "content": word}}
        yield _head("chat.completion.chunk") | {"choices": [choice]}
    yield _head("chat.completion.chunk") | {"choices": [], "usage": STREAM_USAGE}


def embeddings() -> dict[str, Any]:
    """One vector."""
    vector = {"object": "embedding", "index": 0, "embedding": [0.25, -0.5]}
    usage = {"prompt_tokens": EMBEDDED, "total_tokens": EMBEDDED}
    return {"object": "list", "model": EMBEDDING_MODEL, "data": [vector], "usage": usage}


def _head(kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1_736_245_800, "model": MODEL}
