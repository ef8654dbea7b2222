from hypothesis import given
from hypothesis import strategies as st

from fleetpulse.deadlines import Deadlines


def all_past(deadlines: Deadlines, now: float) -> list[str]:
    found = []
    while (key := deadlines.past(now)) is not None:
        found.append(key)
    return found


def test_a_deadline_is_past_only_after_it() -> None:
    deadlines = Deadlines()
    deadlines.set("a", 10.0)
    assert deadlines.past(10.0) is None
    assert not deadlines.any_past(10.0)
    assert deadlines.any_past(10.001)
    assert all_past(deadlines, 10.001) == ["a"]
    assert all_past(deadlines, 1e9) == []


def test_the_earliest_comes_first() -> None:
    deadlines = Deadlines()
    for key, when in (("b", 2.0), ("c", 3.0), ("a", 1.0), ("d", 9.0)):
        deadlines.set(key, when)
    assert all_past(deadlines, 5.0) == ["a", "b", "c"]


def test_an_earlier_deadline_wins_and_the_later_one_is_gone() -> None:
    deadlines = Deadlines()
    deadlines.set("a", 10.0)
    deadlines.set("a", 5.0)
    assert all_past(deadlines, 6.0) == ["a"]
    assert all_past(deadlines, 20.0) == []


def test_a_forgotten_key_is_not_told() -> None:
    deadlines = Deadlines()
    deadlines.set("a", 1.0)
    deadlines.discard("a")
    deadlines.discard("never was")
    assert all_past(deadlines, 2.0) == []
    deadlines.set("a", 3.0)
    assert all_past(deadlines, 2.0) == []
    assert all_past(deadlines, 4.0) == ["a"]


steps = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from(["set", "discard", "past"]), st.integers(0, 20)), max_size=60
)


@given(steps)
def test_every_key_comes_up_no_later_than_it_should(script: list[tuple[str, str, int]]) -> None:
    deadlines, wanted = Deadlines(), dict[str, float]()
    for key, step, when in script:
        if step == "set":
            deadlines.set(key, when)
            wanted[key] = min(when, wanted.get(key, when))
        elif step == "discard":
            deadlines.discard(key)
            wanted.pop(key, None)
        else:
            found = all_past(deadlines, when)
            assert sorted(found) == sorted(each for each, due in wanted.items() if due < when)
            assert [wanted[each] for each in found] == sorted(wanted[each] for each in found)
            wanted = {each: due for each, due in wanted.items() if due >= when}
            assert not deadlines.any_past(when)
