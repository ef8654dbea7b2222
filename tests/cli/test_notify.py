"""`fleetpulse notify` against a real exporter."""

from tests.cli.conftest import Run
from tests.system.harness import Exporter, get_json


def test_a_notification_is_tried_then_sent(run: Run, exporter: Exporter) -> None:
    command = ("notify", "--user", "ann", "--user", "bo[b]", "--title", "Done", "All [tests] pass.")
    told = (*command, "--url", exporter.url)
    said = run(*told, "--dry-run")
    assert (said.returncode, said.stderr) == (0, "")
    assert "would be: 2 stored" in said.stdout
    assert get_json(f"{exporter.url}/api/v1/notifications")["notifications"] == []
    said = run(*told)
    assert (said.returncode, said.stderr) == (0, "")
    assert "bo[b]" in said.stdout
    assert said.stdout.endswith(": 2 stored\n")
    (kept,) = get_json(f"{exporter.url}/api/v1/notifications")["notifications"]
    assert (kept["title"], kept["message"], kept["level"]) == ("Done", "All [tests] pass.", "INFO")
    assert "2 duplicate" in run(*told).stdout


def test_all_options_arrive(run: Run, exporter: Exporter) -> None:
    said = run(
        *("notify", "--title", "T", "M", "--level", "urgent", "--channel", "websocket", "--channel", "sms"),
        *("--kind", "maintenance", "--action-url", "/x", "--key", "k", "--user", "u", "--session", "s"),
        *("--url", exporter.url),
    )
    assert said.returncode == 0, said.stderr
    (kept,) = get_json(f"{exporter.url}/api/v1/notifications")["notifications"]
    assert (kept["level"], kept["kind"], kept["action_url"]) == ("URGENT", "maintenance", "/x")
    made = {(each["audience"], each["recipient"], each["channel"]): each["outcome"] for each in kept["outcomes"]}
    assert made == {
        ("user", "u", "WEBSOCKET"): "stored",
        ("session", "s", "WEBSOCKET"): "offline",
        ("user", "u", "SMS"): "failed",
    }
    assert "cannot be reached" in said.stdout


def test_what_reached_nobody_fails(run: Run, exporter: Exporter) -> None:
    said = run("notify", "--role", "admin", "--title", "T", "M", "--url", exporter.url)
    assert (said.returncode, said.stderr) == (1, "")
    assert "nobody has this role" in said.stdout


def test_what_cannot_be_is_explained(run: Run, exporter: Exporter) -> None:
    for arguments, words in (
        (("--title", "T", "M"), "name at least one --user"),
        (("--user", "u", "--all", "--title", "T", "M"), "or all alone"),
        (("--user", "u", "--title", "T", "M", "--level", "loud"), "--level"),
        (("--user", "u", "--title", "T", "M", "--action-url", "javascript:x"), "action_url"),
    ):
        said = run("notify", *arguments, "--url", exporter.url)
        assert said.returncode == 2
        assert words in said.stderr
        assert "Traceback" not in said.stderr
