"""From outside: what was answered is delivered, whatever is killed in between."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.system.harness import Exporter, Program, clean_environment, free_port, get_json, post, wait_for
from tests.tools import need_tool
from websockets.sync.client import connect

CONFIG = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"
NUMBER = 30


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[Program]:
    """A real one, which is not started yet."""
    port = free_port()
    (tmp_path / "alertmanager.yml").write_text(CONFIG)
    command = [
        str(need_tool("alertmanager")),
        f"--config.file={tmp_path / 'alertmanager.yml'}",
        f"--storage.path={tmp_path / 'alertmanager'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    url = f"http://127.0.0.1:{port}"
    program = Program("Alertmanager", command, f"{url}/-/ready", tmp_path / "am.log", clean_environment())
    program.url = url  # type: ignore[attr-defined]
    yield program
    program.stop()


@pytest.fixture
def exporter(tmp_path: Path, alertmanager: Any) -> Iterator[Exporter]:
    url = {"FLEETPULSE_STACK__ALERTMANAGER_INTERNAL_URL": alertmanager.url}
    program = Exporter(tmp_path / "exporter", **url)
    program.start()
    yield program
    program.stop()


def send(exporter: Exporter, number: int) -> str:
    fields = {"title": f"n{number}", "message": "m", "level": "ERROR", "recipients": {"users": ["ann"]}}
    status, answer = post(f"{exporter.url}/api/v1/notifications", fields)
    assert status == 200, answer
    assert answer["summary"] == {"stored": 1, "failed": 1}
    return str(answer["id"])


def waiting(exporter: Exporter) -> float:
    return exporter.metrics()["fleetpulse_notifications_waiting"]


def heard(exporter: Exporter, number: int) -> list[str]:
    """The notifications that wait for ann, as she comes, and nothing after them."""
    found: list[str] = []
    with connect(f"ws://127.0.0.1:{exporter.port}/ws/chat?user_id=ann") as chat:
        while len(found) < number:
            message = json.loads(chat.recv(60))
            if message["type"] == "notification":
                found.append(message["notification"]["id"])
        chat.send('{"type": "ping"}')
        while (message := json.loads(chat.recv(60)))["type"] != "pong":
            assert message["type"] != "notification"
    return found


def test_a_kill_between_answer_and_delivery_loses_nothing(exporter: Exporter, alertmanager: Any) -> None:
    ids = []
    for number in range(NUMBER):
        ids.append(send(exporter, number))
        if number % 10 == 9:
            exporter.kill()
            exporter.start()
    assert waiting(exporter) == NUMBER
    alertmanager.start()
    wait_for(lambda: waiting(exporter) == 0, what="every e-mail is handed over")
    alerts = get_json(f"{alertmanager.url}/api/v2/alerts")
    assert sorted(each["labels"]["notification_id"] for each in alerts) == sorted(ids)
    assert heard(exporter, NUMBER) == ids
    kept = exporter.get("/api/v1/notifications?limit=100")["notifications"]
    assert [each["id"] for each in kept] == ids[::-1]
    wait_for(lambda: exporter.metrics().get(outcome("websocket", "delivered")) == NUMBER)
    counted = exporter.metrics()
    assert counted[outcome("email", "failed")] == counted[outcome("email", "sent")] == NUMBER


def outcome(channel: str, word: str) -> str:
    return f'fleetpulse_notifications_total{{channel="{channel}",level="error",outcome="{word}"}}'
