"""What people read: in their language, no longer than their channel takes, with nothing that acts as markup."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.stack.alerting.samples import TEMPLATES
from tests.tools import ROOT, run

HOSTILE = 'Agent <b>w</b> & <!channel> "客服" {{ .x }}'
PARTS = ("title", "text", "mail", "list", "chat", "telegram", "slack", "short", "sms", "subject", "color", "link")


def test_the_file_is_what_the_tool_makes() -> None:
    made = subprocess.run([sys.executable, ROOT / "tools/alert_templates.py"], check=True, capture_output=True)
    written = (TEMPLATES / "messages.tmpl").read_bytes()
    assert written == made.stdout, "run: python tools/alert_templates.py > alertmanager/templates/messages.tmpl"


def alert(number: int, status: str, summary: str, severity: str) -> dict[str, Any]:
    return {
        "status": status,
        "labels": {"alertname": "AgentSilent", "severity": severity, "agent_id": f"w{number}"},
        "annotations": {"summary": summary, "description": summary, "runbook_url": "https://example.com/r"},
        "startsAt": "2026-01-02T03:04:05Z",
    }


def data(firing: int, resolved: int, summary: str = "It is silent", severity: str = "warning") -> dict[str, Any]:
    alerts = [alert(n, "firing", summary, severity) for n in range(firing)]
    alerts += [alert(n, "resolved", summary, severity) for n in range(resolved)]
    return {
        "receiver": "ops",
        "status": "firing" if firing else "resolved",
        "groupLabels": {"alertname": "AgentSilent"},
        "commonLabels": {"alertname": "AgentSilent", "pool_id": "p", "severity": severity},
        "commonAnnotations": {"summary": summary},
        "externalURL": "http://alertmanager",
        "alerts": alerts,
    }


def notice(summary: str, description: str, **annotations: str) -> dict[str, Any]:
    labels = {"alertname": "Notification", "level": "ERROR", "severity": "critical"}
    texts = {"summary": summary, "description": description, **annotations}
    one = {"status": "firing", "labels": labels, "annotations": texts, "startsAt": "2026-01-02T03:04:05Z"}
    common = {"groupLabels": labels, "commonLabels": labels, "commonAnnotations": texts}
    return {"receiver": "ops (push)", "status": "firing", "externalURL": "http://am", "alerts": [one], **common}


def said(part: str, given: dict[str, Any], folder: Path) -> str:
    path = folder / "data.json"
    path.write_text(json.dumps(given))
    kind = "html" if part.endswith((".mail", ".telegram")) else "text"
    options = (f"--template.data={path}", f"--template.type={kind}")
    text = f'--template.text={{{{ template "fleetpulse.{part}" . }}}}'
    return run("amtool", "template", "render", f"--template.glob={TEMPLATES / '*.tmpl'}", *options, text).strip(
        "\n"
    )


@pytest.mark.parametrize("lang", ["en", "zh", "both"])
@pytest.mark.parametrize("part", PARTS)
def test_every_part_can_be_said_of_anything(part: str, lang: str, tmp_path: Path) -> None:
    for given in (data(1, 0), data(0, 1), data(30, 30, HOSTILE, "page")):
        words = said(f"{lang}.{part}", given, tmp_path)
        assert words.strip()
        assert "<no value>" not in words
    bare = data(1, 0) | {"commonLabels": {}, "groupLabels": {}}
    bare["alerts"][0] |= {"annotations": {}, "labels": {"alertname": "X"}}
    assert "<no value>" not in said(f"{lang}.{part}", bare, tmp_path)


@pytest.mark.parametrize("part", PARTS)
def test_every_part_can_be_said_of_notifications(part: str, tmp_path: Path) -> None:
    assert said(f"notice.{part}", notice("Hello", "World"), tmp_path).strip()
    bare = notice("Hello", "") | {"commonLabels": {}}
    assert "<no value>" not in said(f"notice.{part}", bare, tmp_path)


LONG = "警" * 5_000
LIMITS = [
    ("list", 4_096, 1),  # Discord's description, in characters
    ("chat", 4_096, 1),  # Telegram without markup
    ("telegram", 4_096, 1),
    ("title", 256, 1),  # Discord's title
    ("short", 2_048, 3),  # WeChat Work, in bytes
    ("sms", 140, 1),  # two parts of a text message in Chinese
    ("subject", 100, 1),  # Amazon SNS
]


@pytest.mark.parametrize(("part", "most", "bytes_each"), LIMITS)
def test_no_message_is_longer_than_its_channel_takes(part: str, most: int, bytes_each: int, tmp_path: Path) -> None:
    notices = notice(LONG, LONG, action_url="https://example.com/" + "a" * 100)
    for name, given in (("both", data(50, 50, LONG)), ("zh", data(50, 50, LONG)), ("notice", notices)):
        words = said(f"{name}.{part}", given, tmp_path)
        assert len(words.encode() if bytes_each > 1 else words) <= most


def test_each_language_says_it_in_its_words(tmp_path: Path) -> None:
    titles = {lang: said(f"{lang}.title", data(2, 0), tmp_path) for lang in ("en", "zh", "both")}
    assert titles == {
        "en": "⚠️ 2 firing: AgentSilent (pool p)",
        "zh": "⚠️ 2 条告警: AgentSilent (机器人池 p)",
        "both": "⚠️ 2 firing 条告警: AgentSilent (pool 机器人池 p)",
    }
    text = said("zh.text", data(25, 1, severity="critical"), tmp_path)
    for words in (
        "• [严重] It is silent",
        "开始于 2026-01-02 03:04:05 UTC",
        "处理办法: https",
        "… 共 25",
        "✅ 已恢复:",
    ):
        assert words in text


def test_an_alert_about_a_stream_names_it(tmp_path: Path) -> None:
    given = data(1, 0, severity="critical")
    given["commonLabels"] = {"alertname": "TapKeyword", "stream": "lobby", "severity": "critical"}
    titles = {lang: said(f"{lang}.title", given, tmp_path) for lang in ("en", "zh")}
    assert titles == {
        "en": "🔥 1 firing: TapKeyword (stream lobby)",
        "zh": "🔥 1 条告警: TapKeyword (消息流 lobby)",
    }


def test_a_subject_for_amazon_is_ascii(tmp_path: Path) -> None:
    given = data(1, 0)
    given["commonLabels"]["alertname"] = "告警 A"
    assert said("zh.subject", given, tmp_path) == "[FIRING:1] Fleetpulse ?? A"
    assert said("notice.subject", notice("维护 now\nBcc: x", ""), tmp_path) == "Fleetpulse ERROR: ?? now?Bcc: x"


@pytest.mark.parametrize("name", ["en", "notice"])
def test_nothing_that_is_said_acts_as_markup(name: str, tmp_path: Path) -> None:
    given = data(1, 1, HOSTILE) if name == "en" else notice(HOSTILE, HOSTILE)
    for part in ("mail", "telegram"):
        words = said(f"{name}.{part}", given, tmp_path)
        assert "<b>w</b>" not in words
        assert "Agent &lt;b&gt;w&lt;/b&gt; &amp; &lt;!channel&gt;" in words
    slack = said(f"{name}.slack", given, tmp_path)
    assert "<!channel>" not in slack
    assert "Agent &lt;b&gt;w&lt;/b&gt; &amp; &lt;!channel&gt;" in slack


def test_a_link_that_runs_something_is_no_link(tmp_path: Path) -> None:
    given = notice("a", "b", action_url="javascript:alert(1)")
    for part in ("mail", "telegram"):
        assert "href" not in said(f"notice.{part}", given, tmp_path)
    assert said("notice.link", given, tmp_path) == "http://am"
    assert said("notice.link", notice("a", "b", action_url="/chat/7"), tmp_path) == "http://am"


def test_telegram_gets_only_the_tags_that_it_knows(tmp_path: Path) -> None:
    words = said("both.telegram", data(5, 5, HOSTILE), tmp_path)
    assert set(re.findall(r"</?(\w+)", words)) <= {"b", "i", "a"}
    for tag in ("b", "i", "a"):
        assert len(re.findall(rf"<{tag}[ >]", words)) == words.count(f"</{tag}>")
