"""The pages about administration and plug-ins do what they say: their examples, as written."""

import json
import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.events.test_plugins import package, settings
from tests.system.harness import Exporter, started, wait_for
from tests.system.test_examples import ADDRESS, examples, run
from tests.tools import ROOT
from tests.web.server import Server
from websockets.sync.client import ClientConnection, connect

CALL = re.compile(r"^curl .*?(?=^curl |\Z)", re.MULTILINE | re.DOTALL)


@contextmanager
def enter(exporter: Exporter, path: str, user: str) -> Iterator[ClientConnection]:
    """Somebody who is connected."""
    with connect(f"ws://127.0.0.1:{exporter.port}{path}?user_id={user}") as person:
        assert json.loads(person.recv(30))["type"] == "connection_established"
        yield person


def hear(person: ClientConnection, kind: str) -> dict[str, object]:
    """The next message of a type."""
    while True:
        message: dict[str, object] = json.loads(person.recv(30))
        if message["type"] == kind:
            return message


def test_every_example_of_the_page(exporter: Exporter) -> None:
    """Ann has joined the session, Bob is away; nobody is told twice, and the page's outcomes come about."""
    with enter(exporter, "/ws/chat/session/s1", "ann"), enter(exporter, "/ws/chat", "ann"):
        calls = [call for example in examples("docs/administration.md") for call in CALL.findall(example.script)]
        assert len(calls) > 15
        answers = [json.loads(run(call.replace("curl ", "curl --fail-with-body "), exporter)) for call in calls]
    seen = {outcome for answer in answers for outcome in answer.get("summary", {})}
    assert seen >= {"delivered", "stored", "answered", "disconnected"}
    audit = exporter.get("/api/v1/websocket/audit?limit=100")["entries"]
    actions = {each["action"] for each in audit}
    assert actions >= {"broadcast", "notify", "ping", "close_session", "disconnect_users"}
    assert all(ADDRESS in call for call in calls)


@pytest.fixture
def greeter(tmp_path: Path) -> Iterator[Server]:
    """The plug-in of the page, installed and enabled."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/plugins.md").read_text("utf-8"), re.DOTALL)
    notify = """
    async def alarm(event):
        await plugin.notify({"title": "Hello", "message": event.actor, "recipients": {"users": [event.actor]},
                             "channels": ["WEBSOCKET"]})

    plugin.on("user_connected", alarm)
    """
    code += textwrap.indent(textwrap.dedent(notify), "    ")
    site = package(tmp_path / "site", "greeter", code)
    yield from started(
        Server(tmp_path / "exporter", **settings(site, ["greeter"], greeter={"text": "Good to see you"}))
    )


def test_the_plug_in_of_the_page_greets(greeter: Server) -> None:
    """A message and a notification to who connects, an event, and its topic."""
    with enter(greeter, "/ws/chat", "ann") as ann:
        kinds = {"welcome": "", "notification": ""}
        while not all(kinds.values()):
            message = json.loads(ann.recv(30))
            if message["type"] in kinds:
                kinds[message["type"]] = json.dumps(message)
    assert "Good to see you" in kinds["welcome"]
    assert json.loads(kinds["notification"])["notification"]["message"] == "ann"
    with connect(f"ws://127.0.0.1:{greeter.port}/ws/live?topics=plugins/greeter") as feed:
        assert hear(feed, "event")["data"] == {"alive": True}
    told = "SELECT detail FROM events WHERE kind = 'greeter_ready' AND actor = 'plugin:greeter'"
    wait_for(lambda: greeter.journal(told) == [('{"text":"Good to see you"}',)])
    assert "fleetpulse.plugins.greeter" in greeter.output()
