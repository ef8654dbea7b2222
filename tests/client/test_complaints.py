import logging

import pytest

from fleetpulse.client.complaints import Complaints


def test_each_kind_is_told_once_in_a_while_with_how_often(caplog: pytest.LogCaptureFixture) -> None:
    complaints = Complaints()
    complaints.note("a", "first words", count=2)
    complaints.note("a", "newest words")
    complaints.note("b", "other", level=logging.ERROR)
    for _ in range(3):
        complaints.tell()
    complaints.note("a", "again")
    complaints.tell()
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "newest words (3 times)"),
        ("ERROR", "other"),
    ]
    complaints.tell(now=True)
    assert caplog.messages[-1] == "again"


def test_a_pause_that_is_over_tells_again(caplog: pytest.LogCaptureFixture) -> None:
    complaints = Complaints(pause=0)
    for _ in range(2):
        complaints.note("a", "words")
        complaints.tell()
    complaints.tell()
    assert caplog.messages == ["words"] * 2


def test_the_end_of_a_trouble_is_told_where_the_trouble_was(caplog: pytest.LogCaptureFixture) -> None:
    complaints = Complaints()
    complaints.over("a", "never was")
    complaints.note("a", "away")
    complaints.over("a", "over before it was told")
    complaints.tell()
    assert caplog.messages == []
    complaints.note("a", "away")
    complaints.tell()
    complaints.over("a", "back")
    assert caplog.messages == ["away", "back"]
