"""What is addressed to people: they get it, wherever they are, and when they return."""

import asyncio
import socket as sockets
from typing import Any

from aiohttp import WSMsgType
from tests.web.chat_stand import AUTH, CHAT, ChatServe, ChatStand, Person
from tests.web.live_stand import DEADLINE, until

from fleetpulse import catalogue
from fleetpulse.chat.routing import Outcome
from fleetpulse.journal import MAILBOX
from fleetpulse.live.history import Stored


def mail_left(stand: ChatStand) -> int:
    connection = stand.journal.reader()
    try:
        return int(connection.execute(f"SELECT count(*) FROM {MAILBOX.name}").fetchone()[0])  # noqa: S608 - our own names
    finally:
        connection.close()


async def send(stand: ChatStand, count: int, to: str = "ben") -> None:
    payloads = [{"type": "notification", "notification": {"id": str(number)}} for number in range(count)]
    await asyncio.gather(*(stand.chat.router.to_user(to, each, kind="notification") for each in payloads))


def ids(messages: list[dict[str, Any]]) -> list[int]:
    return [int(each["notification"]["id"]) for each in messages]


async def take(person: Person, count: int) -> list[dict[str, Any]]:
    return [await person.hear("notification") for _ in range(count)]


async def test_a_message_to_a_user_reaches_each_of_their_connections_and_is_deleted(chat_serve: ChatServe) -> None:
    stand = await chat_serve()
    anna, ben, other = await stand.enter("anna"), await stand.enter("ben"), await stand.enter("ben")
    await anna.say("send_message", user_id="ben", text="psst", client_message_id="c1")
    sent = await anna.hear("message_status_update", status="sent")
    for person in (ben, other):
        heard = await person.hear("new_message")
        assert (heard["message"]["text"], heard["message"]["recipient"]) == ("psst", "ben")
        assert heard["message"]["message_id"] == sent["message_id"]
    delivered = await anna.hear("message_status_update", status="delivered")
    assert (delivered["message_id"], delivered["recipient"]) == (sent["message_id"], "ben")
    await until(lambda: mail_left(stand) == 0)
    await ben.say("read", message_id=sent["message_id"])
    assert (await anna.hear("message_status_update", status="read"))["user_id"] == "ben"
    async with stand.there("ben") as again:
        await again.nothing_but()
    await anna.say("send_message", user_id="ben", text="psst", client_message_id="c1")
    assert (await anna.hear("message_status_update", status="sent"))["duplicate"]
    await ben.nothing_but("new_message")
    assert mail_left(stand) == 0


async def test_what_was_sent_to_an_absent_user_comes_once_in_order_after_a_restart(chat_serve: ChatServe) -> None:
    stand = await chat_serve()
    await send(stand, 1_000)
    assert stand.value(catalogue.MAILBOX_MESSAGES) == 1_000
    await stand.restart()
    ben = await stand.open(CHAT, "ben")
    assert (await ben.hear("connection_established"))["waiting"] == 1_000
    assert ids(await take(ben, 1_000)) == list(range(1_000))
    await until(lambda: mail_left(stand) == 0)
    await ben.nothing_but()
    async with stand.there("ben") as again:
        await again.nothing_but()
    await stand.restart()
    async with stand.there("ben") as again:
        await again.nothing_but()


async def test_cuts_in_the_middle_lose_nothing_and_a_position_keeps_it_from_coming_twice(
    chat_serve: ChatServe,
) -> None:
    stand = await chat_serve(live={"conflate_bytes": 4_096, "evict_bytes": 65_536})
    await send(stand, 1_000)
    got: list[dict[str, Any]] = []
    while len(got) < 1_000:
        offset = got[-1]["offset"] if got else 0
        place = f"inbox_epoch={stand.journal.epoch}&inbox_offset={offset}"
        got += await _until_cut(stand, f"{CHAT}?user_id=ben&{place}", min(137, 1_000 - len(got)))
    assert ids(got) == list(range(1_000))


async def test_a_client_without_a_position_misses_nothing_either(chat_serve: ChatServe) -> None:
    stand = await chat_serve(live={"conflate_bytes": 4_096, "evict_bytes": 65_536})
    await send(stand, 1_000)
    got: dict[int, int] = {}
    while 999 not in got:
        for each in ids(await _until_cut(stand, f"{CHAT}?user_id=ben", 237, upto=999)):
            got[each] = got.get(each, 0) + 1
    assert list(got) == list(range(1_000))  # in order, without holes; what was not proved came again


async def _until_cut(stand: ChatStand, path: str, count: int, upto: int | None = None) -> list[dict[str, Any]]:
    """Reads so many notifications, or up to one, then the cable is cut."""
    feed = await stand.session.ws_connect(stand.server.make_url(path))
    got: list[dict[str, Any]] = []
    while len(got) < count and (not got or ids(got)[-1] != upto):
        message = await feed.receive_json(timeout=DEADLINE)
        if message["type"] == "notification":
            got.append(message)
    feed.get_extra_info("socket").shutdown(sockets.SHUT_RDWR)
    await until(lambda: not stand.chat.presence.of_user("ben"))
    return got


