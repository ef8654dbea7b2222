import gzip
import socket
import time

import pytest
from tests.client.scripted import Request, Scripted, http, serving

from fleetpulse.client.environment import Target
from fleetpulse.client.transport import JSON, ExchangeError, Transport

OK = http("202 Accepted", b"{}")


def test_one_connection_serves_many_exchanges() -> None:
    with serving(OK) as server:
        transport = Transport(Target(f"{server.url}/behind/a/proxy", {"X-App-Key": "k"}), 10)
        for _ in range(3):
            assert transport.post("/api", b"{}", JSON).status == 202
        transport.close()
    assert server.connections == 1
    request = server.requests[0]
    assert request.line == "POST /behind/a/proxy/api HTTP/1.1"
    assert (request.headers["x-app-key"], request.headers["content-type"]) == ("k", JSON)
    assert request.headers["user-agent"].startswith("fleetpulse-client/")


def test_a_long_body_is_compressed() -> None:
    with serving(OK) as server:
        transport = Transport(Target(server.url), 10)
        transport.post("/", b"x" * 5_000, JSON)
        transport.close()
    assert len(server.requests[0].body) < 100
    assert gzip.decompress(server.requests[0].body) == b"x" * 5_000


def test_a_kept_connection_that_was_closed_is_replaced() -> None:
    with serving(OK, closing=True) as server:
        transport = Transport(Target(server.url), 10)
        assert [transport.post("/", b"{}", JSON).status for _ in range(3)] == [202] * 3
        transport.close()
    assert server.connections == 3


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"\x00\x01\x02 not http at all\r\n\r\n", "no HTTP answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "no HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "no HTTP answer"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", "no HTTP answer"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (5 * 2**20), "no HTTP answer"),
        (b"", "the connection broke off"),
    ],
    ids=["binary", "ssh", "cut", "bad chunk", "many headers", "endless", "silent"],
)
def test_garbage_is_no_answer(answer: bytes, words: str) -> None:
    with serving(answer, closing=True) as server, pytest.raises(ExchangeError, match=words):
        Transport(Target(server.url), 10).post("/", b"{}", JSON)


def test_a_server_that_never_answers_is_given_up() -> None:
    with serving(lambda *_: None) as server, pytest.raises(ExchangeError, match="no answer in time"):
        Transport(Target(server.url), 0.2).post("/", b"{}", JSON)


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n"], ids=["head", "body"])
def test_a_server_that_drips_is_given_up(head: bytes) -> None:
    """Every byte comes in time, and the whole never does: time is counted for the exchange, not for each byte."""

    def drip(connection: socket.socket, _: Request) -> None:
        connection.sendall(head)
        while not server.ended.wait(0.02):
            connection.sendall(b"H")

    server: Scripted
    with serving(drip) as server, pytest.raises(ExchangeError, match="no answer in time"):
        Transport(Target(server.url), 0.5).post("/", b"{}", JSON)


def test_a_server_that_reads_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        target = Target(f"http://127.0.0.1:{deaf.getsockname()[1]}")
        noise = gzip.compress(bytes(1)) + time.time_ns().to_bytes(8, "big") * 2_000_000
        with pytest.raises(ExchangeError, match="no answer in time"):
            Transport(target, 0.3).post("/", noise, "application/octet-stream")


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        target = Target(f"http://127.0.0.1:{gone.getsockname()[1]}", {"Authorization": "Bearer secret"})
    with pytest.raises(ExchangeError, match="Connection refused") as caught:
        Transport(target, 5).post("/", b"{}", JSON)
    assert "secret" not in repr(caught.value) + repr(target)
