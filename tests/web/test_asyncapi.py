"""The AsyncAPI document: what it says of itself, of the code, and of messages of a running exporter."""

import ast
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from pydantic import BaseModel
from tests.system.harness import DEADLINE, started
from tests.tools import ROOT
from tests.web.server import LOG_REQUEST, WEBHOOK, Server, heartbeat, request_log
from websockets.sync.client import ClientConnection, connect

from fleetpulse.accounts.feed import AskHistory, Configure
from fleetpulse.chat import requests
from fleetpulse.live import sessions

PACKAGE = ROOT / "exporter/fleetpulse"
ACCOUNTS = "/api/v1/group-ai/monitor"
SPEAKERS = ("live", "accounts", "chat", "notices")  # the packages whose messages go over WebSockets
ELSEWHERE = {"closing", "string"}  # of server-sent events; of a JSON schema
Document = dict[str, Any]


@pytest.fixture(scope="module")
def document() -> Document:
    found: Document = yaml.safe_load((PACKAGE / "web/static/asyncapi.yaml").read_text("utf-8"))
    return found


def messages(document: Document, action: str, channel: str | None = None) -> dict[str, Document]:
    """The messages of operations by their name in the document; `send` is what the exporter says."""
    found = {}
    for operation in document["operations"].values():
        where = operation["channel"]["$ref"].removeprefix("#/channels/")
        if operation["action"] == action and channel in (None, where):
            for each in operation["messages"]:
                name = each["$ref"].rpartition("/")[2]
                found[name] = document["components"]["messages"][name]
    return found


def types(found: dict[str, Document]) -> set[str]:
    return {message["payload"]["properties"]["type"]["const"] for message in found.values()}


# By itself ----------------------------------------------------------------------------------------------------
def test_every_reference_leads_somewhere_and_nothing_is_unused(document: Document) -> None:
    references = {
        each.removeprefix("#/") for each in _found(document, "$ref") if not each.startswith("#/channels/")
    }
    components = {f"components/{kind}/{name}" for kind, named in document["components"].items() for name in named}
    assert references == components
    for each in _found(document, "$ref"):
        at: Any = document
        for key in each.removeprefix("#/").split("/"):
            at = at[key]


def test_every_message_of_a_channel_is_said_by_somebody(document: Document) -> None:
    for name, channel in document["channels"].items():
        said = {**messages(document, "send", name), **messages(document, "receive", name)}
        assert set(channel["messages"]) == set(said), name
        assert set(channel.get("parameters", {})) == set(_parameters(channel["address"])), name


def test_every_payload_is_a_schema_with_a_type(document: Document) -> None:
    for name, message in document["components"]["messages"].items():
        jsonschema_rs.meta.validate(message["payload"])
        assert message["payload"]["properties"]["type"] == {"const": message["name"]}, name
        assert "type" in message["payload"]["required"], name
        assert message["summary"].endswith(".") or message["summary"].endswith("?"), name


def test_the_copy_among_the_documents_is_the_one_that_is_served(server: Server) -> None:
    served = server.ask("/asyncapi.yaml")
    assert (served.status, served.headers.get_content_type()) == (200, "application/yaml")
    assert served.body == (ROOT / "docs/asyncapi.yaml").read_bytes()


# And the code -------------------------------------------------------------------------------------------------
def test_it_has_every_websocket_address_and_no_other(document: Document, server: Server) -> None:
    paths = server.ask("/openapi.json").json["paths"]
    sockets = {path for path, methods in paths.items() if "101" in methods.get("get", {}).get("responses", {})}
    assert {channel["address"] for channel in document["channels"].values()} == sockets


def test_every_query_parameter_is_in_it(document: Document, server: Server) -> None:
    paths = server.ask("/openapi.json").json["paths"]
    for channel in document["channels"].values():
        parameters = paths[channel["address"]]["get"]["parameters"]
        declared = {each["name"] for each in parameters if each["in"] == "query"}
        assert set(channel["bindings"]["ws"]["query"]["properties"]) == declared, channel["address"]


def test_it_has_every_message_type_that_the_code_sends_and_no_other(document: Document) -> None:
    assert _sent() - ELSEWHERE == types(messages(document, "send"))


