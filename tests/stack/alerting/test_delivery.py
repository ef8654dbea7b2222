"""A real Alertmanager with a rendered configuration tells every kind of receiver, and each gets what it should."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.reports.sink import Sink
from tests.stack.alerting.places import Alertmanager, Places, Sent, alertmanager, places
from tests.stack.alerting.samples import rendered
from tests.tools import need_tool

from fleetpulse.stack.alerting.document import Place
from fleetpulse.stack.alerting.versions import version_of

LABELS = {
    "alertname": "AgentSilent",
    "severity": "critical",
    "pool_id": "客服",
    "agent_id": "w1",
    "job": "fleetpulse",
}
ANNOTATIONS = {
    "summary": 'Agent <w1> & "co" is silent',
    "description": "No heartbeat for 5 minutes.",
    "runbook_url": "https://example.com/runbook?a=1&b=2",
}
NOTICE = {
    "alertname": "Notification",
    "severity": "warning",
    "kind": "maintenance",
    "user_id": "u1",
    "level": "URGENT",
}
NOTICE_TEXT = {"summary": "维护 at <6>", "description": "Back at 7 & a bit.", "action_url": "https://example.com/m"}


def section(address: str, smtp_port: int) -> dict[str, Any]:
    """Everyone is told at once, over everything."""
    base = {"name": "all"}
    return {
        "email": [
            base
            | {"to": ["Ops <ops@example.com>", "on@example.com"], "sender": "fleetpulse@example.com"}
            | {"smtp_host": "127.0.0.1", "smtp_port": smtp_port, "smtp_security": "none"}
            | {"smtp_user": "fleetpulse", "smtp_password": "mail-password"}
        ],
        "sns": [
            base
            | {"region": "eu-central-1", "access_key": "AKIA", "secret_key": "s", "api_url": f"{address}/sns"}
            | place
            for place in ({"phones": ["+4915112345678"]}, {"topic_arn": "arn:aws:sns:eu-central-1:1:t"})
        ],
        "telegram": [base | {"bot_token": "12:token", "chat_ids": [-1001, 5], "api_url": address, "silent": True}],
        "discord": [base | {"webhook_url": f"{address}/discord/1"}],
        "slack": [base | {"api_url": f"{address}/slack/1", "channel": "#{{alerts"}],
        "wechat": [
            base
            | {"corp_id": "corp", "agent_id": 7, "secret": "wx{{secret", "to_user": "@all", "lang": "zh"}
            | {"api_url": f"{address}/cgi-bin"}
        ],
        "pagerduty": [base | {"routing_key": "pager-key", "url": f"{address}/pagerduty"}],
        "webhook": [base | {"url": f"{address}/hook", "token": "hook-token"}],
        "routes": [{"receivers": ["all"], "group_wait": "0s", "group_interval": "1s"}],
        "watchdog_url": f"{address}/watchdog",
    }


@asynccontextmanager
async def told(tmp_path: Path) -> AsyncIterator[tuple[Alertmanager, Places, Sink]]:
    version = version_of(need_tool("alertmanager"))
    with Sink(users={"fleetpulse": "mail-password"}) as sink:
        async with places() as (made, address):
            own = section(address, sink.port)
            config = rendered(tmp_path / "etc", str(version), Place(exporter_url=address), **own)
            async with alertmanager(config, tmp_path) as real:
                yield real, made, sink


PATHS = ("/sns", "/bot12:token/sendMessage", "/discord", "/slack", "/cgi-bin/message", "/pagerduty", "/hook")
EXPORTER = "/api/v1/alerts/webhook"


async def test_everyone_is_told_of_an_alert_over_everything(tmp_path: Path) -> None:
    async with told(tmp_path) as (real, made, sink):
        await real.post(LABELS, ANNOTATIONS)
        counts = {path: 2 if path in PATHS[:2] else 1 for path in (*PATHS, EXPORTER)}
        await real.happens(lambda: all(len(made.to(path)) == count for path, count in counts.items()))
        await real.happens(lambda: sink.received)
        see_chats(made)
        see_texts(made)
        (hook,) = made.to("/hook")
        assert hook.headers["Authorization"] == "Bearer hook-token"
        assert hook.body["receiver"] == "all"
        (page,) = made.to("/pagerduty")
        assert page.body["routing_key"] == "pager-key"
        assert page.body["event_action"] == "trigger"
        assert page.body["payload"]["severity"] == "critical"
        assert page.body["payload"]["summary"] == "🔥 1 firing: AgentSilent (pool 客服)"
        assert 'Agent <w1> & "co" is silent' in page.body["payload"]["custom_details"]["text"]
        see_mail(sink)


def see_chats(made: Places) -> None:
    telegrams = made.to("/bot12:token/sendMessage")
    assert {str(each.body["chat_id"]) for each in telegrams} == {"-1001", "5"}
    for each in telegrams:
        assert str(each.body["disable_notification"]).lower() == "true"
        see_telegram(each)
    (discord,) = made.to("/discord")
    (embed,) = discord.body["embeds"]
    assert embed["title"] == "🔥 1 firing: AgentSilent (pool 客服)"
    assert embed["description"].startswith(
        '• [critical] Agent <w1> & "co" is silent\n  No heartbeat for 5 minutes.'
    )
    (slack,) = made.to("/slack")
    (attachment,) = slack.body["attachments"]
    assert slack.body["channel"] == "#{{alerts"
    assert attachment["color"] == "danger"
    assert '*critical* Agent &lt;w1&gt; &amp; "co" is silent\n' in attachment["text"]
    assert "<https://example.com/runbook?a=1&b=2|what to do>" in attachment["text"]


def see_telegram(sent: Sent) -> None:
    """Plain text where Alertmanager would not say that it is HTML, else HTML."""
    version = version_of(need_tool("alertmanager"))
    assert version is not None
    text = sent.body["text"]
    if version < (0, 28):
        assert not sent.body.get("parse_mode")
        assert text.startswith('🔥 1 firing: AgentSilent (pool 客服)\n\n• [critical] Agent <w1> & "co" is silent\n')
    else:
        assert sent.body["parse_mode"] == "HTML"
        assert text.startswith(
            "<b>🔥 1 firing: AgentSilent (pool 客服)</b>\n\n• <b>critical</b> Agent &lt;w1&gt; &amp;"
        )


def see_texts(made: Places) -> None:
    phone, topic = sorted((each.body for each in made.to("/sns")), key=lambda body: "TopicArn" in body)
    assert phone["PhoneNumber"] == "+4915112345678"
    assert phone["Message"] == 'Fleetpulse: 1 firing: AgentSilent (pool 客服). Agent <w1> & "co" is silent'
    assert "Subject" not in phone
    assert topic["TopicArn"] == "arn:aws:sns:eu-central-1:1:t"
    assert topic["Subject"] == "[FIRING:1] Fleetpulse AgentSilent"
    assert "No heartbeat for 5 minutes." in topic["Message"]
    (token,) = made.to("/cgi-bin/gettoken")
    assert token.query == {"corpsecret": "wx{{secret", "corpid": "corp"}
    (wechat,) = made.to("/cgi-bin/message/send")
    assert wechat.query == {"access_token": "wechat-access"}
    assert (wechat.body["touser"], wechat.body["agentid"], wechat.body["msgtype"]) == ("@all", "7", "text")
    assert wechat.body["text"]["content"].splitlines()[:2] == [
        "🔥 1 条告警: AgentSilent (机器人池 客服)",
        '• [严重] Agent <w1> & "co" is silent',
    ]


def see_mail(sink: Sink) -> None:
    (mail,) = sink.received
    assert (mail.sender, mail.recipients, mail.user) == (
        "fleetpulse@example.com",
        ["ops@example.com", "on@example.com"],
        "fleetpulse",
    )
    assert mail.message["Subject"] == "🔥 1 firing: AgentSilent (pool 客服)"
    text, html = (mail.message.get_body((kind,)) for kind in ("plain", "html"))
    assert text is not None
    assert html is not None
    assert 'Agent <w1> & "co" is silent' in text.get_content()
    assert "Agent &lt;w1&gt; &amp; &#34;co&#34; is silent" in html.get_content()
    assert '<a href="https://example.com/runbook?a=1&amp;b=2">what to do</a>' in html.get_content()


async def test_they_are_told_that_it_is_over(tmp_path: Path) -> None:
    async with told(tmp_path) as (real, made, sink):
        await real.post(LABELS, ANNOTATIONS)
        await real.happens(lambda: made.to("/pagerduty") and made.to("/slack") and sink.received)
        await real.post(LABELS, ANNOTATIONS, resolved=True)
        await real.happens(lambda: len(made.to("/pagerduty")) > 1 and len(made.to("/slack")) > 1)
        await real.happens(lambda: len(sink.received) > 1)
        assert made.to("/pagerduty")[1].body["event_action"] == "resolve"
        assert made.to("/slack")[1].body["attachments"][0]["color"] == "good"
        assert sink.received[1].message["Subject"] == "✅ resolved: AgentSilent (pool 客服)"


async def test_a_notification_goes_over_its_channel_alone_and_not_back_to_the_exporter(tmp_path: Path) -> None:
    async with told(tmp_path) as (real, made, sink):
        await real.post(NOTICE | {"channel": "push"}, NOTICE_TEXT)
        push = {path for path in PATHS if path != "/sns"}
        await real.happens(lambda: all(made.to(path) for path in push))
        assert made.to("/sns") == []
        await real.post(NOTICE | {"channel": "sms"}, NOTICE_TEXT)
        await real.happens(lambda: len(made.to("/sns")) == 2)
        await real.post(NOTICE | {"channel": "email"}, NOTICE_TEXT)
        await real.happens(lambda: sink.received)
        await real.post(LABELS, ANNOTATIONS)
        await real.happens(lambda: made.to(EXPORTER))
        names = {alert["labels"]["alertname"] for each in made.to(EXPORTER) for alert in each.body["alerts"]}
        assert names == {"AgentSilent"}
        assert made.to("/discord")[0].body["embeds"][0] | {"color": 0} == {
            "title": "🚨 维护 at <6>",
            "description": "Back at 7 & a bit.\n→ https://example.com/m",
            "color": 0,
        }
        assert made.to("/slack")[0].body["attachments"][0]["title_link"] == "https://example.com/m"
        messages = {each.body["Message"] for each in made.to("/sns")}
        assert "Fleetpulse: 维护 at <6>. Back at 7 & a bit." in messages
        assert sink.received[0].message["Subject"] == "🚨 维护 at <6>"


async def test_the_dead_mans_switch_is_called(tmp_path: Path) -> None:
    async with told(tmp_path) as (real, made, _):
        await real.post({"alertname": "Watchdog", "severity": "none"}, {})
        await real.happens(lambda: made.to("/watchdog"))
        assert {each.path for each in made.sent} == {"/watchdog"}


async def test_a_critical_alert_keeps_its_warning_quiet_and_no_notification(tmp_path: Path) -> None:
    async with told(tmp_path) as (real, made, _):
        await real.post(LABELS, {"summary": "critical"})
        await real.happens(lambda: made.to(EXPORTER))
        await real.post(LABELS | {"severity": "warning"}, {"summary": "the same"})
        await real.post(LABELS | {"severity": "warning", "agent_id": "w2"}, {"summary": "another"})
        await real.post(NOTICE | {"severity": "critical", "channel": "push"}, NOTICE_TEXT)
        await real.post(NOTICE | {"severity": "info", "channel": "push"}, {"summary": "also"})
        await real.happens(lambda: {"critical", "another"} <= summaries(made, EXPORTER))
        await real.happens(lambda: {"维护 at <6>", "also"} <= summaries(made, "/hook"))
        assert "the same" not in summaries(made, EXPORTER) | summaries(made, "/hook")


def summaries(made: Places, path: str) -> set[str]:
    return {alert["annotations"]["summary"] for each in made.to(path) for alert in each.body["alerts"]}
