"""What settings hold of expressions: paths as the RFC has them, nothing that a message could make slow."""

import pytest
from pydantic import ValidationError

from fleetpulse.config.expressions import json_path, regular_expression
from fleetpulse.config.tap import Rule, Source


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("$", ()),
        ("$.data.user_id", ("data", "user_id")),
        ("$.fields.args[0].u", ("fields", "args", 0, "u")),
        ("$['a b'][-1]", ("a b", -1)),
        ("$.名字", ("名字",)),
    ],
)
def test_a_path_to_one_place_is_its_steps(text: str, keys: tuple[str | int, ...]) -> None:
    assert json_path(text).keys == keys


@pytest.mark.parametrize("text", ["$..text", "$.a[*]", "$.a[?@.kind == 'x'].text", "$.a[0,1]", "$.a[1:]"])
def test_other_paths_are_left_to_the_library(text: str) -> None:
    assert json_path(text).keys is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("data.user", "is no JSONPath"),
        ("", "is no JSONPath"),
        ("$.", "is no JSONPath"),
        ("$.a[01]", "is no JSONPath"),
        ("$.a[", "is no JSONPath"),
        ("$.a | $.b", "is no JSONPath|several paths"),
        ("$" + "[" * 400, "is no JSONPath"),
        ("$..a..b", "could take too long"),
        ("$[?@[?@.a]]", "could take too long"),
        ("$[?$.a == @.b]", "could take too long"),
        ("$[0,0,0,0,0,0]", "could take too long"),
        ("$[?match(@.a, '(a+)+b')]", "is no JSONPath"),
        ("$[?search(@.a, '(a+)+b')]", "is no JSONPath"),
    ],
)
def test_what_is_no_path_or_could_take_too_long_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        json_path(text)


def test_a_wrong_path_is_named_with_its_setting() -> None:
    with pytest.raises(ValidationError, match=r"paths\.user\.1\n.*'user' is no JSONPath: it does not begin with"):
        Source.model_validate({"name": "a", "url": "ws://a/b", "paths": {"user": ["$.user", "user"]}})


@pytest.mark.parametrize("pattern", [r"(?=a)b", r"(a)\1", "(", "a{2000}", "((a{100}){100}){100}"])
def test_what_is_no_expression_of_re2_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="is no regular expression of RE2: "):
        regular_expression(pattern)


def test_a_wrong_expression_is_named_with_its_setting() -> None:
    with pytest.raises(ValidationError, match=r"pattern\n.*is no regular expression of RE2"):
        Rule.model_validate({"name": "a", "pattern": "(?=x)"})


def test_a_good_expression_finds() -> None:
    assert regular_expression(r"(?i)order-\d+ (失败|failed)").search("ORDER-17 失败了")
