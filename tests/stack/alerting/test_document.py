"""The rendered configuration is one that Alertmanager takes, from the oldest version to the newest."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from tests.stack.alerting.samples import EVERY_KIND, SECRETS, TEMPLATES, alerting, document, rendered
from tests.tools import ROOT, find_tool, need_tool, run

from fleetpulse.config import load
from fleetpulse.config.alerting import KINDS
from fleetpulse.errors import ConfigError
from fleetpulse.stack.alerting.amtool import Amtool
from fleetpulse.stack.alerting.document import Place, build
from fleetpulse.stack.alerting.files import write
from fleetpulse.stack.alerting.versions import OLDEST, parse, version_of

NEWEST_AMTOOL = ROOT / ".tools" / "newest" / "amtool"
# The fields that are rendered, as in the newest version's config/ and notify/*/config.go.
WEB = {"send_resolved", "http_config"}
NEWEST_FIELDS = {
    "email": {"send_resolved", "to", "from", "smarthost", "auth_username", "auth_password", "auth_password_file"}
    | {"headers", "html", "text", "require_tls", "tls_config", "force_implicit_tls"},
    "sns": {"send_resolved", "api_url", "sigv4", "topic_arn", "phone_number", "target_arn", "subject", "message"},
    "telegram": WEB
    | {"api_url", "bot_token", "bot_token_file", "chat_id", "message_thread_id", "message", "disable_notifications"}
    | {"parse_mode"},
    "discord": WEB | {"webhook_url", "webhook_url_file", "title", "message", "username"},
    "slack": WEB
    | {"api_url", "api_url_file", "channel", "username", "color", "title", "title_link", "text", "fallback"},
    "wechat": WEB
    | {
        "api_secret",
        "api_secret_file",
        "corp_id",
        "message",
        "api_url",
        "to_user",
        "to_party",
        "to_tag",
        "agent_id",
    },
    "pagerduty": WEB
    | {"routing_key", "routing_key_file", "url", "client", "client_url", "description", "details", "severity"}
    | {"class", "group"},
    "webhook": WEB | {"url", "url_file", "max_alerts"},
}
MANY = examples(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def test_without_settings_it_is_the_file_that_comes_along() -> None:
    assert yaml.safe_load(build(load(), OLDEST).text) == yaml.safe_load(
        (ROOT / "alertmanager/alertmanager.yml").read_text("utf-8")
    )


@MANY
@given(section=alerting())
def test_alertmanager_takes_whatever_is_set(section: dict[str, Any], tmp_path: Path) -> None:
    need_tool("amtool")
    run("amtool", "check-config", rendered(tmp_path, "0.25", **section))


@MANY
@given(section=alerting())
def test_the_newest_takes_it_too(section: dict[str, Any], tmp_path: Path) -> None:
    if not NEWEST_AMTOOL.exists():
        pytest.skip(
            f"{NEWEST_AMTOOL.relative_to(ROOT)} is not there: put a newest release's amtool there to run this"
        )
    for target in ("0.28", "latest"):
        path = rendered(tmp_path, target, **section)
        done = subprocess.run([NEWEST_AMTOOL, "check-config", path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@MANY
@given(section=alerting())
def test_only_fields_that_the_newest_knows_are_rendered(section: dict[str, Any]) -> None:
    for receiver in document("latest", **section).content["receivers"]:
        for kind in KINDS:
            for config in receiver.get(f"{kind}_configs", ()):
                assert set(config) <= NEWEST_FIELDS[kind]


@MANY
@given(section=alerting())
def test_the_same_settings_give_the_same_bytes(section: dict[str, Any]) -> None:
    first, second = (document("latest", **section) for _ in range(2))
    assert (first.text, first.masked, first.notes) == (second.text, second.masked, second.notes)


def test_secrets_are_in_the_file_and_nowhere_else() -> None:
    made = document(**EVERY_KIND, watchdog_url="https://dead.example.com/watchdog-secret")
    everything = (*SECRETS, "pager-secret", "hook-secret", "watchdog-secret")
    assert [secret for secret in everything if secret not in made.text] == []
    assert [secret for secret in everything if secret in made.masked] == []
    assert [secret for secret in everything if any(secret in note for note in made.notes)] == []
    assert "# Secrets are not shown" in made.masked
    assert "# It holds secrets" in made.text


def with_files(folder: Path) -> dict[str, Any]:
    """Every kind, its secret in a file."""
    section: dict[str, Any] = {}
    secrets = {"email": "smtp_password", "sns": "secret_key", "telegram": "bot_token", "discord": "webhook_url"}
    secrets |= {"slack": "api_url", "wechat": "secret", "pagerduty": "routing_key", "webhook": "url"}
    for kind, field in secrets.items():
        file = folder / f"{kind}.secret"
        file.write_text(f"{EVERY_KIND[kind][0][field]}\n")
        channel = {name: value for name, value in EVERY_KIND[kind][0].items() if name != field}
        section[kind] = [channel | {f"{field}_file": str(file)}]
    return section


@pytest.mark.parametrize(
    ("target", "inlined"),
    [
        ("0.25", {"email", "sns", "telegram", "discord", "wechat", "webhook"}),
        ("0.26", {"email", "sns", "discord", "wechat", "webhook"}),
        ("0.27.0", {"sns", "discord", "wechat", "webhook"}),
        ("0.28", {"sns", "wechat"}),
        ("v0.31.1", {"sns"}),
        ("latest", {"sns"}),
    ],
)
def test_a_secret_stays_in_its_file_where_the_version_reads_it(
    target: str, inlined: set[str], tmp_path: Path
) -> None:
    made = document(target, **with_files(tmp_path))
    assert {kind for kind in KINDS if f"{kind}.secret" not in made.text.split("\n\n", 1)[1]} == inlined
    noted = {note.split(".")[1] for note in made.notes if "is written into the configuration" in note}
    assert noted == inlined
    for kind in inlined - {"webhook"}:
        assert (tmp_path / f"{kind}.secret").read_text().strip() in made.text


def test_secrets_can_all_be_written_in_for_another_machine(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("exporter-token\n")
    made = document("latest", Place("http://exporter:8001/", token, inline_secrets=True), **with_files(tmp_path))
    body = made.text.split("\n\n", 1)[1]
    assert ".secret" not in body
    assert "credentials: exporter-token" in body
    assert "url: http://exporter:8001/api/v1/alerts/webhook" in body
    assert made.notes == ()


@pytest.mark.parametrize("content", [None, "", "two\nlines", "\x00"])
def test_a_file_without_a_secret_is_named(content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=r"alerting\.telegram\.0\.bot_token: .*token"):
        document(telegram=[{"name": "a", "bot_token_file": str(file), "chat_ids": [1]}])


def mail(target: str, **more: Any) -> dict[str, Any]:
    own = {"name": "a", "to": ["a@example.com"], "sender": "b@example.com", "smtp_host": "h"}
    receivers = document(target, email=[own | more], routes=[{"receivers": ["a"]}]).content["receivers"]
    config: dict[str, Any] = next(each for each in receivers if each["name"] == "a")["email_configs"][0]
    return config


@pytest.mark.parametrize(
    ("more", "smarthost", "requires"),
    [
        ({}, "h:587", True),
        ({"smtp_security": "tls"}, "h:465", False),
        ({"smtp_security": "none"}, "h:25", False),
        ({"smtp_host": "::1", "smtp_port": 2525}, "[::1]:2525", True),
    ],
)
def test_how_mail_is_secured(more: dict[str, Any], smarthost: str, *, requires: bool) -> None:
    old, new = mail("0.25", **more), mail("latest", **more)
    assert (old["smarthost"], old["require_tls"]) == (smarthost, requires)
    assert "force_implicit_tls" not in old
    assert new["force_implicit_tls"] is (more.get("smtp_security") == "tls")


@pytest.mark.parametrize("more", [{"smtp_security": "tls", "smtp_port": 2465}, {"smtp_port": 465}])
def test_a_port_that_an_old_version_takes_for_another_kind_of_tls_is_refused(more: dict[str, Any]) -> None:
    assert mail("0.31", **more)["smarthost"]
    with pytest.raises(ConfigError, match=r"takes Alertmanager 0\.31"):
        mail("0.30", **more)


def test_mail_goes_through_the_reports_server_where_it_has_none(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("p\n")
    reports = {"smtp_host": "mail.example.com", "sender": "r@example.com", "smtp_user": "u"}
    own = {"email": [{"name": "a", "to": ["a@example.com"]}]}
    made = build(load(alerting=own, reports=reports | {"smtp_password_file": str(password)}), parse("0.27"))
    (config,) = made.content["receivers"][-1]["email_configs"]
    assert (config["smarthost"], config["from"]) == ("mail.example.com:587", "r@example.com")
    assert config["auth_password_file"] == str(password)
    for lacking in ({"smtp_host": "h"}, {"sender": "r@example.com"}):
        with pytest.raises(ConfigError, match=r"alerting\.email\.0: give"):
            build(load(alerting=own, reports=lacking), OLDEST)


def test_what_a_version_cannot_do_is_said() -> None:
    own: dict[str, Any] = {"discord": [EVERY_KIND["discord"][0] | {"username": "bot"}]}
    own["telegram"] = [EVERY_KIND["telegram"][0] | {"message_thread_id": 3}]
    assert {note.split(" ")[0] for note in document("0.27", **own).notes} == {
        "alerting.discord.0.username",
        "alerting.telegram.0.message_thread_id",
    }
    assert document("0.28", **own).notes == ()


def test_what_reaches_nobody_is_said() -> None:
    (note,) = document(webhook=EVERY_KIND["webhook"], routes=[{"receivers": ["hook"]}]).notes
    assert note.startswith("alerting.default_receivers")


def test_an_exporter_that_asks_for_a_token_gets_one_or_it_is_said(tmp_path: Path) -> None:
    auth = {"jwt_secret": "x" * 32}
    (note,) = build(load(auth=auth), OLDEST).notes
    assert note.startswith("alerting.exporter_token_file")
    made = build(load(auth=auth, alerting={"exporter_token_file": str(tmp_path / "t")}), OLDEST)
    assert made.notes == ()
    assert f"credentials_file: {tmp_path / 't'}" in made.text


def test_texts_reach_people_as_they_are_written() -> None:
    """Alertmanager takes most values for templates, and refuses broken ones when it is too late."""
    own = [EVERY_KIND["slack"][0] | {"channel": "#{{ .x"}]
    text = document(slack=own).text
    (channel,) = re.findall(r"channel: '(.*)'", text.split("- name: chat\n", 1)[1])
    assert channel == '#{{ "{{" }} .x'


EXAMPLES = re.findall(
    r"^```yaml\n(.*?)^```", (ROOT / "docs/alerting.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
)


@pytest.mark.parametrize("example", [each for each in EXAMPLES if "alerting:" in each])
def test_the_examples_of_the_page_are_valid(example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLEETPULSE_CONFIG", str(tmp_path / "fleetpulse.yaml"))
    (tmp_path / "fleetpulse.yaml").write_text(example, "utf-8")
    (tmp_path / "secrets").mkdir()
    for name in re.findall(r"secrets/([\w-]+)", example):
        (tmp_path / "secrets" / name).write_text("https://example.com/secret\n")
    made = build(load(), OLDEST)
    write(made, tmp_path / "alertmanager.yml", TEMPLATES, Amtool(need_tool("amtool")))


@pytest.mark.parametrize("program", ["alertmanager", "amtool"])
def test_programs_say_their_version(program: str) -> None:
    version = version_of(need_tool(program))
    assert version is not None
    assert f"version {version}." in run(program, "--version")


def test_a_program_that_says_nothing_has_no_version() -> None:
    true = find_tool("true")
    assert true is not None
    assert version_of(true) is None
