"""Recorded streams played again: over the live feed, and as they were over plain WebSockets."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.query.message_rows import fill, message, said
from tests.system.harness import started, wait_for
from tests.web.server import Answer, Server
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

REPLAYS = "/api/v1/replays"
RAW = '{"type":"chat","text":"重要"}'
SINCE = float(int(time.time()) - 100)
WRITTEN = [
    message(1, text="one"),
    message(1, "forum", text="elsewhere"),
    message(2, text="重要", raw=RAW, size=len(RAW.encode())),
    message(3, kind="binary", text="", raw=b"\x00\xff", opcode=2, size=2),
    message(4, text="not kept", size=99),
    message(5, connection="shop-c2", text="five"),
    said("m-1", "s-1", "not recorded"),
]
ROWS = [row._replace(received_at=SINCE + number, clock=float(number)) for number, row in enumerate(WRITTEN)]
FRAMES = ["one", RAW, b"\x00\xff", "five"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An exporter with the recorded messages of `ROWS`, at most two replays at once."""
    yield from started(prepared(tmp_path_factory.mktemp("replays"), FLEETPULSE_TAP__REPLAYS="2"))


def prepared(folder: Path, **settings: str) -> Server:
    server = Server(folder, **settings)
    asyncio.run(fill(server.data_dir / "journal.db", ROWS))
    return server


def begin(server: Server, **order: Any) -> dict[str, Any]:
    answer = server.give(REPLAYS, {"stream": "shop", "speed": 0} | order)
    assert answer.status == 201, answer
    shown: dict[str, Any] = answer.json
    assert answer.headers["Location"] == f"{REPLAYS}/{shown['id']}"
    return shown


def end(server: Server, replay: dict[str, Any]) -> Answer:
    return server.send("DELETE", f"{REPLAYS}/{replay['id']}")


def listen(server: Server, replay: dict[str, Any], **more: Any) -> ClientConnection:
    socket: ClientConnection = connect(f"ws://127.0.0.1:{server.port}{replay['websocket']}", proxy=None, **more)
    return socket


def feed(server: Server, topic: str) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{server.port}/ws/live?topics={topic}", proxy=None)


def running(server: Server) -> list[str]:
    return [each["id"] for each in server.ask(REPLAYS).json["replays"]]


def test_a_plain_websocket_gets_what_was_recorded_as_it_was(server: Server) -> None:
    replay = begin(server)
    assert replay["state"] == "waiting"
    assert (replay["first"], replay["last"], replay["offset"]) == (1, 6, 0)
    with listen(server, replay) as socket:
        assert list(socket) == FRAMES
    assert socket.close_code == 1000
    wait_for(lambda: running(server) == [], what="over")
    with pytest.raises(InvalidStatus) as refused, listen(server, replay):
        pass
    assert refused.value.response.status_code == 404


def test_the_live_feed_has_the_ids_of_the_rows_as_offsets(server: Server) -> None:
    replay = begin(server, topic="demo")
    with feed(server, "replay/demo") as socket:
        heard = [json.loads(each) for each in until_unsubscribed(socket)]
    subscribed, *events, ended, unsubscribed = heard
    assert (subscribed["type"], subscribed["offset"]) == ("subscribed", 0)
    assert [each["offset"] for each in events] == [1, 3, 4, 5, 6]
    assert [each["data"].get("raw") for each in events] == ["one", RAW, None, None, "five"]
    assert events[2]["data"]["raw_base64"] == "AP8="
    assert events[1]["data"]["text"] == "重要"
    assert [each["key"] for each in events] == [each["data"]["message_id"] for each in events]
    assert (ended["kind"], ended["offset"], ended["data"]) == ("ended", 7, {"why": "finished", "played": 5})
    assert unsubscribed == {"type": "unsubscribed", "topic": replay["topic"]}


def until_unsubscribed(socket: ClientConnection) -> Iterator[str]:
    while True:
        text = str(socket.recv(30))
        yield text
        if '"unsubscribed"' in text:
            return


def test_a_name_that_is_used_again_is_another_stream(server: Server) -> None:
    epochs = []
    for _ in range(2):
        begin(server, topic="again")
        with feed(server, "replay/again") as socket:
            heard = [json.loads(each) for each in until_unsubscribed(socket)]
        assert [each["offset"] for each in heard[1:-1]] == [1, 3, 4, 5, 6, 7]
        epochs.append(heard[0]["epoch"])
        wait_for(lambda: running(server) == [], what="over")
    assert len(set(epochs)) == 2


def test_a_part_of_the_stream(server: Server) -> None:
    start, end = (time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(SINCE + each)) for each in (2, 4))
    replay = begin(server, start=start, end=end)
    assert (replay["first"], replay["last"]) == (3, 4)
    with listen(server, replay) as socket:
        assert list(socket) == [RAW, b"\x00\xff"]


