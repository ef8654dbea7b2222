import json
import math
import re
from datetime import timedelta
from typing import get_args
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.client.test_records import ANYTHING, NASTY

from fleetpulse.client.activities import (
    ACTIVITY,
    LIMITS,
    MARK,
    MAX_COUNT,
    MAX_SECONDS,
    ActivityFields,
    encode_activity,
)
from fleetpulse.client.records import encode, unseal
from fleetpulse.client.sender import ACTIVITIES, REQUESTS, by_address
from fleetpulse.signals import MAX_COUNT as SERVERS_COUNT
from fleetpulse.signals import MAX_SECONDS as SERVERS_SECONDS
from fleetpulse.signals import AccountActivity

ONE: dict[str, object] = {"account_id": "a", "kind": "reply"}
NEEDED = st.text("abcxyz", min_size=1, max_size=9)


def data(fields: dict[str, object]) -> bytes:
    """The JSON of a record."""
    line = unseal(encode_activity(fields).line[:-1])
    assert line is not None
    assert line.startswith(MARK)
    return line.removeprefix(MARK)


def test_the_fields_are_the_servers_and_the_bounds_are_as_the_server_has_them() -> None:
    assert set(ActivityFields.__annotations__) == set(AccountActivity.model_fields)
    assert {*LIMITS, *ACTIVITY.as_given, "timestamp"} == set(AccountActivity.model_fields)
    assert (MAX_COUNT, MAX_SECONDS) == (SERVERS_COUNT, SERVERS_SECONDS)
    for name, limit in LIMITS.items():
        field = AccountActivity.model_fields[name]
        found = field.metadata or get_args(field.annotation)
        assert re.findall(r"max_length=(\d+)", repr(found)) == [str(limit)], name


@given(
    st.fixed_dictionaries({"account_id": NEEDED, "kind": NEEDED}),
    st.dictionaries(st.sampled_from(sorted(LIMITS.keys() - {"account_id", "kind"})), NASTY),
    ANYTHING,
    st.integers(1, MAX_COUNT),
    st.fixed_dictionaries({}, optional={"online": st.booleans()}),
)
def test_whatever_is_said_becomes_a_record_that_the_server_takes(
    named: dict[str, object], texts: dict[str, object], metadata: object, count: int, online: dict[str, object]
) -> None:
    made = data({**named, **texts, "metadata": {"x": metadata}, "count": count, **online})
    signal = AccountActivity.model_validate_json(made)
    assert (signal.account_id, signal.kind) == (named["account_id"], named["kind"])
    assert (signal.count, signal.online) == (count, online.get("online"))
    assert b"\n" not in made


def test_an_activity_has_an_id_and_a_time_from_the_start() -> None:
    record = encode_activity(ONE)
    made = json.loads(data({**ONE, "activity_id": record.key}))
    assert UUID(record.key).version == 7
    assert made.keys() == {"account_id", "kind", "activity_id", "timestamp"}
    assert made["activity_id"] == record.key


def test_reply_times_may_be_durations() -> None:
    assert json.loads(data({**ONE, "reply_time": timedelta(seconds=1.5)}))["reply_time"] == 1.5


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"kind": "reply"}, "needs account_id"),
        ({"account_id": "a", "kind": " "}, "needs kind"),
        ({}, "needs account_id and kind"),
        (ONE | {"count": 0}, "count must be a whole number from 1 to 1000000"),
        (ONE | {"count": 1_000_001}, "count must be"),
        (ONE | {"count": 1.5}, "count must be"),
        (ONE | {"reply_time": -1}, "reply_time must be seconds from 0"),
        (ONE | {"reply_time": math.nan}, "reply_time must be"),
        (ONE | {"reply_time": "1"}, "reply_time must be"),
        (ONE | {"kind": "message", "reply_time": 1}, "belongs to an activity of kind reply"),
    ],
    ids=repr,
)
def test_what_the_server_would_refuse_is_refused(fields: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        encode_activity(fields)


def test_two_long_ids_that_begin_alike_stay_two() -> None:
    one, other = (encode_activity({**ONE, "activity_id": "x" * 300 + end}).key for end in "ab")
    assert one != other
    assert len(one) == len(other) == 200


def test_each_kind_of_record_goes_to_its_address() -> None:
    lines = [encode({"request_id": "r"}, "s").line, encode_activity(ONE).line, encode({}, "s").line]
    records = [unseal(line[:-1]) or b"" for line in lines]
    sent = dict(by_address(records))
    assert sent == {REQUESTS: [records[0], records[2]], ACTIVITIES: [records[1].removeprefix(MARK)]}
    assert dict(by_address(records[:1])).keys() == {REQUESTS}
