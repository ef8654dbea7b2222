import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetpulse.client.answers import Verdict, judge
from fleetpulse.client.transport import Answer

OURS = {"type": "urn:fleetpulse:problem:invalid-input", "title": "It does not fit", "detail": "too odd"}


def verdict(status: int, document: object, count: int = 3, retry_after: str | None = None) -> Verdict:
    return judge(Answer(status, retry_after, json.dumps(document).encode()), count).verdict


def test_an_acknowledgement_counts() -> None:
    rejected = [{"index": 1, "errors": [{"loc": ["cost"], "msg": "Input should be a number"}]}]
    document = {"accepted": 1, "duplicates": 1, "rejected": rejected}
    outcome = judge(Answer(202, None, json.dumps(document).encode()), 3)
    assert outcome.verdict is Verdict.KEPT
    assert (outcome.stored, outcome.duplicates, outcome.rejected) == (1, 1, 1)
    assert outcome.reason == "cost: Input should be a number"


@pytest.mark.parametrize(
    "document",
    [
        {"accepted": 2, "duplicates": 0, "rejected": []},
        {"accepted": 3},
        {"accepted": "3", "duplicates": 0, "rejected": []},
        {"status": "welcome"},
        [],
        None,
    ],
)
def test_what_does_not_add_up_is_no_acknowledgement(document: object) -> None:
    assert verdict(202, document) is Verdict.LATER
    assert verdict(200, document) is Verdict.LATER


@pytest.mark.parametrize(
    ("status", "document", "expected"),
    [
        (400, OURS, Verdict.NARROW),
        (422, OURS, Verdict.NARROW),
        (415, OURS, Verdict.NARROW),
        (400, {"error": "a proxy's opinion"}, Verdict.BLOCKED),
        (413, None, Verdict.NARROW),
        (401, OURS, Verdict.BLOCKED),
        (403, OURS, Verdict.BLOCKED),
        (404, None, Verdict.BLOCKED),
        (301, None, Verdict.BLOCKED),
        (204, None, Verdict.BLOCKED),
        (408, None, Verdict.LATER),
        (429, None, Verdict.LATER),
        (500, OURS, Verdict.LATER),
        (503, OURS, Verdict.LATER),
    ],
)
def test_every_other_status(status: int, document: object, expected: Verdict) -> None:
    assert verdict(status, document) is expected


@pytest.mark.parametrize(
    ("said", "least", "most"),
    [("7", 7, 7.5), ("0", 0, 0.5), ("99999999999", 300, 300.5), ("soon", None, None), ("-1", None, None)],
)
def test_the_servers_own_pause(said: str, least: float | None, most: float | None) -> None:
    pause = judge(Answer(503, said, b""), 1).pause
    assert (pause is None) if least is None or most is None else (pause is not None and least <= pause <= most)


def test_the_servers_own_pause_as_a_date() -> None:
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    pause = judge(Answer(503, when, b""), 1).pause
    assert pause is not None
    assert 30 < pause < 61


@given(st.integers(100, 999), st.binary(max_size=200), st.none() | st.text(max_size=20))
def test_no_answer_confuses(status: int, body: bytes, retry_after: str | None) -> None:
    assert judge(Answer(status, retry_after, body), 1).verdict in Verdict
