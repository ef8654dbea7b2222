"""`/api/messages`, `/api/search`, `/api/stats` and the files of messages, over HTTP."""

import asyncio
import base64
import csv
import io
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from tests.query.message_rows import fill, message, said
from tests.system.harness import started, wait_for
from tests.web.server import Answer, Server

from fleetpulse.journal import rfc3339

EXPORT = "/api/messages/export"
RAW = '{"type":"chat","from":"anna","text":"重要：请求超时了"}'
SINCE = float(int(time.time()) - 100)  # they were received one a second from then on
WRITTEN = [
    message(1, text="Good morning"),
    message(2, text="重要：请求超时了", raw=RAW, size=len(RAW.encode()), rules=",urgent,late,", session_id="lobby"),
    message(3, user_id="bo", kind="system", text="bo <b>joined</b> & left"),
    message(4, user_id="", kind="binary", text="", raw=b"\x00\xff", opcode=2, size=2),
    message(5, connection="shop-c2", text="=1+1", user_id="anna"),
    message(1, "forum", text="请求已取消", user_id="chen"),
    message(6, text="not kept", size=99, metadata='{"note": "天气"}'),
    said("m-1", "s-1", "secret plan"),
    said("m-2", "s-2", "another secret", user_id="eve"),
    said("m-3", None, "secret for bob", recipient="bob"),
]
ROWS = [row._replace(received_at=SINCE + number, clock=float(number)) for number, row in enumerate(WRITTEN)]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An exporter with the messages of `ROWS`, indexed."""
    server = Server(
        tmp_path_factory.mktemp("messages"),
        FLEETPULSE_TIMEZONE="Asia/Shanghai",
    )
    asyncio.run(fill(server.data_dir / "journal.db", ROWS))
    for _ in started(server):
        wait_for(
            lambda: server.metrics()["fleetpulse_message_search_indexed_rows"] == len(ROWS), what="all indexed"
        )
        yield server
    assert " ERROR fleetpulse" not in server.output()


def ask(server: Server, path: str = "/api/messages", **query: Any) -> Answer:
    return server.ask(f"{path}?{urlencode(query)}")


def found(server: Server, **query: Any) -> list[str]:
    answer = ask(server, **query)
    assert answer.status == 200, answer
    return [each["message_id"] for each in answer.json["messages"]]


def test_the_newest_come_first_without_their_payloads(rows: Server) -> None:
    document = ask(rows).json
    assert [each["message_id"] for each in document["messages"]] == [row.message_id for row in ROWS][::-1]
    assert document["next_cursor"] is None
    shown = document["messages"][-2]
    assert shown == {
        "message_id": "shop/shop-c1/2",
        "received_at": rfc3339(SINCE + 1),
        "timestamp": rfc3339(SINCE + 1),
        "stream": "shop",
        "kind": "chat",
        "session_id": "lobby",
        "user_id": "anna",
        "text": "重要：请求超时了",
        "opcode": 1,
        "size": len(RAW.encode()),
        "clock": 1.0,
        "connection": "shop-c1",
        "rules": ["urgent", "late"],
    }


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"q": "超时"}, ["shop/shop-c1/2"]),
        ({"q": "请求"}, ["forum/forum-c1/1", "shop/shop-c1/2"]),
        ({"q": "请求", "stream": "shop"}, ["shop/shop-c1/2"]),
        ({"q": "chen"}, ["forum/forum-c1/1"]),
        ({"q": "lobby"}, ["shop/shop-c1/2"]),
        ({"q": "天气"}, ["shop/shop-c1/6"]),
        ({"type": "system"}, ["shop/shop-c1/3"]),
        ({"user": "bo"}, ["shop/shop-c1/3"]),
        ({"user": "anna", "limit": 1}, ["shop/shop-c1/6"]),
        ({"room": "lobby"}, ["shop/shop-c1/2"]),
        ({"rule": "late"}, ["shop/shop-c1/2"]),
        ({"rule": "lat"}, []),
        ({"rule": "LATE"}, []),
        ({"stream": "forum", "q": "", "type": "", "start": ""}, ["forum/forum-c1/1"]),
        ({"stream": "chat", "room": "s-2"}, ["m-2"]),
        ({"start": rfc3339(SINCE + 4), "end": rfc3339(SINCE + 5)}, ["shop/shop-c2/5"]),
    ],
)
def test_filters_and_search(rows: Server, query: dict[str, Any], expected: list[str]) -> None:
    assert found(rows, **query) == expected


def test_pages(rows: Server) -> None:
    seen: list[str] = []
    cursor = ""
    while True:
        document = ask(rows, limit=3, cursor=cursor, stream="shop").json
        seen += [each["message_id"] for each in document["messages"]]
        cursor = document["next_cursor"]
        if cursor is None:
            break
    assert seen == [row.message_id for row in ROWS if row.stream == "shop"][::-1]


@pytest.mark.parametrize("path", ["/api/messages", "/api/search", EXPORT, "/api/stats"])
def test_what_is_wrong_is_named(rows: Server, path: str) -> None:
    errors = ask(rows, path, colour="red", **({"q": "x"} if path == "/api/search" else {})).problem(
        422, "invalid-input"
    )["errors"]
    assert [error["loc"] for error in errors] == [["query", "colour"]]


@pytest.mark.parametrize(("name", "value"), [("days", 0), ("days", 401), ("top", 101), ("days", "x")])
def test_bounds_of_statistics(rows: Server, name: str, value: Any) -> None:
    ask(rows, "/api/stats", **{name: value}).problem(422, "invalid-input")


# Single ones --------------------------------------------------------------------------------------------------
def test_a_single_one_has_its_payload(rows: Server) -> None:
    assert one(rows, "shop/shop-c1/2")["raw"] == RAW
    assert one(rows, "shop/shop-c1/1")["raw"] == "Good morning"
    assert one(rows, "shop/shop-c1/4")["raw_base64"] == base64.b64encode(b"\x00\xff").decode()
    assert not {"raw", "raw_base64"} & set(one(rows, "shop/shop-c1/6")), "it was not kept"
    rows.ask("/api/messages/nobody").problem(404, "not-found")


def one(server: Server, name: str) -> dict[str, Any]:
    answer = server.ask(f"/api/messages/{quote(name, safe='')}")
    assert answer.status == 200, answer
    shown: dict[str, Any] = answer.json
    return shown


# Search -------------------------------------------------------------------------------------------------------
def test_what_was_found_is_marked(rows: Server) -> None:
    (hit,) = ask(rows, "/api/search", q="超时 anna").json["messages"]
    assert hit["message_id"] == "shop/shop-c1/2"
    assert hit["highlights"] == [
        {"field": "text", "start": 5, "end": 7},
        {"field": "user_id", "start": 0, "end": 4},
    ]
    assert hit["snippet"] == "重要：请求<mark>超时</mark>了"


def test_a_snippet_is_safe_in_a_page(rows: Server) -> None:
    (hit,) = ask(rows, "/api/search", q="joined").json["messages"]
    assert hit["snippet"] == "bo &lt;b&gt;<mark>joined</mark>&lt;/b&gt; &amp; left"


def test_searching_needs_something_to_search_for(rows: Server) -> None:
    for query in ("", "q=", "q=%21"):
        rows.ask(f"/api/search?{query}").problem(422, "invalid-input")


# Files --------------------------------------------------------------------------------------------------------
def test_csv(rows: Server) -> None:
    answer = ask(rows, EXPORT, stream="shop")
    assert answer.headers.get_content_type() == "text/csv"
    lines = list(csv.DictReader(io.StringIO(answer.body.decode(), newline="")))
    assert [line["message_id"] for line in lines] == [row.message_id for row in ROWS if row.stream == "shop"]
    assert "raw" not in lines[0]
    assert lines[4]["text"] == "'=1+1"
    assert lines[1]["received_at"] == rfc3339(SINCE + 1)


def test_json_lines_have_the_payloads(rows: Server) -> None:
    exported = [json.loads(line) for line in ask(rows, EXPORT, format="jsonl").body.splitlines()]
    assert [each["message_id"] for each in exported] == [row.message_id for row in ROWS]
    assert exported[1]["raw"] == RAW
    assert exported[3]["raw_base64"] == "AP8="


def test_an_archive_has_an_entry_a_connection(rows: Server) -> None:
    answer = ask(rows, EXPORT, format="har")
    assert answer.headers["Content-Disposition"].endswith('.har"')
    log = answer.json["log"]
    assert log["version"] == "1.2"
    assert [entry["connection"] for entry in log["entries"]] == ["forum-c1", "shop-c1", "shop-c2", "shop-c1"]
    messages = log["entries"][1]["_webSocketMessages"]
    assert messages[1] == {"type": "receive", "time": SINCE + 1, "opcode": 1, "data": RAW}
    assert messages[3] == {"type": "receive", "time": SINCE + 3, "opcode": 2, "data": "AP8="}
    for entry in log["entries"]:
        assert {"startedDateTime", "time", "request", "response", "cache", "timings"} <= set(entry)
    assert log["entries"][1]["startedDateTime"] == rfc3339(SINCE)
    assert log["entries"][1]["time"] == 3_000.0


def test_an_empty_archive_is_one(rows: Server) -> None:
    assert ask(rows, EXPORT, format="har", stream="nobody").json["log"]["entries"] == []
    assert ask(rows, EXPORT, format="har", q="龘").json["log"]["entries"] == []


# Statistics ---------------------------------------------------------------------------------------------------
def test_statistics(rows: Server) -> None:
    stats = ask(rows, "/api/stats", days=7, top=2).json
    assert stats["total_messages"] == len(ROWS)
    assert stats["timezone"] == "Asia/Shanghai"
    assert len(stats["daily"]) == 7
    assert sum(day["messages"] for day in stats["daily"]) == len(ROWS)
    assert stats["messages_today"] == stats["daily"][-1]["messages"]
    assert [each["hour"] for each in stats["hourly"]] == list(range(24))
    assert sum(each["messages"] for each in stats["hourly"]) == len(ROWS)
    assert stats["users_complete"] is True
    assert len(stats["top_users"]) <= 2
    assert stats["streams"] == [
        {"stream": "shop", "messages": 6},
        {"stream": "chat", "messages": 3},
        {"stream": "forum", "messages": 1},
    ]
    assert {"stream": "shop", "kind": "chat", "messages": 4} in stats["kinds"]
    samples = rows.metrics()
    for each in stats["kinds"]:
        stream, kind, messages = each.values()
        assert samples[f'fleetpulse_chat_messages_total{{stream="{stream}",kind="{kind}"}}'] == messages


def test_statistics_of_one_stream(rows: Server) -> None:
    stats = ask(rows, "/api/stats", stream="forum").json
    assert stats["total_messages"] == 1
    assert sum(day["messages"] for day in stats["daily"]) == 1
    assert [each["stream"] for each in stats["kinds"]] == ["forum"]