async def test_who_keeps_its_place_is_not_taken_at_its_librarys_word(chat_serve: ChatServe) -> None:
    stand = await chat_serve()
    await send(stand, 120)
    first = await stand.enter("ben", f"{CHAT}?inbox_offset=0")
    got = await take(first, 120)
    await first.say("received", offset=got[59]["offset"])
    await until(lambda: mail_left(stand) == 60)
    await first.nothing_but()  # its library has answered every ping by now
    await first.socket.close()
    await until(lambda: not stand.chat.presence.of_user("ben"))
    await stand.restart()
    second = await stand.enter("ben", f"{CHAT}?inbox_epoch={stand.journal.epoch}&inbox_offset={got[69]['offset']}")
    assert ids(await take(second, 50)) == list(range(70, 120))
    await until(lambda: mail_left(stand) == 50)


async def test_a_server_full_of_topics_says_so_and_keeps_the_mail(chat_serve: ChatServe) -> None:
    stand = await chat_serve(live={"max_topics": 2})  # everyone's, and one inbox
    anna = await stand.enter("anna")
    await until(lambda: stand.hub.is_heard("inbox/anna"))
    await send(stand, 60)
    ben = await stand.enter("ben")
    assert ids(await take(ben, 60)) == list(range(60))
    assert await ben.closed() == 1013
    assert stand.value(catalogue.LIVE_EVICTIONS, "busy") == 1
    await anna.join_fails("s1", "overloaded")
    cleo = await stand.open("/ws/chat/session/s1", "cleo")
    assert await cleo.closed() == 1013
    await anna.socket.close()
    await until(lambda: not stand.hub.is_heard("inbox/anna"))
    await send(stand, 1)
    async with stand.there("ben") as again:
        await again.hear("notification")
        await again.nothing_but("notification")


async def test_a_session_whose_signs_have_no_room_is_not_half_joined(chat_serve: ChatServe) -> None:
    stand = await chat_serve(live={"max_topics": 3})  # everyone's, an inbox, and the messages of a session
    anna = await stand.enter("anna")
    await until(lambda: stand.hub.is_heard("inbox/anna"))
    for _ in range(2):
        await anna.join_fails("s1", "overloaded")
        assert not stand.hub.is_heard("chat/s1")
    assert {each["type"] for each in anna.passed} == {"session_joined", "session_left"}


async def test_what_is_received_is_gone_though_another_connection_still_reads(chat_serve: ChatServe) -> None:
    stand = await chat_serve()
    deaf = await stand.session.ws_connect(stand.server.make_url(f"{CHAT}?user_id=ben"), autoping=False)
    await until(lambda: bool(stand.chat.presence.of_user("ben")))
    await send(stand, 3)
    assert mail_left(stand) == 3  # sent, but nothing was proved
    ben = await stand.enter("ben")
    assert ids(await take(ben, 3)) == [0, 1, 2]
    await until(lambda: mail_left(stand) == 0)
    await deaf.close()


async def test_a_client_may_say_itself_what_it_has(chat_serve: ChatServe) -> None:
    stand = await chat_serve()
    await send(stand, 5)
    deaf = await stand.session.ws_connect(stand.server.make_url(f"{CHAT}?user_id=ben"), autoping=False)
    offsets: list[int] = []
    while len(offsets) < 5:
        message = await deaf.receive(DEADLINE)
        if message.type is WSMsgType.TEXT and message.json()["type"] == "notification":
            offsets.append(message.json()["offset"])
    assert mail_left(stand) == 5
    await deaf.send_json({"type": "received", "offset": offsets[2]})
    await until(lambda: mail_left(stand) == 2)
    await deaf.send_json({"type": "received", "offset": 10**9})  # no further than it was sent
    await until(lambda: mail_left(stand) == 0)
    await send(stand, 1)
    assert stand.chat.mailbox.waiting("ben") == 1
    await deaf.close()


async def test_a_full_mailbox_refuses_and_says_so(chat_serve: ChatServe) -> None:
    stand = await chat_serve(mailbox_messages=3, mailbox_total=5)
    await send(stand, 3)
    (delivery,) = await stand.chat.router.to_user("ben", {"type": "notification"})
    assert (delivery.recipient, delivery.outcome) == ("ben", Outcome.OVER_LIMIT)
    anna = await stand.enter("anna")
    await anna.say("send_message", user_id="ben", text="no room")
    assert (await anna.hear("error"))["code"] == "limited"
    await send(stand, 2, to="carol")
    await anna.say("send_message", user_id="dora", text="no room")
    assert (await anna.hear("error"))["code"] == "overloaded"
    assert stand.value(catalogue.MAILBOX_DROPPED, "full") == 3
    assert mail_left(stand) == stand.journal.newest_id(MAILBOX) == 5


