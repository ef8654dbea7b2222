"""How bodies are read: framing, compression, encodings and limits, the same for every endpoint that takes one."""

import codecs
import gzip
import json
import re
import socket
import zlib
from pathlib import Path

import pytest
from tests.web.server import LOG_REQUEST, NDJSON, Answer, Server, new_id, request_log

GZIP = {"Content-Encoding": "gzip"}
MEBIBYTE = 2**20


def encoded(*logs: object) -> bytes:
    return json.dumps(list(logs)).encode()


def accepted(answer: Answer) -> int:
    assert answer.status == 202, answer
    assert answer.json["rejected"] == []
    return int(answer.json["accepted"])


def test_one_object_an_array_and_lines(server: Server) -> None:
    assert accepted(server.give(LOG_REQUEST, request_log())) == 1
    assert accepted(server.give(LOG_REQUEST, [request_log(), request_log()])) == 2
    lines = b"\n".join(json.dumps(request_log()).encode() for _ in range(3))
    assert accepted(server.give(LOG_REQUEST, lines, NDJSON)) == 3
    assert accepted(server.give(LOG_REQUEST, [])) == 0
    assert accepted(server.give(LOG_REQUEST, b"", NDJSON)) == 0


@pytest.mark.parametrize(
    "name", ["application/x-ndjson", "application/ndjson", "application/jsonl", "Application/X-NDJSON"]
)
def test_each_name_of_lines(server: Server, name: str) -> None:
    lines = b"%b\r\n\r\n%b\n" % (json.dumps(request_log()).encode(), json.dumps(request_log()).encode())
    assert accepted(server.give(LOG_REQUEST, lines, {"Content-Type": f"{name}; charset=utf-8"})) == 2


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", 'application/json; charset="utf-8"', "x", ""],
)
def test_json_is_json_whatever_it_is_called(server: Server, content_type: str) -> None:
    """`curl -d` names a form; scripts name nothing at all."""
    assert accepted(server.give(LOG_REQUEST, request_log(), {"Content-Type": content_type})) == 1


@pytest.mark.parametrize("body", [b"\n \t{}", b"  [{}]\r\n "])
def test_white_space_around_json(server: Server, body: bytes) -> None:
    body = body.replace(b"{}", json.dumps(request_log()).encode())
    assert accepted(server.give(LOG_REQUEST, body)) == 1


def test_compressed_bodies(server: Server) -> None:
    body = encoded(request_log(), request_log(command="翻译" * 4_000))
    for name, compress in (
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("GZip", gzip.compress),
        ("deflate", zlib.compress),
    ):
        fresh = encoded(request_log(), request_log(command="翻译" * 4_000))
        assert accepted(server.give(LOG_REQUEST, compress(fresh), {"Content-Encoding": name})) == 2
    assert accepted(server.give(LOG_REQUEST, body, {"Content-Encoding": "identity"})) == 2


def test_a_gzip_body_of_several_members(server: Server) -> None:
    body = encoded(request_log(), request_log())
    members = [gzip.compress(body[at : at + 40]) for at in range(0, len(body), 40)]
    assert accepted(server.give(LOG_REQUEST, b"".join(members), GZIP)) == 2
    empty = gzip.compress(b"")
    many = empty * (4 * MEBIBYTE // len(empty)) + gzip.compress(encoded(request_log()))
    assert accepted(server.give(LOG_REQUEST, many, GZIP)) == 1


def test_a_body_may_come_in_chunks(server: Server) -> None:
    body = encoded(request_log())
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:7], body[7:])) + b"0\r\n\r\n"
    assert accepted(server.give(LOG_REQUEST, chunks, {"Transfer-Encoding": "chunked"})) == 1


