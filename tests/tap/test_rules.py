"""Rules: what they match, and that nothing makes them slow."""

import time
from typing import Any

import pytest

from fleetpulse.config.tap import Rule
from fleetpulse.tap.frames import Reading
from fleetpulse.tap.rules import RuleBook

# What is slow here is slower by orders of magnitude: backtracking would take longer than the sun lasts.
QUICK_SECONDS = 5.0


def rule(name: str = "r", **settings: Any) -> Rule:
    return Rule.model_validate({"name": name, **settings})


def matches(text: str, *rules: Rule, user: str = "anna", stream: str = "room") -> tuple[str, ...]:
    return RuleBook(rules, stream).match(Reading("message", user, text))


@pytest.mark.parametrize(
    ("keyword", "text", "found"),
    [
        ("重要", "这很重要！", True),
        ("紧急", "紧 急", False),
        ("Urgent", "most URGENT thing", True),
        ("urgent", "insurgents", True),
        ("ｕｒｇｅｎｔ", "urgent", True),
        ("urgent", "ＵＲＧＥＮＴ", True),
        ("straße", "STRASSE 7", True),
        ("cafe\u0301", "CAFÉ", True),
        ("ｶﾞ", "ガ", True),
        ("a.c", "abc", False),
        ("a.c", "xa.cx", True),
        ("$(x)|[", "say $(X)|[", True),
    ],
)
def test_keywords_are_found_as_they_are_in_either_case(keyword: str, text: str, found: bool) -> None:  # noqa: FBT001 - a table
    assert bool(matches(text, rule(keywords=[keyword]))) is found


@pytest.mark.parametrize("others", [0, 500])
def test_any_keyword_of_a_rule_counts_however_many_there_are(others: int) -> None:
    book = [rule("many", keywords=["重要", "紧急"]), rule("one", keywords=["down"])]
    book += [rule(f"other-{n}", keywords=[f"other{n}-{k}" for k in range(50)]) for n in range(others // 50)]
    assert matches("紧急：服务器 DOWN", *book) == ("many", "one")
    assert matches("nothing of the kind", *book) == ()


def test_patterns_are_looked_for_in_the_text_as_it_is() -> None:
    assert matches("order 17 failed", rule(pattern=r"order \d+ (failed|lost)")) == ("r",)
    assert matches("ORDER 17 FAILED", rule(pattern=r"order \d+")) == ()
    assert matches("ORDER 17 FAILED", rule(pattern=r"(?i)order \d+")) == ("r",)
    assert matches("价格：99 元", rule(pattern=r"\p{Han}：\d+ 元$")) == ("r",)


def test_many_patterns_are_found_as_one_is() -> None:
    book = [rule(f"r{n}", pattern=f"(?i)code-{n}(x|$)") for n in range(50)] + [
        rule("case", pattern="^Alpha"),
        rule("a", pattern="a|b"),
    ]
    assert matches("CODE-7x", *book) == ("r7",)
    assert matches("alpha", *book) == ("a",)
    assert matches("Alpha code-49", *book) == ("r49", "case", "a")
    assert matches("nothing", *book) == ()


def test_a_quotation_in_one_pattern_does_not_reach_into_the_next() -> None:
    book = [rule("open", pattern=r"\Qa"), rule("close", pattern=r"\Qb\E")] + [
        rule(f"r{n}", pattern="z") for n in range(9)
    ]
    assert matches("a", *book) == ("open",)
    assert matches("b", *book) == ("close",)


def test_watched_users() -> None:
    assert matches("hi", rule(users=["Anna", "ben"])) == ("r",)
    assert matches("hi", rule(users=["ann"])) == ()
    assert matches("anna", rule(users=["anna"]), user="") == ()


def test_rules_are_of_their_streams_and_in_the_configured_order() -> None:
    book = (
        rule("b", keywords=["x"], streams=["room"]),
        rule("a", users=["anna"]),
        rule("c", keywords=["x"], streams=["y"]),
    )
    assert matches("x", *book) == ("b", "a")
    assert matches("x", *book, stream="y") == ("a", "c")
    assert matches("x") == ()


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"^(a+)+$", "a" * 8_000 + "!"),
        (r"(x+x+)+y", "x" * 8_000),
        (r"^(\w+\s?)*$", "word " * 1_600 + "!"),
        (r"(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)[^\x00-\x{10FFFF}]", "长" * 8_000),
        (r"((a|aa)+)+c", "a" * 8_000),
        (r"(a?){100}a{100}$", "a" * 8_000 + "b"),
        (r"(.{1,30}){1,30}z", "ab" * 4_000),
    ],
)
def test_no_pattern_and_no_text_stall(pattern: str, text: str) -> None:
    book = RuleBook([rule(pattern=pattern)], "room")
    began = time.process_time()
    assert book.match(Reading("message", "", text)) == ()
    assert time.process_time() - began < QUICK_SECONDS


def test_ten_thousand_keywords_do_not_stall() -> None:
    rules = [rule(f"r{n}", keywords=[f"{'关键词' * 10}{n}-{k}" for k in range(100)]) for n in range(100)]
    book = RuleBook(rules, "room")
    began = time.process_time()
    assert book.match(Reading("message", "", "关键词" * 2_700)) == ()
    assert book.match(Reading("message", "", f"{'关键词' * 2_000}7-42!")) == ("r7",)
    assert time.process_time() - began < QUICK_SECONDS
