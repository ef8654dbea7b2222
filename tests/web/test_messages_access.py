"""Who may read which messages, start replays and listen to them, where credentials are asked for."""

import asyncio
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from tests.query.message_rows import fill, message, said
from tests.system.harness import started
from tests.web.server import Server
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from fleetpulse.auth import Role
from fleetpulse.auth.tokens import issue
from fleetpulse.config import Auth

SECRET = "m" * 40
NOW = float(int(time.time()) - 100)
ROWS = [
    message(1, text="secret of the shop", user_id="anna"),
    said("m-1", "s-1", "secret of one", user_id="bob"),
    said("m-2", "s-2", "secret of two", user_id="eve"),
    said("m-3", None, "secret for bob", recipient="bob", user_id="eve"),
    said("m-4", None, "secret for all", recipient="*", user_id="eve"),
]
SHOP, ONE, TWO, PRIVATE = "shop/shop-c1/1", "m-1", "m-2", {"m-3", "m-4"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An exporter that asks for credentials."""
    program = Server(tmp_path_factory.mktemp("access"), FLEETPULSE_AUTH__JWT_SECRET=SECRET)
    asyncio.run(fill(program.data_dir / "journal.db", [row._replace(received_at=NOW) for row in ROWS]))
    yield from started(program)


def bearer(*roles: Role, sessions: Any = ()) -> dict[str, str]:
    token = issue(
        Auth(jwt_secret=SECRET), subject="bob", roles=roles, lifetime=timedelta(hours=1), sessions=sessions
    )
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    ("roles", "sessions", "seen"),
    [
        ((Role.VIEWER,), (), {SHOP}),
        ((Role.VIEWER,), ("s-1",), {SHOP, ONE}),
        ((Role.OPERATOR,), ("s-1", "s-2", "s-9"), {SHOP, ONE, TWO}),
        ((Role.VIEWER,), ("*",), {SHOP, ONE, TWO}),
        ((Role.ADMIN,), (), {SHOP, ONE, TWO, *PRIVATE}),
    ],
)
@pytest.mark.parametrize("path", ["/api/messages?", "/api/messages?q=secret", "/api/search?q=secret"])
def test_what_each_sees(server: Server, path: str, roles: tuple[Role, ...], sessions: Any, seen: set[str]) -> None:
    credential = bearer(*roles, sessions=sessions)
    answer = server.send("GET", path, None, credential)
    assert {each["message_id"] for each in answer.json["messages"]} == seen
    exported = server.send("GET", "/api/messages/export?format=jsonl", None, credential)
    assert len(exported.body.splitlines()) == len(seen)
    for name in (ONE, TWO, *PRIVATE):
        status = server.send("GET", f"/api/messages/{name}", None, credential).status
        assert status == (200 if name in seen else 404)


@pytest.mark.parametrize(
    ("roles", "sessions", "users"),
    [((Role.VIEWER,), ("s-1",), ["anna"]), ((Role.VIEWER,), ("*",), ["eve", "anna", "bob"])],
)
def test_users_of_the_chat_are_not_for_everyone(
    server: Server, roles: tuple[Role, ...], sessions: Any, users: list[str]
) -> None:
    stats = server.send("GET", "/api/stats", None, bearer(*roles, sessions=sessions)).json
    assert stats["total_messages"] == len(ROWS), "that is in the series, too"
    if stats["messages_today"]:  # not where the day has just begun
        assert [each["user_id"] for each in stats["top_users"]] == users


def test_reporters_read_nothing(server: Server) -> None:
    for path in ("/api/messages", "/api/messages/export", "/api/search?q=x", "/api/stats", "/api/v1/replays"):
        server.send("GET", path, None, bearer(Role.REPORTER)).problem(403, "forbidden")
        server.ask(path).problem(401, "unauthenticated")


def test_operators_start_replays_and_viewers_listen(server: Server) -> None:
    order = {"stream": "shop", "speed": 0, "topic": "played"}
    server.give("/api/v1/replays", order, bearer(Role.VIEWER)).problem(403, "forbidden")
    assert server.give("/api/v1/replays", order, bearer(Role.OPERATOR)).json["started_by"] == "bob"
    server.send("DELETE", "/api/v1/replays/played", None, bearer(Role.VIEWER)).problem(403, "forbidden")
    address = f"ws://127.0.0.1:{server.port}/ws/replays/played"
    for headers, status in (({}, 401), (bearer(Role.REPORTER), 403)):
        with pytest.raises(InvalidStatus) as refused, connect(address, proxy=None, additional_headers=headers):
            pass
        assert refused.value.response.status_code == status
    token = bearer(Role.VIEWER)["Authorization"].removeprefix("Bearer ")
    with connect(f"{address}?token={token}", proxy=None) as socket:
        assert list(socket) == ["secret of the shop"]
