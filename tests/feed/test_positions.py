from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetpulse.errors import InvalidInputError
from fleetpulse.feed import Event, Gap, Position, Snapshot, Subscribed, load_positions, save_positions
from fleetpulse.feed.positions import MAX_EPOCHS, Track


def subscribed(epoch: str, offset: int, *, recovered: bool = False, **positions: int) -> Subscribed:
    return Subscribed("t", "event", epoch, offset, recovered, positions)


def event(epoch: str, offset: int) -> Event:
    return Event("t", epoch, offset, "event", {})


def test_one_origin_is_resumed_by_epoch_and_offset() -> None:
    track = Track()
    assert track.resume() is None
    assert track.takes(subscribed("a", 7))
    assert track.resume() == {"epoch": "a", "offset": 7}
    assert track.takes(event("a", 8))
    assert track.resume() == {"epoch": "a", "offset": 8}


def test_several_origins_are_resumed_by_positions() -> None:
    track = Track()
    track.takes(subscribed("a", 7, b=3))
    assert track.takes(event("b", 4))
    assert track.takes(event("c", 1)), "a replica that joined"
    assert track.resume() == {"positions": {"a": 7, "b": 4, "c": 1}}


def test_what_was_had_is_told_apart_for_each_origin() -> None:
    track = Track({"a": 5, "b": 9})
    assert [track.takes(event("a", 5)), track.takes(event("b", 6)), track.takes(event("a", 6))] == [
        False,
        False,
        True,
    ]
    assert not track.takes(event("a", 6))


def test_a_recovered_subscription_stays_where_it_was_and_learns_of_others() -> None:
    track = Track({"a": 5})
    track.takes(subscribed("a", 5, recovered=True, b=2))
    assert track.position == {"a": 5, "b": 2}


def test_a_loss_is_asked_for_again_until_it_was_told() -> None:
    track = Track({"old": 5})
    track.takes(subscribed("new", 40))
    assert track.resume() == {"epoch": "old", "offset": 5}, "cut now, the gap would never be heard of"
    assert track.takes(Gap("t", "new", 1, 40))
    assert track.resume() == {"epoch": "new", "offset": 40}
    assert track.takes(event("new", 41))


def test_a_server_that_was_put_back_in_time_is_followed() -> None:
    track = Track({"a": 500})
    track.takes(subscribed("a", 20))
    assert not track.takes(event("a", 20))
    assert track.takes(event("a", 21))
    assert track.position == {"a": 21}


def test_a_snapshot_says_where_it_stands() -> None:
    track = Track({"a": 5, "b": 5})
    track.takes(subscribed("a", 0))
    track.takes(Snapshot("t", "a", 30, [], {"b": 8}))
    assert track.position == {"a": 30, "b": 8}


def test_a_filtered_topic_is_told_where_every_origin_stands() -> None:
    track = Track({"a": 5, "b": 5})
    assert track.takes(Position("t", "a", 5, {"b": 9}))
    assert not track.takes(Position("t", "a", 5, {"b": 9}))
    assert track.position == {"a": 5, "b": 9}


def test_origins_are_bounded() -> None:
    track = Track()
    for number in range(3 * MAX_EPOCHS):
        assert track.takes(event(str(number), 1))
    assert len(track.position) == MAX_EPOCHS


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 30))))
def test_each_event_is_taken_once(sent: list[tuple[str, int]]) -> None:
    track = Track()
    taken = [each for each in sent if track.takes(event(*each))]
    assert len(set(taken)) == len(taken)
    for epoch in "abc":
        offsets = [offset for each, offset in taken if each == epoch]
        assert offsets == sorted(offsets)
        assert track.position.get(epoch, 0) == max((o for e, o in sent if e == epoch), default=0)


def test_positions_are_saved_and_loaded(tmp_path: Path) -> None:
    path = tmp_path / "positions.json"
    assert load_positions(path) == {}
    save_positions(path, {"requests": {"a": 1}})
    save_positions(path, {"requests": {"a": 2, "b": 1}, "alerts": {}})
    assert load_positions(path) == {"requests": {"a": 2, "b": 1}, "alerts": {}}
    assert [each.name for each in tmp_path.iterdir()] == ["positions.json"]


@pytest.mark.parametrize(
    "text", ["", "[]", '{"a": 1}', '{"a": {"b": "c"}}', '{"a": {"b": true}}', '{"a": {"b": -1}}']
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "positions.json"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=r"positions\.json"):
        load_positions(path)
