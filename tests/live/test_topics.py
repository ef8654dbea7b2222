import pytest

from fleetpulse.errors import NotFoundError, OverloadedError
from fleetpulse.live.audience import Audience
from fleetpulse.live.encoders import LiveEncoder
from fleetpulse.live.limits import Seats, TokenBucket
from fleetpulse.live.topics import EVENT, LEAST_KEPT, MAX_KEPT, STATE, Family, Topic, Topics
from fleetpulse.live.wires import WEBSOCKET


def topic(count: int, keep: int, at: float = 0.0) -> Topic:
    made = Topic("requests", Family("requests", EVENT, None))
    for n in range(count):
        made.append([(None, n)], kind="event", at=at + n, keep=keep)
    return made


def test_history_is_bounded_by_count_and_age() -> None:
    kept = topic(10, keep=4)
    assert (kept.offset, kept.first) == (10, 7)
    kept.forget(before=8.0)
    assert (kept.offset, kept.first) == (10, 9)
    kept.forget(before=1_000.0)
    assert (kept.offset, kept.first) == (10, 11)
    assert kept.between(0, 10) == []


def test_what_is_still_to_be_flushed_is_kept_beyond_the_bound() -> None:
    kept = topic(0, keep=4)
    audience = Audience(kept, LiveEncoder(), None, WEBSOCKET)
    kept.audiences[audience.key] = audience
    kept.append([(None, n) for n in range(10)], kind="event", at=0.0, keep=4)
    kept.forget(before=1_000.0)
    assert [message.offset for message in kept.between(0, 10)] == list(range(1, 11))
    kept.flushed = 10
    kept.append([(None, 11)], kind="event", at=0.0, keep=4)
    assert kept.first == 8


@pytest.mark.parametrize(("offset", "recovers"), [(10, True), (9, True), (6, True), (5, False), (11, False)])
def test_resume_needs_everything_after_the_offset(offset: int, *, recovers: bool) -> None:
    kept = topic(10, keep=4)
    audience = Audience(kept, LiveEncoder(), None, WEBSOCKET)
    assert audience.opening({kept.epoch: offset}, now=0.0).recovered == recovers
    assert not audience.opening({"another": offset}, now=0.0).recovered


def test_families_are_declared_once_and_state_needs_a_snapshot() -> None:
    topics = Topics(10, 10)
    topics.declare(Family("requests", EVENT, None))
    for wrong in (Family("requests", EVENT, None), Family("a/b", EVENT, None), Family("agents", STATE, None)):
        with pytest.raises(ValueError, match="family"):
            topics.declare(wrong)
    with pytest.raises(NotFoundError, match="requests"):
        topics.open("nothing/here")


def test_topics_make_room_by_the_longest_silent_unheard_one() -> None:
    topics = Topics(2, 10)
    topics.declare(Family("requests", EVENT, None))
    old, heard = topics.open("requests/old"), topics.open("requests/heard")
    audience = Audience(heard, LiveEncoder(), None, WEBSOCKET)
    heard.audiences[audience.key] = audience
    topics.open("requests/new")
    assert topics.get("requests/old") is None
    assert topics.open("requests/old").epoch != old.epoch
    last = topics.open("requests/old")
    last.audiences[audience.key] = audience
    with pytest.raises(OverloadedError, match="max_topics"):
        topics.open("requests/more")


def test_many_topics_share_the_memory() -> None:
    topics = Topics(100_000, 2_048)
    topics.declare(Family("requests", EVENT, None))
    assert topics.keep == 2_048
    for n in range(200):
        topics.open(f"requests/{n}")
    assert topics.keep == MAX_KEPT // 200
    for n in range(5_000):
        topics.open(f"requests/{n}")
    assert topics.keep == LEAST_KEPT


def test_seats_are_given_back() -> None:
    seats = Seats(2, 1)
    with seats.take("a"):
        with pytest.raises(OverloadedError, match="per_ip"), seats.take("a"):
            pass
        with seats.take("b"), pytest.raises(OverloadedError, match=r"max_connections is"), seats.take("c"):
            pass
    with seats.take("a"):
        pass


def test_bucket_allows_a_burst_and_then_the_rate() -> None:
    bucket = TokenBucket(10, now=0.0)
    assert sum(bucket.take(0.0) for _ in range(100)) == 20
    assert sum(bucket.take(1.0) for _ in range(100)) == 10
    assert sum(bucket.take(1_000.0) for _ in range(100)) == 20
