"""Credentials of open connections: renewed in-band, warned of, and what topics they open."""

from datetime import timedelta
from typing import Any

import pytest
from aiohttp import ClientWebSocketResponse
from pydantic import SecretStr
from tests.web.live_stand import ALERTS, LIVE, Serve, Stand, closed, read, subscribe

from fleetpulse import catalogue
from fleetpulse.auth import Principal, Role
from fleetpulse.auth.tokens import issue
from fleetpulse.config import Auth
from fleetpulse.live import EVENT

SECRET = "a secret of more than thirty-two characters"  # noqa: S105 - of this test alone


def token(subject: str = "ann", role: Role = Role.VIEWER, sessions: tuple[str, ...] = (), **lasting: float) -> str:
    auth = Auth(jwt_secret=SecretStr(SECRET))
    return issue(
        auth, subject=subject, roles=[role], lifetime=timedelta(**(lasting or {"hours": 1})), sessions=sessions
    )


def may_enter(principal: Principal, topic: str) -> bool:
    return principal.may_enter(topic.partition("/")[2])


async def open_feed(serve: Serve, credential: str, path: str = LIVE) -> tuple[Stand, ClientWebSocketResponse]:
    stand = await serve(auth={"jwt_secret": SECRET}, ping_seconds=0.5)
    stand.hub.declare("rooms", EVENT, admits=may_enter)
    return stand, await stand.connect(path, headers={"Authorization": f"Bearer {credential}"})


async def renew(feed: ClientWebSocketResponse, credential: str, **more: Any) -> dict[str, Any]:
    await feed.send_json({"type": "auth", "token": credential, **more})
    return await read(feed)


async def test_a_newer_token_keeps_the_connection(serve: Serve) -> None:
    stand, feed = await open_feed(serve, token(seconds=2))
    warning = await read(feed)
    assert warning["type"] == "auth_expiring"
    answer = await renew(feed, token(hours=1), id=5)
    assert (answer["type"], answer["id"]) == ("authenticated", 5)
    assert answer["expires_at"] > warning["expires_at"]
    last = await renew(feed, token(seconds=-2))  # within the leeway: over in a moment
    assert last["type"] == "authenticated"
    assert (await read(feed))["type"] == "auth_expiring"
    assert await closed(feed) == 4401
    assert stand.value(catalogue.LIVE_EVICTIONS, "expired") == 1


@pytest.mark.parametrize(
    ("credential", "code"),
    [
        ("nonsense", "unauthenticated"),
        (token("bob"), "forbidden"),
        (token(role=Role.REPORTER), "forbidden"),
        (token(hours=-1), "unauthenticated"),
    ],
)
async def test_a_token_that_does_not_hold_changes_nothing(serve: Serve, credential: str, code: str) -> None:
    _, feed = await open_feed(serve, token())
    answer = await renew(feed, credential, id="x")
    assert (answer["type"], answer["code"], answer["id"]) == ("error", code, "x")
    assert (await subscribe(feed, "requests"))["type"] == "subscribed"


async def test_the_documents_endpoints_are_renewed_too_but_not_warned(serve: Serve) -> None:
    stand, feed = await open_feed(serve, token(seconds=3), ALERTS)
    assert (await renew(feed, token()))["type"] == "authenticated"
    stand.alert(1)
    assert (await read(feed))["type"] == "alert"


async def test_topics_open_to_who_may(serve: Serve) -> None:
    _, feed = await open_feed(serve, token(sessions=("a",)))
    assert (await subscribe(feed, "rooms/a", id=1))["type"] == "subscribed"
    refused = await subscribe(feed, "rooms/b", id=2)
    assert (refused["type"], refused["code"], refused["id"]) == ("error", "forbidden", 2)
    assert (await subscribe(feed, "rooms"))["code"] == "forbidden"
    assert (await subscribe(feed, "requests"))["type"] == "subscribed"


async def test_a_newer_token_that_allows_less_ends_subscriptions(serve: Serve) -> None:
    stand, feed = await open_feed(serve, token(sessions=("a", "b")))
    for topic in ("rooms/a", "rooms/b", "requests"):
        await subscribe(feed, topic)
    assert (await renew(feed, token(sessions=("b",))))["type"] == "authenticated"
    ended, why = await read(feed), await read(feed)
    assert (ended["type"], ended["topic"], why["code"]) == ("unsubscribed", "rooms/a", "forbidden")
    stand.hub.publish("rooms/a", 1)
    stand.hub.publish("rooms/b", 2)
    assert (await read(feed))["data"] == 2
    assert (await renew(feed, token(sessions=("*",))))["type"] == "authenticated"
    assert (await subscribe(feed, "rooms/a"))["type"] == "subscribed"


async def test_events_are_for_who_may_too(serve: Serve) -> None:
    stand, _ = await open_feed(serve, token())
    url = stand.server.make_url("/api/v1/live?topics=requests,rooms/a")
    async with stand.session.get(url, headers={"Authorization": f"Bearer {token(sessions=('b',))}"}) as answer:
        assert answer.status == 403


async def test_without_credentials_everything_is_open_and_renewal_means_nothing(serve: Serve) -> None:
    stand = await serve()
    stand.hub.declare("rooms", EVENT, admits=may_enter)
    feed = await stand.connect(LIVE)
    assert await renew(feed, "whatever") == {"type": "authenticated", "expires_at": None}
    assert (await subscribe(feed, "rooms/a"))["type"] == "subscribed"
