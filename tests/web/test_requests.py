"""`/api/requests`, its search and its export, over HTTP."""

import asyncio
import csv
import gzip
import io
import json
import math
import socket
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.journal.stand import requests as stored
from tests.journal.stand import until
from tests.query.rows import library
from tests.system.harness import started, wait_for
from tests.web.server import LOG_REQUEST, Answer, Server, new_id, request_log

from fleetpulse import catalogue
from fleetpulse.query.filters import RequestFilter
from fleetpulse.web import downloads
from fleetpulse.web.requests import RequestEndpoints

SOURCE = "rows"
EXPORT = "/api/requests/export"


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An exporter with the requests of `LOGS`, indexed."""
    server = Server(tmp_path_factory.mktemp("rows"), FLEETPULSE_TIMEZONE="Asia/Shanghai")
    for _ in started(server):
        assert server.give(LOG_REQUEST, LOGS).json["accepted"] == len(LOGS)
        wait_for(lambda: server.metrics()["fleetpulse_search_indexed_rows"] == len(LOGS), what="all indexed")
        yield server
    assert " ERROR fleetpulse" not in server.output()


LOGS = [
    request_log(request_id="r-1", source="telegram", command="帮我查一下天气", cost=0.1, model="gpt-4o"),
    request_log(request_id="r-2", source="web", command="Summarise this report", status="error", error="请求超时"),
    request_log(request_id="r-3", source="web", command="=1+1", status="timeout", error="upstream timed out"),
    request_log(request_id="r/4 ?", source="微信", user_id="u2", session_id="s-1", account_id="a-1", cost=0.2),
    request_log(request_id="r-5", metadata={"note": "第一行\n天气预报"}, trace_id="t-1", execution_time=9.5),
]


def ask(server: Server, **query: Any) -> Answer:
    return server.ask(f"/api/requests?{urlencode(query)}")


def found(server: Server, **query: Any) -> list[str]:
    answer = ask(server, **query)
    assert answer.status == 200, answer
    return [each["request_id"] for each in answer.json["requests"]]


def test_the_newest_come_first_and_whole(rows: Server) -> None:
    document = ask(rows).json
    assert [each["request_id"] for each in document["requests"]] == ["r-5", "r/4 ?", "r-3", "r-2", "r-1"]
    assert document["next_cursor"] is None
    shown = document["requests"][0]
    assert shown["metadata"] == {"note": "第一行\n天气预报"}
    assert shown["timestamp"] == shown["received_at"]
    assert set(shown) == {
        *("request_id", "received_at", "timestamp", "source", "user_id", "command", "status", "execution_time"),
        *("tokens_used", "cost", "cost_source", "metadata", "trace_id"),
    }


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"q": "天气"}, ["r-5", "r-1"]),
        ({"q": "查一下"}, ["r-1"]),
        ({"q": "超"}, ["r-2"]),
        ({"q": "report"}, ["r-2"]),
        ({"q": "REP"}, ["r-2"]),
        ({"q": '"rep"'}, []),
        ({"q": "timed"}, ["r-3"]),
        ({"q": "r-3"}, ["r-3"]),
        ({"q": "天气 gpt"}, ["r-1"]),
        ({"q": "天气", "trace_id": "t-1"}, ["r-5"]),
        ({"source": "web"}, ["r-3", "r-2"]),
        ({"source": "微信"}, ["r/4 ?"]),
        ({"status": "Error"}, ["r-2"]),
        ({"failed": "true"}, ["r-3", "r-2"]),
        ({"failed": "false", "source": "web"}, []),
        ({"user_id": "u2"}, ["r/4 ?"]),
        ({"model": "gpt-4o"}, ["r-1"]),
        ({"account_id": "a-1"}, ["r/4 ?"]),
        ({"session_id": "s-1"}, ["r/4 ?"]),
        ({"min_cost": "0.2", "failed": "false"}, ["r-5", "r/4 ?"]),
        ({"min_time": 9}, ["r-5"]),
        (
            {"q": "", "source": "", "failed": "", "start": "", "min_cost": "", "cursor": "", "model": "gpt-4o"},
            ["r-1"],
        ),
    ],
)
def test_filters_and_search(rows: Server, query: dict[str, Any], expected: list[str]) -> None:
    assert found(rows, **query) == expected


def test_times_of_receipt(rows: Server) -> None:
    now = datetime.now(UTC)
    hour = timedelta(hours=1)
    assert len(found(rows, start=(now - hour).isoformat(), end=(now + hour).isoformat())) == 5
    assert found(rows, start=(now + hour).isoformat()) == []
    assert found(rows, end=(now - hour).isoformat()) == []
    assert found(rows, start="2020-01-01", end="2020-01-02T00:00:00+08:00") == []


def test_pages(rows: Server) -> None:
    first = ask(rows, limit=2).json
    second = ask(rows, limit=2, cursor=first["next_cursor"]).json
    third = ask(rows, limit=2, cursor=second["next_cursor"]).json
    pages = [[each["request_id"] for each in page["requests"]] for page in (first, second, third)]
    assert pages == [["r-5", "r/4 ?"], ["r-3", "r-2"], ["r-1"]]
    assert third["next_cursor"] is None


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("cursor=-1", "cursor"),
        ("cursor=" + "f" * 16, "cursor"),
        ("q=%21%3F", "q"),
        ("q=" + "+".join(f"w{n}" for n in range(17)), "q"),
        ("q=" + "x" * 201, "q"),
        ("failed=maybe", "failed"),
        ("min_cost=-1", "min_cost"),
        ("min_time=nan", "min_time"),
        ("start=yesterday", "start"),
        ("end=2025-02-30", "end"),
        ("start=2025-01-07T10:30:00", "start"),
        ("colour=red", "colour"),
        ("source=a&source=b", "source"),
    ],
)
def test_what_is_wrong_is_named(rows: Server, query: str, name: str) -> None:
    errors = rows.ask(f"/api/requests?{query}").problem(422, "invalid-input")["errors"]
    assert [error["loc"] for error in errors] == [["query", name]]


@pytest.mark.parametrize("name", ["r-1", "r/4 ?"])
def test_a_single_one(rows: Server, name: str) -> None:
    answer = rows.ask(f"/api/requests/{quote(name, safe='')}")
    assert (answer.status, answer.json["request_id"]) == (200, name)


def test_one_that_is_not_there(rows: Server) -> None:
    rows.ask("/api/requests/nobody").problem(404, "not-found")


def test_what_was_just_acknowledged_is_found(server: Server) -> None:
    for _ in range(20):
        word = new_id("w").replace("-", "")
        log = request_log(command=f"说{word}了", source=SOURCE)
        assert server.give(LOG_REQUEST, log).json["accepted"] == 1
        assert found(server, q=word) == [log["request_id"]]
        assert found(server, q=f"说{word}", source=SOURCE) == [log["request_id"]]


# Exports ------------------------------------------------------------------------------------------------------
def lines(answer: Answer) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(answer.body.decode("utf-8-sig"), newline="")))


def test_csv(rows: Server) -> None:
    answer = rows.ask(EXPORT)
    assert answer.status == 200
    assert answer.headers.get_content_type() == "text/csv"
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="requests-')
    assert [line["request_id"] for line in lines(answer)] == ["r-1", "r-2", "r-3", "r/4 ?", "r-5"]
    assert lines(answer)[2]["command"] == "'=1+1"
    assert lines(rows.ask(f"{EXPORT}?guard=false"))[2]["command"] == "=1+1"
    assert not answer.body.startswith(b"\xef\xbb\xbf")
    assert rows.ask(f"{EXPORT}?bom=true").body.startswith(b"\xef\xbb\xbf")


def test_json_lines(rows: Server) -> None:
    answer = rows.ask(f"{EXPORT}?format=jsonl")
    assert answer.headers.get_content_type() == "application/x-ndjson"
    exported = [json.loads(line) for line in answer.body.splitlines()]
    assert exported == ask(rows).json["requests"][::-1]


def test_an_export_can_be_sent_back(rows: Server, server: Server) -> None:
    body = rows.ask(f"{EXPORT}?format=jsonl").body
    answer = server.send("POST", LOG_REQUEST, body, {"Content-Type": "application/x-ndjson"})
    # Other tests have stored requests there, too, maybe with an id of these.
    assert answer.json["accepted"] + answer.json["duplicates"] == 5
    assert answer.json["rejected"] == []


def test_filters_of_an_export(rows: Server) -> None:
    assert [line["request_id"] for line in lines(rows.ask(f"{EXPORT}?{urlencode({'q': '天气'})}"))] == [
        "r-1",
        "r-5",
    ]
    assert lines(rows.ask(f"{EXPORT}?source=nobody")) == []
    assert rows.ask(f"{EXPORT}?source=nobody&format=jsonl").body == b""


def test_compressed(rows: Server) -> None:
    answer = rows.ask(EXPORT, Accept_Encoding="gzip, deflate")
    assert answer.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(answer.body) == rows.ask(EXPORT).body


def test_the_head_alone(rows: Server) -> None:
    answer = rows.send("HEAD", EXPORT)
    assert (answer.status, answer.headers.get_content_type(), answer.body) == (200, "text/csv", b"")


@pytest.mark.parametrize("query", ["format=xml", "limit=5", "cursor=1", "q=%21"])
def test_what_no_export_takes(rows: Server, query: str) -> None:
    rows.ask(f"{EXPORT}?{query}").problem(422, "invalid-input")


def test_the_exported_costs_are_the_total(server: Server) -> None:
    """To the last bit of every cost; only the order of adding differs."""
    logs = [request_log(source="sums", cost=cost, model="own") for cost in (0.1, 0.2, 1e-9, 123.456789, 1 / 3, 0.7)]
    server.give(LOG_REQUEST, logs)
    sent = math.fsum(log["cost"] for log in logs)
    exported = math.fsum(float(line["cost"]) for line in lines(server.ask(f"{EXPORT}?source=sums")))
    assert exported == sent
    total = server.metrics()['fleetpulse_cost_usd_total{source="sums",model="own"}']
    assert total == pytest.approx(sent, rel=1e-15)


# Turned off ---------------------------------------------------------------------------------------------------
def test_without_an_index(tmp_path: Path) -> None:
    for server in started(Server(tmp_path, FLEETPULSE_SEARCH__INDEX="false")):
        server.give(LOG_REQUEST, LOGS)
        assert found(server, q="天气") == ["r-5", "r-1"]
        assert not (server.data_dir / "search.db").exists()
        assert "fleetpulse_search_lag_rows" not in server.metrics()


# A client that takes nothing ----------------------------------------------------------------------------------
async def test_it_makes_room_for_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "STALL_SECONDS", 0.3)
    async with library(tmp_path) as it:
        await it.store(*stored(range(3_000), command="文" * 2_000))
        app = web.Application()
        app.add_routes(RequestEndpoints(it.logs, ZoneInfo("UTC")).routes())
        async with TestServer(app) as server:
            with socket.create_connection((server.host, server.port), 30) as client:
                client.sendall(f"GET {EXPORT} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                await until(lambda: it.value(catalogue.EXPORTS) == 1)
                await until(lambda: it.value(catalogue.EXPORTS) == 0)
                assert not await asyncio.to_thread(everything, client)
            assert len(await it.exported(RequestFilter())) == 3_000


def everything(client: socket.socket) -> bool:
    """Whether what a connection has left to say is a whole answer."""
    said = b""
    with suppress(ConnectionError):
        while piece := client.recv(65_536):
            said = said[-10:] + piece
    return said.endswith(b"0\r\n\r\n")
