import json
import math
import re
import threading
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import get_args
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetpulse.client.records import (
    AS_GIVEN,
    LIMITS,
    MAX_METADATA,
    MAX_TEXT,
    RequestFields,
    describe,
    encode,
    new_id,
    seal,
    unseal,
)
from fleetpulse.signals import MAX_METADATA_BYTES, RequestLog

NASTY = st.text(st.characters(codec=None), max_size=30) | st.sampled_from(
    ["\ud800", "a\0b", "a\nb", "\u2028", " ", "x" * 9_000, "长" * 9_000]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | NASTY | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NASTY | st.integers(), inner, max_size=3),
    max_leaves=10,
)


class Colour(Enum):
    RED = "red"


class Number:
    """As numbers of other libraries are: no float, but as good as one."""

    def __float__(self) -> float:
        return 0.25


class Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


def made(**fields: object) -> dict[str, object]:
    """The JSON of a record."""
    line = encode(fields, "src").line
    assert line.endswith(b"\n")
    data = unseal(line[:-1])
    assert data is not None
    document: dict[str, object] = json.loads(data)
    return document


def test_the_fields_are_the_servers_and_the_bounds_are_as_the_server_has_them() -> None:
    assert set(RequestFields.__annotations__) == set(RequestLog.model_fields)
    assert {*LIMITS, *AS_GIVEN, "timestamp"} == set(RequestLog.model_fields)
    assert MAX_METADATA == MAX_METADATA_BYTES
    for name, limit in LIMITS.items():
        found = RequestLog.model_fields[name].metadata or get_args(RequestLog.model_fields[name].annotation)
        assert re.findall(r"max_length=(\d+)", repr(found)) == [str(limit)], name


@given(st.dictionaries(st.sampled_from(sorted(LIMITS)), NASTY), ANYTHING, st.floats(0, 1e6), st.floats(0, 1e6))
def test_whatever_is_said_becomes_a_record_that_the_server_takes(
    texts: dict[str, str], metadata: object, seconds: float, usd: float
) -> None:
    fields: dict[str, object] = {**texts, "execution_time": seconds, "cost": usd, "metadata": {"x": metadata}}
    data = unseal(encode(fields, "src").line[:-1])
    assert data is not None
    signal = RequestLog.model_validate_json(data)
    assert (signal.execution_time, signal.cost) == (seconds, usd)
    assert b"\n" not in data


def test_what_is_left_out_is_filled_in() -> None:
    one = made(model=None, user_id="")
    assert one.keys() == {"request_id", "source", "status", "execution_time", "timestamp"}
    assert (one["source"], one["status"], one["execution_time"]) == ("src", "success", 0.0)
    assert UUID(str(one["request_id"])).version == 7
    assert abs(datetime.fromisoformat(str(one["timestamp"])) - datetime.now(UTC)) < timedelta(minutes=1)


def test_ids_are_ordered_by_time_and_distinct_in_every_thread() -> None:
    ids: list[str] = []
    threads = [threading.Thread(target=lambda: ids.extend(new_id() for _ in range(2_000))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 8_000
    assert UUID(ids[0]).variant == "specified in RFC 4122"


def test_ids_may_be_numbers_uuids_and_enums() -> None:
    unique = uuid4()
    one = made(request_id=unique, user_id=42, status=Colour.RED, session_id=7)
    assert (one["request_id"], one["user_id"], one["status"], one["session_id"]) == (str(unique), "42", "red", "7")


def test_two_long_request_ids_that_begin_alike_stay_two() -> None:
    long = "x" * 300
    one, other = made(request_id=long + "a")["request_id"], made(request_id=long + "b")["request_id"]
    assert one != other
    assert one == made(request_id=long + "a")["request_id"]
    assert len(str(one)) == 200


def test_money_keeps_its_value() -> None:
    assert made(cost=Decimal("0.0003"))["cost"] == 0.0003
    assert made(cost=Number())["cost"] == 0.25
    assert made(execution_time=timedelta(seconds=1.5))["execution_time"] == 1.5


@pytest.mark.parametrize("field", ["cost", "execution_time", "tokens_used"])
@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_number_that_is_none_is_refused(field: str, number: float) -> None:
    with pytest.raises(ValueError, match="not JSON"):
        made(**{field: number, "metadata": {"a": 1}})


def test_long_text_is_cut_and_control_characters_are_replaced() -> None:
    one = made(command="x\0y\n" + "z" * 9_000, user_id="a\nb", model="m" * 500)
    assert str(one["command"]).startswith("x\ufffdy\nzz")
    assert (len(str(one["command"])), one["user_id"], len(str(one["model"]))) == (MAX_TEXT, "a\ufffdb", 128)


def test_metadata_is_kept_where_it_can_be() -> None:
    when = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    given = {"when": when, "set": {1}, "bytes": b"b", "number": Number(), "other": Colour.RED, 3: object}
    kept = made(metadata=given)["metadata"]
    assert kept == {
        "when": when.isoformat(),
        "set": [1],
        "bytes": "b",
        "number": 0.25,
        "other": "red",
        "3": str(object),
    }


def test_metadata_that_cannot_be_kept_costs_no_record() -> None:
    circle: dict[str, object] = {}
    circle["again"] = circle
    for metadata in (circle, {"n": math.nan}, {("a", 1): 1}, {"x": Unspeakable()}):
        kept = made(metadata=metadata, cost=1.5)
        assert kept["cost"] == 1.5
        assert list(dict(kept["metadata"])) == ["metadata_is_no_json"]  # type: ignore[call-overload]  # JSON
    assert made(metadata={"x": "y" * 20_000})["metadata"] == {"metadata_is_too_long": 20_009}


def test_moments() -> None:
    east = timezone(timedelta(hours=8))
    assert made(timestamp=datetime(2026, 1, 1, 8, tzinfo=east))["timestamp"] == "2026-01-01T00:00:00+00:00"
    assert made(timestamp=86_400)["timestamp"] == "1970-01-02T00:00:00+00:00"
    assert made(timestamp="2026-01-01T00:00:00Z")["timestamp"] == "2026-01-01T00:00:00Z"
    naive = datetime(2026, 1, 1)  # noqa: DTZ001 - what programs do
    assert datetime.fromisoformat(str(made(timestamp=naive)["timestamp"])) == naive.astimezone()


def test_fields_that_are_none_are_named() -> None:
    record = encode({"tokens": 3, "user_id": "u"}, "src")
    assert record.unknown == ("tokens",)
    assert b"tokens" not in record.line


def test_errors_are_described_briefly() -> None:
    assert made(error=ValueError("bad"))["error"] == "ValueError: bad"
    assert describe(KeyError()) == "KeyError"
    assert len(describe(ValueError("x" * 5_000))) == 1_000

    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    assert describe(MuteError()).endswith("MuteError: (its words cannot be had)")


@given(st.binary(min_size=1).filter(lambda data: b"\n" not in data), st.data())
def test_a_torn_or_damaged_line_is_noticed(data: bytes, choice: st.DataObject) -> None:
    line = seal(data)[:-1]
    assert unseal(line) == data
    assert unseal(line[: choice.draw(st.integers(0, len(line) - 1))]) is None
    place = choice.draw(st.integers(9, len(line) - 1))
    assert unseal(line[:place] + bytes([line[place] ^ 1]) + line[place + 1 :]) is None
