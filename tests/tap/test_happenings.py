from typing import Any

import pytest

from fleetpulse.tap.happenings import lost

DETAIL: dict[str, Any] = {"connection": "run-3", "at": 100.0, "url": "ws://a.example/"}


@pytest.mark.parametrize("kind", ["stream_disconnected", "stream_failed", "stream_retrying", "stream_lost"])
def test_a_stream_whose_end_was_told_is_not_lost(kind: str) -> None:
    assert lost(kind, DETAIL, 7, 150.0, 200.0) is None


def test_a_stream_whose_last_event_is_a_connect_was_lost_with_the_recorder() -> None:
    told = lost("stream_connected", DETAIL, 7, 150.0, 200.0)
    assert told is not None
    assert told.kind == "stream_lost"
    assert told.detail == {
        "connection": "run-3",
        "at": 200.0,
        "connected_at": 100.0,
        "last_number": 7,
        "last_message_at": 150.0,
    }


def test_also_one_that_had_said_nothing() -> None:
    told = lost("stream_connected", {}, None, None, 200.0)
    assert told is not None
    assert told.detail["last_number"] is None