def test_a_byte_order_mark_is_passed_over(server: Server) -> None:
    marked = codecs.BOM_UTF8 + encoded(request_log())
    assert accepted(server.give(LOG_REQUEST, marked)) == 1
    marked = codecs.BOM_UTF8 + encoded(request_log())
    assert accepted(server.give(LOG_REQUEST, gzip.compress(marked), GZIP)) == 1
    marked = codecs.BOM_UTF8 + json.dumps(request_log()).encode()
    assert accepted(server.give(LOG_REQUEST, marked, NDJSON)) == 1


GOOD = json.dumps(request_log(request_id="never-stored")).encode()
UNREADABLE = {
    "empty": b"",
    "blank": b" \n ",
    "cut": GOOD[:-1],
    "trailing": GOOD + b"x",
    "two objects": GOOD + GOOD,
    "cut array": b"[" + GOOD,
    "array of nothing": b"[,]",
    "UTF-16": GOOD.decode().encode("utf-16"),
    "UTF-16 array": b"[" + GOOD.decode().encode("utf-16-le"),
    "no UTF-8": GOOD.replace(b"tests", b"\xff\xfe"),
    "a lone surrogate": GOOD.replace(b"tests", b"\\ud800"),
    "single quotes": GOOD.replace(b'"', b"'"),
    "a comment": b"// hello\n" + GOOD,
    "form": b"request_id=1&source=web",
    "deep arrays": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep unclosed": b"[" * MEBIBYTE,
    "endless number": GOOD.replace(b"0.5", b"9" * 10_000),
    "null bytes": b"\0" * 100,
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_is_400(server: Server, body: bytes) -> None:
    before = server.rows()
    problem = server.give(LOG_REQUEST, body).problem(400, "malformed")
    assert len(problem["detail"]) < 300
    assert server.rows() == before


@pytest.mark.parametrize("body", [b"null", b"5", b'"text"', b"true", b"{}", b"1e999", b"NaN"])
def test_json_that_is_no_request_log_is_422(server: Server, body: bytes) -> None:
    assert server.give(LOG_REQUEST, body).problem(422, "invalid-input")["errors"]


BROKEN = {
    "not compressed": (b"[]", "gzip"),
    "cut": (gzip.compress(GOOD)[:-4], "gzip"),
    "cut in its head": (gzip.compress(GOOD)[:5], "gzip"),
    "nothing": (b"", "gzip"),
    "bad checksum": (gzip.compress(GOOD)[:-8] + bytes(8), "gzip"),
    "rubbish after": (gzip.compress(GOOD) + b"rubbish", "gzip"),
    "another format": (zlib.compress(GOOD), "gzip"),
    "unknown": (GOOD, "br"),
    "several": (GOOD, "gzip, gzip"),
}


@pytest.mark.parametrize(("body", "encoding"), BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_decompressed_is_400(server: Server, body: bytes, encoding: str) -> None:
    before = server.rows()
    server.give(LOG_REQUEST, body, {"Content-Encoding": encoding}).problem(400, "malformed")
    assert server.rows() == before


def test_a_body_over_the_limit_is_413(server: Server) -> None:
    before = server.rows()
    detail = server.give(LOG_REQUEST, b" " * (8 * MEBIBYTE + 1)).problem(413, "too-large")["detail"]
    assert "limits.body_bytes" in detail
    assert server.rows() == before
    assert accepted(server.give(LOG_REQUEST, encoded(request_log()).ljust(8 * MEBIBYTE))) == 1


def test_a_bomb_is_413_and_costs_no_memory(server: Server) -> None:
    """Four GiB in four MiB: what is over the limit is never decompressed."""
    bomb = gzip.compress(bytes(MEBIBYTE)) * 4_096
    assert len(bomb) < 8 * MEBIBYTE
    before = peak_memory(server)
    detail = server.give(LOG_REQUEST, bomb, GZIP).problem(413, "too-large")["detail"]
    assert "limits.decompressed_bytes" in detail
    assert peak_memory(server) - before < 200 * MEBIBYTE


def peak_memory(server: Server) -> int:
    """The most memory the exporter ever had, in bytes."""
    status = Path(f"/proc/{server.pid}/status")
    if not status.exists():
        pytest.skip("only Linux tells how much memory a process had at its peak")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    assert found
    return int(found[1]) * 1_024


def test_a_batch_over_the_limit_is_413_and_stores_nothing(server: Server) -> None:
    before = server.rows()
    logs = [request_log(request_id=new_id("batch")) for _ in range(10_001)]
    for body, headers in (
        (encoded(*logs), {}),
        (b"\n".join(json.dumps(log).encode() for log in logs), NDJSON),
        (encoded(*logs[:-1], {"bad": True}), {}),
    ):
        detail = server.give(LOG_REQUEST, body, headers).problem(413, "too-large")["detail"]
        assert "limits.batch_items" in detail
    assert server.rows() == before
    assert accepted(server.give(LOG_REQUEST, encoded(*logs[:-1]))) == 10_000


FLOODS = {
    "of empty objects": b"[" + b"{}," * 2_500_000 + b"{}]",
    "of numbers": b"[" + b"0," * 2_500_000 + b"0]",
    "on lines": b"{}\n" * 2_500_000,
    "on one line": b"{}," * 2_500_000 + b"{}",
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_a_flood_of_bad_items_costs_little(server: Server, flood: bytes) -> None:
    """The errors of millions of items would take gigabytes, and half a minute of everyone's time."""
    before = peak_memory(server)
    headers = {} if flood[:1] == b"[" else NDJSON
    answer = server.give(LOG_REQUEST, gzip.compress(flood, 1), GZIP | headers)
    assert (answer.status, answer.json.get("accepted", 0)) in ((413, 0), (202, 0))
    assert peak_memory(server) - before < 800 * MEBIBYTE


def test_a_connection_survives_what_it_carried(server: Server) -> None:
    """Whatever the body was, the next request on the same connection is read from its beginning."""
    for body in (b"", b"[", b"x" * 1_000):
        server.give(LOG_REQUEST, body)
        assert accepted(server.give(LOG_REQUEST, request_log())) == 1


def test_requests_sent_at_once_are_answered_in_order(server: Server) -> None:
    bodies = [json.dumps(request_log()).encode(), b"{", encoded(request_log(), request_log())]
    head = f"POST {LOG_REQUEST} HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
    together = b"".join(f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies)
    with socket.create_connection(("127.0.0.1", server.port), 30) as connection:
        connection.sendall(together)
        answers = b""
        while answers.count(b"HTTP/1.1 ") < 3 or not answers.endswith(b"}"):
            answers += connection.recv(65_536) or pytest.fail(f"closed after {answers!r}")
    first, second, third = answers.split(b"HTTP/1.1 ")[1:]
    assert (first[:3], second[:3], third[:3]) == (b"202", b"400", b"202")
    assert b'"accepted":1' in first
    assert b'"accepted":2' in third


@pytest.mark.parametrize(("version", "connection"), [("1.0", "close"), ("1.0", "keep-alive"), ("1.1", "close")])
def test_older_and_shorter_connections(server: Server, version: str, connection: str) -> None:
    body = json.dumps(request_log()).encode()
    head = f"POST {LOG_REQUEST} HTTP/{version}\r\nHost: localhost\r\nConnection: {connection}\r\n"
    assert accepted(server.send_bytes(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)) == 1
    assert accepted(server.give(LOG_REQUEST, request_log())) == 1


def test_a_client_that_asks_before_it_sends(server: Server) -> None:
    """`Expect: 100-continue`, as curl sends with bodies over 1 MiB."""
    body = encoded(request_log())
    head = f"POST {LOG_REQUEST} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: {len(body)}"
    with socket.create_connection(("127.0.0.1", server.port), 30) as connection:
        connection.sendall(f"{head}\r\n\r\n".encode())
        assert connection.recv(65_536).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 202 ")
