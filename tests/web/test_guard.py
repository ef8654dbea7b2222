import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, WSMsgType, WSServerHandshakeError, web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fleetpulse.auth import Authenticator, Role
from fleetpulse.auth.keys import bearer, create, revoke
from fleetpulse.auth.tokens import issue
from fleetpulse.config import Settings
from fleetpulse.errors import FleetpulseError
from fleetpulse.instruments import Instruments
from fleetpulse.web.entry import Entry
from fleetpulse.web.guard import Guard, admits_websocket, principal_of, public, requires

SECRET = "a secret of more than thirty-two characters"  # noqa: S105 - of this test alone
Client = TestClient[web.Request, web.Application]
Start = Callable[..., Awaitable[Client]]


class Site:
    """Handlers of each kind of access, as the exporter's own are declared."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    @requires(Role.VIEWER)
    async def view(self, request: web.Request) -> web.Response:
        principal = principal_of(request)
        return web.json_response({"subject": principal.subject, "pool": principal.pool_id})

    @requires(Role.REPORTER)
    async def report(self, _: web.Request) -> web.Response:
        return web.json_response({})

    @requires(Role.ADMIN)
    async def administer(self, _: web.Request) -> web.Response:
        return web.json_response({})

    @requires(Role.VIEWER, query_token=True)
    async def stream(self, _: web.Request) -> web.Response:
        return web.json_response({})

    @public
    async def health(self, _: web.Request) -> web.Response:
        return web.json_response({})

    @admits_websocket
    async def feed(self, request: web.Request) -> web.StreamResponse:
        admission = await self._guard.admit_websocket(request, Role.VIEWER, protocols=["fleet.v1"])
        chosen = [admission.subprotocol] if admission.subprotocol else []
        socket = web.WebSocketResponse(protocols=chosen)
        await socket.prepare(request)
        principal = admission.principal
        if principal is None:
            try:
                principal = await self._guard.admit_token(await socket.receive_str(), Role.VIEWER)
            except FleetpulseError as error:
                await socket.close(code=4401, message=error.code.encode())
                return socket
        await socket.send_str(principal.subject)
        await socket.close()
        return socket


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    clients: list[Client] = []

    async def go(*, now: Callable[[], float] = lambda: 0.0, **changes: Any) -> Client:
        settings = Settings(data_dir=tmp_path, **changes)
        guard = Guard(Authenticator.from_settings(settings, monotonic=now), settings)
        app = web.Application()
        site = Site(guard)
        routes = [
            web.get("/view", site.view),
            web.post("/report", site.report),
            web.post("/admin", site.administer),
            web.get("/stream", site.stream),
            web.get("/health", site.health),
            web.get("/feed", site.feed),
        ]
        Entry(guard, Instruments()).install(app, routes)
        client: Client = TestClient(TestServer(app))
        clients.append(client)
        await client.start_server()
        return client

    yield go
    for client in clients:
        await client.close()


def token(*roles: Role, **changes: Any) -> str:
    auth = Settings(auth={"jwt_secret": SECRET}).auth
    return issue(auth, subject="ann", roles=roles, **({"lifetime": timedelta(hours=1)} | changes))


async def status(client: Client, method: str, path: str, **headers: str) -> int:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.request(method, path, headers=sent) as response:
        if response.status >= 400:
            body = json.loads(await response.text())
            assert body["status"] == response.status
            assert response.status < 500
        return response.status


async def test_everything_is_open_on_loopback_with_nothing_configured(start: Start) -> None:
    client = await start()
    for method, path in (("GET", "/view"), ("POST", "/report"), ("POST", "/admin"), ("GET", "/stream")):
        assert await status(client, method, path) == 200
        assert await status(client, method, path, Authorization="Basic eDp5") == 200


NEEDS = {("GET", "/view"): Role.VIEWER, ("POST", "/report"): Role.REPORTER, ("POST", "/admin"): Role.ADMIN}
MAY = {
    Role.VIEWER: {Role.VIEWER},
    Role.REPORTER: {Role.REPORTER},
    Role.OPERATOR: {Role.VIEWER, Role.REPORTER},
    Role.ADMIN: {Role.VIEWER, Role.REPORTER, Role.ADMIN},
}


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("way", ["headers", "bearer", "jwt"])
async def test_each_role_reaches_what_it_may(start: Start, tmp_path: Path, role: Role, way: str) -> None:
    key, secret = create(tmp_path / "app-keys.json", name="bot", role=role)
    client = await start(auth={"jwt_secret": SECRET})
    credentials = {
        "headers": {"X_App_Key": key, "X_App_Secret": secret},
        "bearer": {"Authorization": f"Bearer {bearer(key, secret)}"},
        "jwt": {"Authorization": f"bearer {token(role)}"},
    }[way]
    for (method, path), needed in NEEDS.items():
        expected = 200 if needed in MAY[role] else 403
        assert await status(client, method, path, **credentials) == expected


async def test_without_credentials_only_health_answers_once_one_is_configured(start: Start, tmp_path: Path) -> None:
    create(tmp_path / "app-keys.json", name="bot", role=Role.REPORTER)
    client = await start()
    assert await status(client, "GET", "/health") == 200
    for method, path in [*NEEDS, ("GET", "/stream")]:
        assert await status(client, method, path) == 401
    async with client.get("/view") as response:
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="fleetpulse"'
    assert await status(client, "GET", "/nowhere") == 404
    assert await status(client, "DELETE", "/view") == 405


async def test_a_revoked_key_stops_working_without_a_restart(start: Start, tmp_path: Path) -> None:
    now = 0.0
    key, secret = create(tmp_path / "app-keys.json", name="bot", role=Role.REPORTER)
    client = await start(now=lambda: now)
    assert await status(client, "POST", "/report", X_App_Key=key, X_App_Secret=secret) == 200
    revoke(tmp_path / "app-keys.json", key)
    now += 1
    assert await status(client, "POST", "/report", X_App_Key=key, X_App_Secret=secret) == 401


async def test_the_handler_learns_who_calls(start: Start, tmp_path: Path) -> None:
    key, secret = create(tmp_path / "app-keys.json", name="bot", role=Role.VIEWER, pool_id="east")
    client = await start()
    async with client.get("/view", headers={"X-App-Key": key, "X-App-Secret": secret}) as response:
        assert await response.json() == {"subject": f"bot ({key})", "pool": "east"}


async def test_expired_tokens_and_query_tokens_outside_streams_are_refused(start: Start) -> None:
    client = await start(auth={"jwt_secret": SECRET})
    expired = token(Role.ADMIN, now=datetime(2020, 1, 1, tzinfo=UTC))
    assert await status(client, "GET", "/view", Authorization=f"Bearer {expired}") == 401
    assert await status(client, "GET", f"/view?token={token(Role.ADMIN)}") == 401
    for name in ("token", "access_token"):
        assert await status(client, "GET", f"/stream?{name}={token(Role.ADMIN)}") == 200


async def test_a_handler_that_declares_nothing_stops_the_start(tmp_path: Path) -> None:
    async def forgotten(_: web.Request) -> web.Response:
        return web.Response()

    settings = Settings(data_dir=tmp_path)
    guard = Guard(Authenticator.from_settings(settings), settings)
    with pytest.raises(RuntimeError, match="forgotten"):
        Entry(guard, Instruments()).install(web.Application(), [web.get("/forgotten", forgotten)])


async def test_a_page_of_elsewhere_cannot_post_to_an_open_loopback(start: Start) -> None:
    client = await start()
    for origin in ("https://evil.example", "null", "file://", "http://evil.example:8001"):
        assert await status(client, "POST", "/report", Origin=origin) == 403
        assert await status(client, "GET", "/view", Origin=origin) == 200  # not readable there: no CORS header
    assert await status(client, "POST", "/report", Origin="http://localhost:3000") == 200
    assert await status(client, "POST", "/report", Origin=f"http://127.0.0.1:{client.port}") == 200


async def test_a_rebound_name_cannot_read_an_open_loopback(start: Start) -> None:
    client = await start()
    for path in ("/view", "/stream", "/feed"):
        assert await status(client, "GET", path, Host=f"evil.example:{client.port}") == 403
    assert await status(client, "GET", "/health", Host="evil.example") == 200
    assert await status(client, "GET", "/view", Host="localhost") == 200


async def test_names_do_not_matter_where_credentials_are_asked_for(start: Start) -> None:
    client = await start(auth={"jwt_secret": SECRET})
    good = f"Bearer {token(Role.VIEWER)}"
    assert await status(client, "GET", "/view", Host="pulse.example.com", Authorization=good) == 200


async def open_feed(
    client: Client, first: str | None = None, query: str = "", **options: Any
) -> tuple[str, str | None]:
    """What the feed said first (or its close code), and the chosen subprotocol; `refused N` for a refusal."""
    url = client.make_url("/feed" + query)
    try:
        async with ClientSession() as session, session.ws_connect(url, **options) as socket:
            if first is not None:
                await socket.send_str(first)
            message = await socket.receive(timeout=10)
            return str(message.data if message.type is WSMsgType.TEXT else socket.close_code), socket.protocol
    except WSServerHandshakeError as error:
        return f"refused {error.status}", None


async def test_the_documents_clients_connect_with_nothing_on_loopback(start: Start) -> None:
    assert await open_feed(await start()) == ("anonymous", None)


@pytest.mark.parametrize(
    ("origin", "allowed", "open_to_all", "keyed"),
    [
        (None, (), True, True),
        ("SAME", (), True, True),
        ("http://localhost:3000", (), True, False),
        ("https://evil.example", (), False, False),
        ("null", (), False, False),
        ("null", ("null",), True, True),
        ("https://ops.example.com", ("https://ops.example.com",), True, True),
        ("https://ops.example.com:8443", ("https://ops.example.com",), False, False),
        ("https://evil.example", ("*",), True, True),
    ],
)
async def test_origins_of_websockets(
    start: Start, origin: str | None, allowed: tuple[str, ...], *, open_to_all: bool, keyed: bool
) -> None:
    for secret, expected in ((None, open_to_all), (SECRET, keyed)):
        client = await start(auth={"jwt_secret": secret, "allowed_origins": allowed})
        own = f"http://127.0.0.1:{client.port}" if origin == "SAME" else origin
        headers = {"Authorization": f"Bearer {token(Role.VIEWER)}"} | ({"Origin": own} if own else {})
        said, _ = await open_feed(client, headers=headers)
        assert said == (("ann" if secret else "anonymous") if expected else "refused 403")


async def test_each_way_a_websocket_can_bring_its_token(start: Start) -> None:
    client = await start(auth={"jwt_secret": SECRET})
    good = token(Role.VIEWER)
    assert await open_feed(client, headers={"Authorization": f"Bearer {good}"}) == ("ann", None)
    assert await open_feed(client, protocols=["fleet.v1", "bearer", good]) == ("ann", "fleet.v1")
    assert await open_feed(client, protocols=["bearer", good, "fleet.v1"]) == ("ann", "fleet.v1")
    assert await open_feed(client, protocols=["bearer", good]) == ("ann", "bearer")
    assert await open_feed(client, query=f"?token={good}") == ("ann", None)
    assert await open_feed(client, first=good) == ("ann", None)
    assert await open_feed(client, first=good, protocols=["fleet.v1"]) == ("ann", "fleet.v1")


async def test_each_way_a_websocket_can_bring_a_bad_token(start: Start) -> None:
    client = await start(auth={"jwt_secret": SECRET})
    for bad, code in (("nonsense", 401), (token(Role.REPORTER), 403)):
        refused = (f"refused {code}", None)
        assert await open_feed(client, headers={"Authorization": f"Bearer {bad}"}) == refused
        assert await open_feed(client, protocols=["bearer", bad]) == refused
        assert await open_feed(client, query=f"?access_token={bad}") == refused
        assert await open_feed(client, first=bad) == ("4401", None)


async def test_a_bearer_subprotocol_without_token_is_no_credential(start: Start) -> None:
    client = await start(auth={"jwt_secret": SECRET})
    assert await open_feed(client, first=token(Role.VIEWER), protocols=["bearer"]) == ("ann", "bearer")


async def test_tokens_stay_out_of_the_logs(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    client = await start(auth={"jwt_secret": SECRET})
    good, bad = token(Role.VIEWER), token(Role.VIEWER, now=datetime(2020, 1, 1, tzinfo=UTC))
    for one in (good, bad):
        await open_feed(client, protocols=["fleet.v1", "bearer", one])
        await open_feed(client, protocols=["bearer", one])
        await open_feed(client, first=one)
        await status(client, "GET", "/view", Authorization=f"Bearer {one}")
    assert good not in caplog.text
    assert bad not in caplog.text


PRINTABLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=200)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(first=PRINTABLE, second=PRINTABLE)
async def test_no_made_up_credential_is_accepted_or_breaks(start: Start, first: str, second: str) -> None:
    client = await start(auth={"jwt_secret": SECRET})
    assert await status(client, "GET", "/view", Authorization=f"Bearer {first}") == 401
    assert await status(client, "GET", "/view", Authorization=first) == 401
    assert await status(client, "GET", "/view", X_App_Key=first, X_App_Secret=second) == 401
    assert await status(client, "GET", "/view", Authorization=f"Bearer fp_{first}_{second}") == 401
    async with client.get("/stream", params={"token": first}) as response:
        assert response.status == 401
