"""Where the terms of a query are in a text, as it was before it was normalised."""

import html
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetpulse.query.highlights import LENGTH, MAX_SPANS, Span, snippet, spans
from fleetpulse.query.text import normalise, parse

LETTERS = "中文字超时请求あアｶﾞ한ᄒ\u1161\u11abไ🎉abcABCßẞǅéE\u0301H\u0331ǰ①ﬁｇ12 ,.-_\n，。"
texts = st.text(st.sampled_from(LETTERS), max_size=20)


@pytest.mark.parametrize(
    ("q", "text", "found"),
    [
        ("超时", "请求超时了，又超时", ["超时", "超时"]),
        ("time", "Timed out, time-out", ["Time", "time"]),
        ('"time"', "Timed out, time-out", ["time"]),
        ("out time", "time-out", ["time", "out"]),
        ("gpt-4o", "ＧＰＴ 4o mini", ["ＧＰＴ 4o"]),
        ("strasse", "Die STRAẞE", ["STRAẞE"]),
        ("é", "Cafe\u0301 é", ["é"]),
        ("café", "Cafe\u0301!", ["Cafe\u0301"]),
        ("ガ", "ｶﾞｶﾞ", ["ｶﾞｶﾞ"]),
        ("한", "\u1112\u1161\u11ab", ["\u1112\u1161\u11ab"]),
        ("fi", "ﬁsh", ["ﬁ"]),
        ("aa", "aaa aa", ["aa", "aa"]),
        ("你好世界", "你好，世界", ["你好，世界"]),
        ("missing", "nothing", []),
    ],
)
def test_what_is_marked(q: str, text: str, found: list[str]) -> None:
    assert [text[start:end] for start, end in spans(parse(q), text)] == found


@settings(max_examples=300, deadline=None)
@given(texts, texts)
def test_every_text_that_is_found_has_its_terms_marked(q: str, text: str) -> None:
    query = parse(q)
    marked = spans(query, text)
    if query.terms and query.matches([text]):
        assert marked
    assert marked == sorted(marked)
    assert all(0 <= start < end <= len(text) for start, end in marked)
    for start, end in marked:
        shown = normalise(text[start:end])
        assert any(term.units[0] in shown for term in query.terms)


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("ab<>&\"' 中"), max_size=300), texts)
def test_a_snippet_is_html_of_a_piece_of_the_text(text: str, q: str) -> None:
    shown = snippet(text, spans(parse(q), text))
    plain = html.unescape(re.sub("</?mark>", "", shown)).removeprefix("…").removesuffix("…")
    assert plain in text
    assert len(plain) <= LENGTH
    assert not re.search(r"[<>]", re.sub("</?mark>", "", shown))


def test_a_snippet_begins_before_what_was_found() -> None:
    text = "x" * 500 + " here " + "y" * 500
    shown = snippet(text, spans(parse("here"), text))
    assert shown.startswith("…x")
    assert "<mark>here</mark>" in shown
    assert shown.endswith("y…")
    assert snippet("plain", []) == "plain"
    assert snippet("ab", [Span(0, 1), Span(1, 2)]) == "<mark>a</mark><mark>b</mark>"


def test_marks_are_bounded() -> None:
    assert len(spans(parse("a"), "a " * 50_000)) == MAX_SPANS
    assert spans(parse("b"), "a" * 200_000 + " b") == []
