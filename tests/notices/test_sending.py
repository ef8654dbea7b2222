"""Over live connections: who is there gets it at once, who is away when they return; each once."""

import asyncio
from contextlib import closing
from typing import Any

import pytest
from tests.notices.conftest import Serve
from tests.notices.stand import NoticeStand, outcomes, request
from tests.web.chat_stand import AUTH, Person
from tests.web.live_stand import until

from fleetpulse.auth import Role
from fleetpulse.errors import OverloadedError
from fleetpulse.journal.notices import EnterNotice, due_deliveries
from fleetpulse.notices import Preferences
from fleetpulse.notices.outbox import METRIC

LIVE = ("u1", "WEBSOCKET")
EVERYONE = {"recipients": {"all": True}}


async def told(person: Person) -> dict[str, Any]:
    """The next notification that a person gets."""
    message = await person.hear("notification")
    shown: dict[str, Any] = message["notification"]
    return shown


async def returned(stand: NoticeStand, user: str, number: int) -> list[str]:
    """What waits for a user, told when they return; then nothing of it waits any more."""
    person = await stand.enter(user)
    titles = [(await told(person))["title"] for _ in range(number)]
    await person.nothing_but()
    await until(lambda: not stand.chat.mailbox.waiting(user))
    await person.socket.close()
    return titles


async def test_who_is_there_is_told_at_once(serve: Serve) -> None:
    stand = await serve()
    async with stand.there("u1") as person, stand.there("u2") as other:
        made = await stand.send(title="Up", message="again", level="SUCCESS", action_url="/x")
        assert outcomes(made) == {LIVE: "delivered"}
        shown = await told(person)
        assert shown.pop("timestamp").endswith("Z")
        assert shown == {
            "id": made.notification_id,
            "title": "Up",
            "message": "again",
            "type": "success",
            "action_url": "/x",
            "auto_close": True,
        }
        await other.nothing_but()
    assert stand.became(made.notification_id) == {LIVE: "delivered"}
    assert stand.counted("websocket", "success", "delivered") == 1


async def test_who_is_away_is_told_on_return_once_and_in_order(serve: Serve) -> None:
    stand = await serve()
    made = [await stand.send(title=f"n{n}", message=str(n)) for n in range(5)]
    assert {each.outcomes[0].outcome for each in made} == {"stored"}
    await stand.restart()
    assert await returned(stand, "u1", 5) == ["n0", "n1", "n2", "n3", "n4"]
    await until(lambda: {each["summary"].get("delivered") for each in stand.history()} == {1})
    assert await returned(stand, "u1", 0) == []
    assert stand.counted("websocket", "info", "stored") == stand.counted("websocket", "info", "delivered") == 5


async def test_the_same_is_told_once_however_many_ask(serve: Serve) -> None:
    stand = await serve()
    made = await asyncio.gather(*(stand.send() for _ in range(20)))
    first = {each.notification_id for each in made}
    assert len(first) == 1
    assert sorted(each.outcomes[0].outcome for each in made) == ["duplicate"] * 19 + ["stored"]
    await stand.restart()
    again = await stand.send()
    assert (again.notification_id, outcomes(again)) == (first.pop(), {LIVE: "duplicate"})
    assert await returned(stand, "u1", 1) == ["Hello"]
    (kept,) = stand.history()
    assert kept["repeats"] == 20
    assert stand.counted("websocket", "info", "duplicate") == 20


async def test_after_its_window_it_is_told_again(serve: Serve) -> None:
    stand = await serve()
    await stand.send(dedup_seconds=600)
    stand.moment.pass_by(599)
    assert outcomes(await stand.send(dedup_seconds=600)) == {LIVE: "duplicate"}
    stand.moment.pass_by(2)
    assert outcomes(await stand.send(dedup_seconds=600)) == {LIVE: "stored"}
    assert outcomes(await stand.send(dedup_seconds=0)) == {LIVE: "stored"}