def test_it_has_every_message_that_the_code_takes_field_by_field(document: Document) -> None:
    models: list[type[BaseModel]] = [*_subclasses(requests.Request), Configure, AskHistory]
    models += [each for each in _subclasses(sessions._Request) if "type" in each.model_fields]  # noqa: SLF001
    taken: dict[str, set[str]] = {}
    for model in models:
        name = model.model_json_schema()["properties"]["type"]["const"]
        taken.setdefault(name, set()).update(model.model_fields)
    described: dict[str, set[str]] = {}
    for message in messages(document, "receive").values():
        described.setdefault(message["name"], set()).update(message["payload"]["properties"])
    assert described == taken


# And what is really said --------------------------------------------------------------------------------------
class Listener:
    """One connection, each of whose messages must be as the document says."""

    def __init__(self, document: Document, channel: str, connection: ClientConnection) -> None:
        self._connection = connection
        self._known: dict[str, list[Document]] = {}
        for message in messages(document, "send", channel).values():
            whole = message["payload"] | {"components": document["components"]}
            self._known.setdefault(message["name"], []).append(whole)
        self.seen: dict[str, int] = {}

    def say(self, **message: Any) -> None:
        self._connection.send(json.dumps(message))

    def until(self, *kinds: str) -> dict[str, Any]:
        """Reads until each type has come (since the beginning); the last message."""
        message: dict[str, Any] = {}
        deadline = time.monotonic() + DEADLINE
        while not set(kinds) <= set(self.seen):
            assert time.monotonic() < deadline, (kinds, self.seen)
            message = json.loads(self._connection.recv(DEADLINE))
            self._hold(message)
        return message

    def _hold(self, message: dict[str, Any]) -> None:
        assert message["type"] in self._known, message
        schemas = self._known[message["type"]]
        complaints = [[each.message for each in jsonschema_rs.iter_errors(schema, message)] for schema in schemas]
        assert [] in complaints, (message, complaints)
        named = set().union(*(schema["properties"] for schema in schemas))
        assert set(message) <= named, f"{message['type']} has fields that are not described: {set(message) - named}"
        self.seen[message["type"]] = self.seen.get(message["type"], 0) + 1


@pytest.fixture(scope="module")
def exporter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An exporter that keeps little, so that gaps are quick to make."""
    settings = {"FLEETPULSE_LIVE__HISTORY_MESSAGES": "4", "FLEETPULSE_CHAT__STATS_SECONDS": "1"}
    yield from started(Server(tmp_path_factory.mktemp("asyncapi"), **settings))


@pytest.fixture
def listen(document: Document, exporter: Server) -> Iterator[Any]:
    """Opens a channel's address."""
    with ExitStack() as opened:

        def begin(channel: str, query: str = "", **values: str) -> Listener:
            address = document["channels"][channel]["address"].format(**values)
            connection = connect(f"ws://127.0.0.1:{exporter.port}{address}{query}")
            return Listener(document, channel, opened.enter_context(connection))

        yield begin


def webhook(exporter: Server, number: int) -> None:
    one = {
        "status": "firing",
        "labels": {"alertname": "HighErrors", "account_id": "a"},
        "fingerprint": f"f{number}",
    }
    one |= {"annotations": {}, "startsAt": "2025-01-07T14:30:00Z", "endsAt": "0001-01-01T00:00:00Z"}
    payload = {"version": "4", "status": "firing", "receiver": "r", "alerts": [one], "groupKey": "{}"}
    assert exporter.give(WEBHOOK, payload).status < 300


def test_messages_of_the_live_feed(listen: Any, exporter: Server) -> None:
    live = listen("live", "?topics=alerts")
    live.say(type="subscribe", topic="requests", filter={"status": "error"}, id=1)
    live.say(type="subscribe", topic="agents", filter={"status": "busy"}, id="two")
    live.say(type="ping", id=3)
    live.say(type="subscribe", topic="nonsense")
    live.say(type="subscribe", id={})
    live.until("subscribed", "snapshot", "pong", "error")
    assert exporter.give(LOG_REQUEST, [request_log(status="error"), request_log(), request_log()]).status == 202
    exporter.give("/api/v1/agents/a-1/ping", heartbeat())
    live.until("event", "update", "position")
    exporter.give("/api/v1/agents/a-1/ping", heartbeat(status="idle"))
    live.until("left")
    live.say(type="unsubscribe", topic="requests", id=4)
    live.until("unsubscribed")
    live.say(type="subscribe", topic="requests", resume={"epoch": "another", "offset": 1})
    live.until("gap")


