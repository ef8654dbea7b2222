from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson
import pytest

from fleetpulse.live.filters import Filter
from fleetpulse.live.messages import Message, dumps
from fleetpulse.signals import RequestLog


class Row(NamedTuple):
    n: int


class ShownRow(NamedTuple):
    n: int

    def as_json(self) -> dict[str, Any]:
        return {"shown": self.n}


@dataclass
class Record:
    n: int


@dataclass
class ShownRecord(Record):
    def as_json(self) -> dict[str, Any]:
        return {"shown": self.n}


def message(data: Any, key: str | None = None, offset: int = 1) -> Message:
    return Message(offset, 0.0, "update", key, data, None)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"n": 1}, {"n": 1}),
        (Row(1), {"n": 1}),
        (ShownRow(1), {"shown": 1}),
        (Record(1), {"n": 1}),
        (ShownRecord(1), {"shown": 1}),
        ({"at": datetime(2025, 1, 7, 10, 30, tzinfo=UTC)}, {"at": "2025-01-07T10:30:00Z"}),
        ([ShownRow(1), Record(2)], [{"shown": 1}, {"n": 2}]),
    ],
)
def test_everything_that_says_how_becomes_json(value: Any, expected: Any) -> None:
    assert orjson.loads(dumps(value)) == expected


def test_models_become_json() -> None:
    log = RequestLog(request_id="r", source="s", status="success", execution_time=1.5)
    assert orjson.loads(dumps(log))["execution_time"] == 1.5


def test_encoding_happens_once_and_not_before_it_is_asked_for() -> None:
    class Counted:
        calls = 0

        def as_json(self) -> dict[str, Any]:
            self.calls += 1
            return {}

    data = Counted()
    subject = message(data)
    assert data.calls == 0
    assert (subject.body, subject.body) == (b"{}", b"{}")
    assert data.calls == 1


def test_what_has_no_json_form_is_null_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    assert message(object()).body == b"null"
    assert "no JSON form" in caplog.text


def test_filter_matches_values_not_look_alikes() -> None:
    wanted = Filter.of({"ok": True, "n": [1, 2], "name": None})
    assert wanted is not None
    assert wanted.matches({"ok": True, "n": 2, "name": None})
    assert not wanted.matches({"ok": 1, "n": 2, "name": None})
    assert not wanted.matches({"ok": True, "n": True, "name": None})
    assert not wanted.matches({"ok": True, "n": [1], "name": None})
    assert not wanted.matches({"ok": True, "n": 1})
    assert Filter.of({"n": [2, 1], "ok": True, "name": [None]}) == wanted
    assert Filter.of({}) is None


def test_filter_reads_what_is_no_dict_through_its_json() -> None:
    wanted = Filter.of({"shown": 1})
    assert wanted is not None
    assert [item.message.offset for item in wanted.events([message(ShownRow(1)), message(ShownRow(2))])] == [1]
    assert not list(wanted.events([message([1, 2]), message("text"), message(None)]))


def test_left_is_said_once_per_key_and_again_after_it_matched() -> None:
    wanted = Filter.of({"status": "busy"})
    assert wanted is not None
    hidden: set[str | None] = set()
    stream = ["idle", "idle", "busy", "idle"]
    items = [message({"status": status}, "k", offset) for offset, status in enumerate(stream)]
    said = [(item.message.offset, item.left) for item in wanted.states(items, hidden)]
    assert said == [(0, True), (2, False), (3, True)]
    assert not list(wanted.states([message({"n": 1}, "k")], hidden))
    assert [item.left for item in wanted.states([message({"n": 1}, "new")], hidden)] == [False]
