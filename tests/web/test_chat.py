from tests.web.chat_stand import ChatServe


async def test_a_message_reaches_who_has_joined(chat_serve: ChatServe) -> None:
    stand = await chat_serve()
    anna = await stand.enter("anna")
    ben = await stand.enter("ben")
    assert (await anna.join("s1"))["members"] == ["anna"]
    assert (await ben.join("s1"))["members"] == ["anna", "ben"]
    await anna.say("send_message", session_id="s1", content="你好", client_message_id="c1", id=7)
    sent = await anna.hear("message_status_update", status="sent")
    assert (sent["id"], sent["client_message_id"]) == (7, "c1")
    heard = await ben.hear("new_message")
    assert heard["message"]["message_id"] == sent["message_id"]
    assert (heard["session_id"], heard["message"]["text"], heard["message"]["user_id"]) == ("s1", "你好", "anna")
    delivered = await anna.hear("message_status_update", status="delivered")
    assert (delivered["message_id"], delivered["user_id"]) == (sent["message_id"], "ben")
    await ben.say("message_status", message_id=sent["message_id"], status="read")
    assert (await anna.hear("message_status_update", status="read"))["user_id"] == "ben"