def test_messages_of_a_pool(listen: Any, exporter: Server) -> None:
    pool = listen("poolMetrics", pool_id="default")
    task = {"task_id": 1, "task_type": "chat", "workspace_id": "w", "started_at": "2025-01-07T10:35:00Z"}
    exporter.give("/api/v1/agents/a-2/ping", heartbeat(running_tasks=[task]))
    exporter.give("/api/v1/agents/a-2/ping", heartbeat(status="offline"))
    pool.say(type="ping")
    pool.say(type="nonsense")
    pool.until("initial_metrics", "metrics_update", "agent_offline", "pong", "error")


def test_messages_of_the_accounts(listen: Any, exporter: Server) -> None:
    assert exporter.give(f"{ACCOUNTS}/accounts/a/activity", {"kind": "reply", "reply_time": 1.5}).status == 202
    metrics = listen("accountMetrics", "?interval=1")
    metrics.until("metrics_update")
    metrics.say(type="configure", interval=2, accounts=["a"])
    metrics.say(type="ping", id=1)
    metrics.say(type="configure", interval=0)
    metrics.until("configured", "pong", "error")
    for number in range(3):
        webhook(exporter, number)
    alerts = listen("accountAlerts")
    alerts.say(type="ping")
    alerts.say(type="subscribe", topic="requests")
    alerts.until("alert", "pong", "error")


def test_messages_of_the_chat(listen: Any, exporter: Server) -> None:
    monitor = listen("adminMonitor", "?user_id=root")
    ann, bob = listen("chat", "?user_id=ann"), listen("chatSession", "?user_id=bob", session_id="s-1")
    ann.say(type="join_session", session_id="s-1", id=1)
    ann.until("connection_established", "session_joined")
    bob.until("connection_established", "session_joined")
    ann.say(type="typing", session_id="s-1")
    ann.say(type="ai_processing_status", session_id="s-1", status="thinking", progress=5, message="hm")
    ann.say(type="send_message", session_id="s-1", text="你好", client_message_id="c-1", metadata={"a": 1}, id=2)
    ann.say(type="send_message", user_id="bob", text="for you")
    bob.until("new_message", "typing", "ai_processing_status")
    told = exporter.give(
        "/api/v1/websocket/notify", {"recipients": {"users": ["bob"]}, "title": "t", "message": "m"}
    )
    assert told.status < 300, told
    bob.until("notification")
    ann.until("message_status_update")
    ann.say(type="ping", id=3)
    ann.say(type="nonsense")
    ann.say(type="leave_session", session_id="s-1")
    ann.until("pong", "error", "session_left")
    bob.until("user_status_update")
    monitor.until("connection_established", "stats_update", "user_status_update", "connection_event")


def test_what_is_not_as_described_is_found(document: Document, listen: Any) -> None:
    live = listen("live")
    for wrong in (
        {"type": "pong", "extra": 1},
        {"type": "nonsense"},
        {"type": "gap", "topic": "requests"},
        {"type": "position", "topic": "t", "epoch": "e", "offset": -1},
    ):
        with pytest.raises(AssertionError):
            live._hold(wrong)  # noqa: SLF001 - that the check can fail
    assert document["asyncapi"] == "3.0.0"


# Helpers ------------------------------------------------------------------------------------------------------
def _found(value: Any, key: str) -> Iterator[Any]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == key:
                yield inner
            yield from _found(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _found(inner, key)


def _parameters(address: str) -> list[str]:
    return [part[1:-1] for part in address.split("/") if part.startswith("{")]


def _subclasses(model: type[BaseModel]) -> list[type[BaseModel]]:
    return list(model.__subclasses__())


def _sent() -> set[str]:
    """Every constant `type` of a dictionary that the speaking packages make, and the first argument of `_head`."""
    found: set[str] = set()
    for path in (path for package in SPEAKERS for path in (PACKAGE / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Dict):
                for key, value in zip(node.keys, node.values, strict=True):
                    if isinstance(key, ast.Constant) and key.value == "type":
                        found |= _texts(value, path)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_head":
                found |= _texts(node.args[0], path)
    return found


def _texts(value: ast.expr, path: Path) -> set[str]:
    """The texts that an expression may be; a name stands for what is assigned to it in the file."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return {value.value}
    if isinstance(value, ast.IfExp):
        return _texts(value.body, path) | _texts(value.orelse, path)
    if isinstance(value, ast.Name):
        tree = ast.parse(path.read_text("utf-8"))
        given = [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == value.id
        ]
        return set().union(*(_texts(each, path) for each in given if not isinstance(each, ast.Name)))
    return set()