async def test_only_those_are_told_whom_it_is_news_to(serve: Serve) -> None:
    stand = await serve()
    first = await stand.send()
    made = await stand.send(recipients={"users": ["u1", "u2", "u1"]})
    assert outcomes(made) == {LIVE: "duplicate", ("u2", "WEBSOCKET"): "stored"}
    assert made.outcomes[0].detail == first.notification_id
    assert stand.became(made.notification_id) == outcomes(made)
    assert await returned(stand, "u1", 1) == ["Hello"]
    assert await returned(stand, "u2", 1) == ["Hello"]


async def test_sessions_roles_and_all(serve: Serve) -> None:
    members = [{"user_id": "boss", "role": "admin"}, {"user_id": "guest", "role": "viewer"}]
    stand = await serve(auth=AUTH, notifications={"members": members})
    viewer = await stand.open(headers=stand.bearer("v", sessions="*"))
    operator = await stand.open(headers=stand.bearer("o", Role.OPERATOR))
    await viewer.join("s1")
    await operator.hear("connection_established")
    made = await stand.send(recipients={"sessions": ["s1", "s2"]})
    assert outcomes(made) == {("s1", "WEBSOCKET"): "delivered", ("s2", "WEBSOCKET"): "offline"}
    assert (await told(viewer))["id"] == made.notification_id
    made = await stand.send(recipients={"roles": ["operator"]})
    assert outcomes(made) == {("boss", "WEBSOCKET"): "stored", ("o", "WEBSOCKET"): "delivered"}
    assert (await told(operator))["id"] == made.notification_id
    made = await stand.send(**EVERYONE)
    assert outcomes(made) == {("", "WEBSOCKET"): "delivered"}
    assert (await told(viewer))["id"] == (await told(operator))["id"] == made.notification_id
    assert outcomes(await stand.send(recipients={"roles": ["reporter"]}, title="x")) == {
        ("boss", "WEBSOCKET"): "stored",
        ("o", "WEBSOCKET"): "delivered",
    }


async def test_a_dry_run_tells_and_does_nothing(serve: Serve) -> None:
    stand = await serve(notifications={"rate_limit": 1})
    who = {"recipients": {"users": ["u1", "u2"]}, "channels": ["WEBSOCKET", "EMAIL"]}
    await stand.notices.book.put("u2", Preferences(email="off"), "tests")
    async with stand.there("u1") as person:
        expected = {
            LIVE: "delivered",
            ("u1", "EMAIL"): "sent",
            ("u2", "WEBSOCKET"): "stored",
            ("u2", "EMAIL"): "suppressed",
        }
        for _ in range(3):
            assert outcomes(await stand.send(**who, dry_run=True)) == expected
        await person.nothing_but()
    assert stand.history() == []
    assert stand.chat.mailbox.waiting("u2") == stand.waiting == 0
    await stand.send(recipients={"users": ["u1"]}, title="other")
    await stand.send()
    made = await stand.send(dry_run=True)
    assert outcomes(made) == {LIVE: "duplicate"}
    assert outcomes(await stand.send(dry_run=True, title="third")) == {LIVE: "held"}


async def test_wishes_are_followed_and_kept(serve: Serve) -> None:
    stand = await serve()
    await stand.notices.book.put("u1", Preferences(websocket="WARNING", muted_kinds=("takeover",)), "u1")
    await stand.restart()
    assert outcomes(await stand.send(level="INFO")) == {LIVE: "suppressed"}
    assert outcomes(await stand.send(level="ERROR", channels=["WEBSOCKET"])) == {LIVE: "stored"}
    assert outcomes(await stand.send(level="URGENT", kind="takeover", channels=["WEBSOCKET"])) == {
        LIVE: "suppressed"
    }
    await stand.notices.book.put("u1", Preferences(), "u1")
    assert stand.preferences() == {}
    assert outcomes(await stand.send(title="now")) == {LIVE: "stored"}


async def test_preferences_are_bounded(serve: Serve) -> None:
    stand = await serve(notifications={"preferences": 2})
    book, some = stand.notices.book, Preferences(sms="off")
    await book.put("u1", some, "")
    await book.put("u2", some, "")
    with pytest.raises(OverloadedError):
        await book.put("u3", some, "")
    await book.put("u2", Preferences(sms="URGENT"), "")
    await book.put("u1", Preferences(), "")
    await book.put("u3", some, "")
    assert set(stand.preferences()) == {"u2", "u3"}


