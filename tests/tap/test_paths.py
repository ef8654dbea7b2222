"""Paths find what the library finds, in the order in which they are given."""

import jsonpath
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from fleetpulse.tap.paths import MAX_RESULTS, WIDE_NODES, Field, Path, is_small
from fleetpulse.tap.values import as_name, as_text

NAMES = ["a", "b", "data", "用户", "a b", "0"]
STEPS: SearchStrategy[str] = st.one_of(
    st.sampled_from([".a", ".b", ".data", ".用户", "['a b']", "['0']", "[0]", "[1]", "[-1]", "[-3]", "[7]"])
)
SINGULAR = st.lists(STEPS, max_size=4).map(lambda steps: "$" + "".join(steps))
ANY = st.tuples(SINGULAR, st.sampled_from(["", "..a", "[*]", "..[0]", "[0,1]", "[?@.a]", ".*"])).map("".join)
LEAVES = st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab用 ", max_size=4)
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


def by_library(path: str, document: object) -> list[object]:
    # A text would be taken for JSON's text; it has no members.
    if isinstance(document, str):
        return [document] if path == "$" else []
    found = jsonpath.findall(path, document, strict=True)  # type: ignore[arg-type]  # scalars are documents, too
    return [value for value in found if value is not None]


@given(path=SINGULAR, document=DOCUMENTS)
@settings(max_examples=60, deadline=None)
def test_a_path_to_one_place_finds_what_the_library_finds(path: str, document: object) -> None:
    assert Path(path).keys is not None
    assert list(Path(path).results(document)) == by_library(path, document)


@given(paths=st.lists(ANY, max_size=5), document=DOCUMENTS.filter(lambda each: not isinstance(each, str)))
@settings(max_examples=60, deadline=None)
def test_a_field_is_the_first_value_of_the_first_path_that_has_one(paths: list[str], document: object) -> None:
    every = (as_text(value) for path in paths for value in by_library(path, document))
    first = next((value for value in every if value is not None), None)
    assert Field(paths, as_text).find(document, wide=True) == first


def test_paths_that_look_everywhere_are_asked_of_small_messages_only() -> None:
    field = Field(["$..name", "$.a.name"], as_name)
    document = {"x": {"name": "found anywhere"}, "a": {"name": "found there"}}
    assert field.find(document, wide=True) == "found anywhere"
    assert field.find(document, wide=False) == "found there"


@given(document=DOCUMENTS)
@settings(max_examples=60, deadline=None)
def test_what_is_small_has_few_values(document: object) -> None:
    def values(inside: object) -> int:
        children = inside.values() if isinstance(inside, dict) else inside if isinstance(inside, list) else ()
        return 1 + sum(map(values, children))

    many = [document] * (WIDE_NODES // values(document) + 1)
    assert not is_small(orjson.dumps(many).decode())
    assert is_small(orjson.dumps([document]).decode())


def test_a_document_that_is_too_deep_for_the_library_has_nothing() -> None:
    document: object = {"name": "deep"}
    for _ in range(200):
        document = [document]
    assert list(Path("$..name").results(document)) == []


def test_results_are_bounded() -> None:
    assert len(list(Path("$[*]").results(list(range(10 * MAX_RESULTS))))) == MAX_RESULTS


@pytest.mark.parametrize("document", [None, 3, "text", True, 1.5])
def test_a_scalar_has_no_members(document: object) -> None:
    assert Field(["$.a", "$[0]"], as_text).find(document, wide=True) is None
