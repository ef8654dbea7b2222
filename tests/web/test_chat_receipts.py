"""What becomes of messages: told to who wrote them, also after a restart, and kept."""

from functools import partial
from typing import Any

from tests.web.chat_stand import ChatServe, ChatStand, Person
from tests.web.live_stand import until


async def fates(stand: ChatStand, session_id: str = "s1") -> dict[str, str]:
    """What the stored messages of a session say became of them, by their texts."""
    async with stand.session.get(stand.server.make_url(f"/api/v1/chat/sessions/{session_id}/messages")) as answer:
        assert answer.status == 200
        return {each["text"]: each["status"] for each in (await answer.json())["messages"]}


async def write(person: Person, text: str, **to: str) -> str:
    await person.say("send_message", text=text, **to)
    sent = await person.hear("message_status_update", status="sent")
    return str(sent["message_id"])


def waits_for_nothing(stand: ChatStand, user: str) -> bool:
    return stand.chat.mailbox.waiting(user) == 0


async def told(person: Person, status: str) -> dict[str, Any]:
    return await person.hear("message_status_update", status=status)


async def test_who_was_away_is_told_by_their_inbox_what_became_of_messages_from_before_a_restart(
    chat_serve: ChatServe,
) -> None:
    stand = await chat_serve()
    async with stand.there("anna") as anna:
        await anna.join("s1")
        first, second = await write(anna, "1", session_id="s1"), await write(anna, "2", session_id="s1")
    assert await fates(stand) == {"1": "sent", "2": "sent"}
    await stand.restart()
    async with stand.there("ben") as ben:
        await ben.join("s1")
        assert [(await ben.hear("new_message"))["message"]["message_id"] for _ in range(2)] == [first, second]
        await until(lambda: stand.chat.mailbox.waiting("anna") == 1)
        assert await fates(stand) == {"1": "delivered", "2": "delivered"}
        await stand.restart()
    async with stand.there("anna") as anna:  # the newest stands for those before it
        update = await told(anna, "delivered")
        assert (update["message_id"], update["user_id"], update["session_id"]) == (second, "ben", "s1")
        assert update["offset"] > 0
        await until(lambda: stand.chat.mailbox.waiting("anna") == 0)
        async with stand.there("cleo") as cleo:
            await cleo.join("s1")
            await cleo.hear("new_message")
            await cleo.nothing_but("new_message", "user_status_update")
        await anna.nothing_but()  # once
    assert await fates(stand) == {"1": "delivered", "2": "delivered"}


async def test_reading_is_kept_and_told_to_who_returns(chat_serve: ChatServe) -> None:
    stand = await chat_serve()
    async with stand.there("anna") as anna:
        await anna.join("s1")
        await write(anna, "1", session_id="s1")
        second = await write(anna, "2", session_id="s1")
        letter = await write(anna, "psst", user_id="ben")
    async with stand.there("ben") as ben:
        await ben.join("s1")
        await ben.say("read", message_id=second)
        await ben.say("read", message_id=letter)
        await until(lambda: stand.chat.mailbox.waiting("anna") >= 2)
        assert await fates(stand) == {"1": "read", "2": "read"}
    await stand.restart()
    assert await fates(stand) == {"1": "read", "2": "read"}
    async with stand.there("anna") as anna:
        read = [await told(anna, "read"), await told(anna, "read")]
        assert {each["message_id"] for each in read} == {second, letter}
        assert {each.get("recipient") for each in read} == {None, "ben"}
    async with stand.there("anna") as again:
        await again.nothing_but()


async def test_who_joins_without_history_proves_nothing_of_what_came_before(chat_serve: ChatServe) -> None:
    stand = await chat_serve()
    anna, ben = await stand.enter("anna"), await stand.enter("ben")
    await anna.join("s1")
    await write(anna, "before", session_id="s1")
    await ben.join("s1", history=0)
    after = await write(anna, "after", session_id="s1")
    assert (await told(anna, "delivered"))["message_id"] == after
    assert await fates(stand) == {"before": "sent", "after": "delivered"}
    async with stand.there("cleo") as cleo:  # who goes on from somewhere has what came before
        await cleo.join("s1", resume={"epoch": stand.journal.epoch, "offset": 1})
        assert (await told(anna, "delivered"))["user_id"] == "cleo"
    assert await fates(stand) == {"before": "delivered", "after": "delivered"}


async def test_ones_own_client_and_own_reading_are_no_receipts(chat_serve: ChatServe) -> None:
    stand = await chat_serve()
    anna = await stand.enter("anna")
    await anna.join("s1")
    message = await write(anna, "alone", session_id="s1")
    await anna.hear("new_message")
    await anna.say("read", message_id=message)
    await anna.nothing_but("user_status_update")
    await stand.chat.receipts.drain()
    assert await fates(stand) == {"alone": "sent"}
    stranger = await stand.enter("ben")
    await stranger.say("read", message_id=message)
    assert (await stranger.hear("error"))["code"] == "not-found"


async def test_what_becomes_of_messages_is_an_event(chat_serve: ChatServe) -> None:
    stand = await chat_serve()
    anna, ben = await stand.enter("anna"), await stand.enter("ben")
    for person in (anna, ben):
        await person.join("s1")
    message = await write(anna, "1", session_id="s1")
    await told(anna, "delivered")
    await ben.say("read", message_id=message)
    changed = ("message_status_changed", "ben", "s1")
    await until(lambda: stand.happened.count(changed) == 2)


async def test_what_became_of_messages_never_fills_a_mailbox(chat_serve: ChatServe) -> None:
    stand = await chat_serve(mailbox_messages=20)
    async with stand.there("anna") as anna:
        letters = [await write(anna, str(number), user_id=f"user-{number}") for number in range(6)]
    for user in (f"user-{number}" for number in range(6)):
        async with stand.there(user) as person:
            await person.hear("new_message")
            await until(partial(waits_for_nothing, stand, user))
            await stand.chat.mailbox.drain()
            await stand.chat.receipts.drain()
    assert stand.chat.mailbox.waiting("anna") == 2
    anna = await stand.enter("anna")
    assert [(await told(anna, "delivered"))["message_id"] for _ in range(2)] == letters[:2]