async def test_a_flood_comes_as_a_digest(serve: Serve) -> None:
    stand = await serve(notifications={"rate_limit": 3, "rate_seconds": 60})
    async with stand.there("u1") as person:
        for n in range(40):
            level, kind = ("ERROR", "risk_control") if n == 20 else ("INFO", "message")
            await stand.send(title=f"n{n}", level=level, kind=kind, channels=["WEBSOCKET"])
        assert [(await told(person))["title"] for _ in range(3)] == ["n0", "n1", "n2"]
        urgent = await stand.send(title="fire", level="URGENT", channels=["WEBSOCKET"])
        assert (await told(person))["id"] == urgent.notification_id
        await person.nothing_but()
        assert stand.waiting == 37
        await stand.restart()  # what is held outlives it
    async with stand.there("u1") as person:
        stand.moment.pass_by(61)
        digest = await told(person)
        assert digest["title"] == "n20 (and 36 more)"
        assert digest["message"] == "there\n… and 36 more: 36 message"
        assert digest["type"] == "error"
        await person.nothing_but()
    await until(lambda: stand.waiting == 0)
    assert stand.counted("websocket", "info", "digested") == 36
    assert stand.became(digest["id"]) == {LIVE: "delivered"}


async def test_the_one_that_was_too_much_comes_by_itself(serve: Serve) -> None:
    stand = await serve(notifications={"rate_limit": 1})
    async with stand.there("u1") as person:
        await stand.send(title="one")
        assert outcomes(await stand.send(title="two")) == {LIVE: "held"}
        assert (await told(person))["title"] == "one"
        stand.moment.pass_by(61)
        stand.notices.nudge()
        assert (await told(person))["title"] == "two"


async def test_what_has_expired_is_not_told(serve: Serve) -> None:
    stand = await serve(notifications={"rate_limit": 1})
    made = await stand.send(expires_at="2020-01-01T00:00:00Z")
    assert outcomes(made) == {LIVE: "expired"}
    assert stand.chat.mailbox.waiting("u1") == stand.waiting == 0


async def test_the_outbox_is_bounded_and_says_so(serve: Serve) -> None:
    stand = await serve(notifications={"outbox": 3, "rate_limit": 1})
    await stand.send(title="0")
    for n in range(1, 4):
        assert outcomes(await stand.send(title=str(n))) == {LIVE: "held"}
    with pytest.raises(OverloadedError):
        await stand.send(title="4")
    assert len(stand.history()) == 4
    await stand.restart()
    with pytest.raises(OverloadedError):
        await stand.send(title="4")


async def test_what_was_under_way_when_the_process_died_is_told(serve: Serve) -> None:
    """The rows are as a process leaves them that dies between the first commit and the delivery."""
    stand = await serve()
    asked = request(title="half-way")
    now = stand.moment()
    deliveries = stand.notices.deliveries(asked, now)
    notice = asked.row("notify_1_half", now, "tests")
    await stand.journal.submit(EnterNotice(notice, deliveries, asked.key, now + 300, METRIC))
    with closing(stand.journal.reader()) as reader:
        assert due_deliveries(reader, now, 10) == []
    await stand.restart()
    await until(lambda: stand.chat.mailbox.waiting("u1") == 1)
    assert await returned(stand, "u1", 1) == ["half-way"]
    assert outcomes(await stand.send(title="half-way")) == {LIVE: "duplicate"}


async def test_old_notifications_go_and_waiting_ones_stay(serve: Serve) -> None:
    stand = await serve(notifications={"kept": 3, "rate_limit": 1})
    first = await stand.send(title="0")
    held = await stand.send(title="1")
    others = [await stand.send(title=str(n), recipients={"users": [f"x{n}"]}) for n in range(2, 8)]
    assert await stand.notices.tidy() == 4
    left = [each["id"] for each in stand.history()]
    assert left == [*(each.notification_id for each in others[:2:-1]), held.notification_id]
    assert first.notification_id not in left
    stand.moment.pass_by(80 * 86_400)
    await stand.notices.tidy()
    stand.notices.nudge()
    await until(lambda: stand.waiting == 0)
    await stand.notices.tidy()
    assert stand.history() == []