async def test_what_waits_for_too_long_is_dropped_and_counted(chat_serve: ChatServe) -> None:
    stand = await chat_serve(mailbox_days=1.0)
    await send(stand, 300)
    assert not await stand.chat.mailbox.expire()
    stand.later(2 * 86_400)
    while await stand.chat.mailbox.expire():
        pass
    assert mail_left(stand) == 0
    assert stand.value(catalogue.MAILBOX_DROPPED, "age") == 300
    assert stand.value(catalogue.MAILBOX_MESSAGES) == 0
    ben = await stand.enter("ben")
    await ben.nothing_but()


async def test_an_inbox_is_its_users_own(chat_serve: ChatServe) -> None:
    stand = await chat_serve(auth=AUTH)
    await send(stand, 1)
    carol = await stand.open(headers=stand.bearer("carol", sessions="*"))
    await carol.hear("connection_established")
    await carol.nothing_but()
    await carol.say("join_session", session_id="../inbox/ben")
    await carol.hear("session_joined")
    await carol.nothing_but("user_status_update")
    await carol.say("message_status", message_id="no-such", status="read")
    assert (await carol.hear("error"))["code"] == "not-found"


# Routing, as the administration uses it ---------------------------------------------------------------------------
async def test_routing_says_what_became_of_it_for_each(chat_serve: ChatServe) -> None:
    stand = await chat_serve()
    router = stand.chat.router
    note = {"type": "notification", "notification": {"id": "1"}}
    (absent,) = await router.to_user("ben", note, store=False)
    assert (absent.connection_id, absent.outcome) == (None, Outcome.OFFLINE)
    (kept,) = await router.to_user("ben", note, delivery_id="d1")
    (again,) = await router.to_user("ben", note, delivery_id="d1")
    assert (kept.outcome, again.outcome, mail_left(stand)) == (Outcome.STORED, Outcome.STORED, 1)
    anna, ben = await stand.enter("anna"), await stand.enter("ben")
    await ben.hear("notification")
    await anna.join("s1")
    for dry_run in (True, False):
        made = await router.to_all(note, dry_run=dry_run)
        assert sorted(each.recipient for each in made) == ["anna", "ben"]
        assert {each.outcome for each in made} == {Outcome.DELIVERED}
        assert [each.recipient for each in await router.to_session("s1", note, dry_run=dry_run)] == ["anna"]
    await take(anna, 2)
    await take(ben, 1)
    await anna.nothing_but("user_status_update")
    await ben.nothing_but()
    await router.to_session("s1", {"type": "system", "text": "hello"}, store=True)
    heard = await anna.hear("new_message")
    assert (heard["message"]["text"], heard["message"]["kind"]) == ("hello", "system")
    made = await router.to_all({"type": "system", "text": "to all"}, store=True, sender="root")
    assert {each.outcome for each in made} <= {Outcome.DELIVERED, Outcome.QUEUED}
    for person in (anna, ben):
        assert (await person.hear("new_message"))["message"]["user_id"] == "root"


async def test_a_connection_that_does_not_read_is_over_limit(chat_serve: ChatServe) -> None:
    stand = await chat_serve(live={"conflate_bytes": 4_096, "evict_bytes": 2**26})
    lazy = await stand.session.ws_connect(stand.server.make_url(f"{CHAT}?user_id=ben"))
    await until(lambda: bool(stand.chat.presence.of_user("ben")))
    big = {"type": "notification", "notification": {"id": "x" * 500_000}}
    outcomes = set()
    for _ in range(60):  # nobody reads: the kernel's buffers fill
        outcomes |= {each.outcome for each in await stand.chat.router.to_user("ben", big, store=False)}
    assert Outcome.OVER_LIMIT in outcomes
    await lazy.close()


async def test_rows_of_other_replicas_are_shown_with_their_epoch(chat_serve: ChatServe) -> None:
    stand = await chat_serve()
    anna = await stand.enter("anna")
    await anna.join("s1")
    row = {"message_id": "m1", "stream": "chat", "kind": "text", "session_id": "s1", "user_id": "zoe", "text": "hi"}
    times = {"timestamp": "2026-01-01T00:00:00Z", "received_at": "2026-01-01T00:00:00Z"}
    stand.hub.publish_rows("chat", [Stored(900, "m1", row | times, ("chat/s1",))], epoch="elsewhere")
    heard = await anna.hear("new_message")
    assert (heard["epoch"], heard["offset"], heard["message"]["user_id"]) == ("elsewhere", 900, "zoe")
    assert "stream" not in heard["message"]