def test_it_begins_again_until_it_is_ended(server: Server) -> None:
    replay = begin(server, loop=True)
    with feed(server, replay["topic"]) as live, listen(server, replay) as socket:
        assert [socket.recv(30) for _ in range(12)] == FRAMES * 3
        live.recv(30)
        offsets = [json.loads(live.recv(30))["offset"] for _ in range(10)]
        first = 1 + 6 * ((offsets[0] - 1) // 6)
        assert offsets == sorted(offsets)
        assert offsets[0] >= first
        assert end(server, replay).status == 204
        assert drained(socket)
        assert socket.close_code == 1001
    end(server, replay).problem(404, "not-found")


def drained(socket: ClientConnection) -> bool:
    """Reads until it is closed, by whatever code."""
    with suppress(ConnectionClosed):
        while True:
            socket.recv(30)
    return True


def test_it_pauses_while_nobody_listens(server: Server) -> None:
    replay = begin(server, speed=1, max_pause_seconds=0.3)
    heard = []
    with listen(server, replay) as socket:
        heard.append(socket.recv(30))
        assert shown(server, replay)["state"] == "playing"
    wait_for(lambda: shown(server, replay)["state"] == "paused", what="paused")
    assert shown(server, replay)["max_pause_seconds"] == 0.3
    played = shown(server, replay)["played"]
    with listen(server, replay) as socket:
        heard += list(socket)
    assert heard[-1] == "five"
    assert len(heard) >= len(FRAMES) - played + 1, "nothing was played to nobody"


def shown(server: Server, replay: dict[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = server.ask(f"{REPLAYS}/{replay['id']}").json
    return document


def test_so_many_and_no_more(server: Server) -> None:
    replays = [begin(server), begin(server, topic="taken")]
    assert sorted(running(server)) == sorted(each["id"] for each in replays)
    assert server.metrics()["fleetpulse_tap_replays_running"] == 2
    answer = server.give(REPLAYS, {"stream": "shop"})
    answer.problem(503, "overloaded")
    assert int(answer.headers["Retry-After"]) > 0
    end(server, replays[0])
    errors = server.give(REPLAYS, {"stream": "shop", "topic": "taken"}).problem(422, "invalid-input")["errors"]
    assert [each["loc"] for each in errors] == [["topic"]]
    end(server, replays[1])
    assert server.metrics()["fleetpulse_tap_replays_running"] == 0


@pytest.mark.parametrize(
    ("order", "status", "code"),
    [
        ({"stream": "nobody"}, 404, "not-found"),
        ({"stream": "chat"}, 422, "invalid-input"),
        ({"stream": "shop", "start": "2999-01-01"}, 404, "not-found"),
        ({"stream": "shop", "start": "yesterday"}, 422, "invalid-input"),
        ({"stream": "shop", "speed": -1}, 422, "invalid-input"),
        ({"stream": "shop", "speed": 1e9}, 422, "invalid-input"),
        ({"stream": "shop", "topic": "a/b"}, 422, "invalid-input"),
        ({"stream": "shop", "colour": "red"}, 422, "invalid-input"),
        ({}, 422, "invalid-input"),
        ([], 422, "invalid-input"),
    ],
)
def test_orders_that_cannot_be(server: Server, order: Any, status: int, code: str) -> None:
    server.give(REPLAYS, order).problem(status, code)


def test_what_clients_send_is_left_alone_and_their_subprotocol_is_spoken(server: Server) -> None:
    replay = begin(server, speed=1, max_pause_seconds=0.05)
    with listen(server, replay, subprotocols=[Subprotocol("graphql-ws"), Subprotocol("other")]) as socket:
        assert socket.subprotocol == "graphql-ws"
        socket.send('{"type":"auth","token":"x"}')
        socket.send(b"\x00")
        assert list(socket) == FRAMES


def test_a_plain_get_is_told_to_upgrade(server: Server) -> None:
    replay = begin(server)
    server.ask(replay["websocket"]).problem(400, "malformed")
    end(server, replay)


def test_events_tell_of_it(server: Server) -> None:
    replay = begin(server, topic="told")
    with listen(server, replay) as socket:
        list(socket)
    told = "SELECT kind, subject, actor, detail FROM events WHERE detail LIKE '%told%' AND category = 'tap'"
    wait_for(lambda: len(server.journal(told)) == 2, what="both stored")
    begun, over = server.journal(told)
    assert begun[:3] == ("replay_started", "shop", "anonymous")
    assert over[0] == "replay_ended"
    assert json.loads(over[3]) == {"replay": "told", "why": "finished", "played": 5, "passes": 1}


def test_a_stop_ends_them(tmp_path: Path) -> None:
    server = prepared(tmp_path)
    for _ in started(server):
        replay = begin(server, loop=True, speed=1, max_pause_seconds=0.01)
        with listen(server, replay) as socket:
            socket.recv(30)
            server.terminate()
            assert drained(socket)
            assert socket.close_code == 1001
        assert "stopped" in server.output()
        assert " ERROR " not in server.output()
