import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetpulse.query.text import of_json, parse, tokens

SPACELESS = "中文字超时请求的あアー한ไ🎉々"
scripts = st.text(st.sampled_from(SPACELESS + "abcABCéß12 ,.!-_\n，。：　ｇｐｔ①ﬁ"), max_size=12)


def found(q: str, *fields: str) -> bool:
    return parse(q).matches(fields)


@pytest.mark.parametrize(
    ("q", "text"),
    [
        ("超时", "请求超时了"),
        ("超", "请求超时了"),
        ("时", "请求超时"),
        ("请求超时", "请求超时了"),
        ("你好世界", "你好，世界！"),
        ("Time", "a TIMEOUT occurred"),
        ("timed out", "upstream timed out"),
        ("out timed", "upstream timed out"),
        ('"timed out"', "Timed\tout!"),
        ("“timed out”", "timed out"),
        ('"timed out', "it timed out"),
        ("gpt-4o", "the GPT 4o-mini model"),
        ("ｇｐｔ４", "gpt4"),
        ("gpt4", "ＧＰＴ４"),
        ("调用gpt", "调用GPT-4"),
        ("café", "cafe\u0301s"),
        ("strasse", "Straße"),
        ("429", "HTTP 429"),
        ("r-17", "r-17-b"),
        ("🎉", "好的🎉谢谢"),
        ("안녕", "안녕하세요"),
        ("テスト", "これはテストです"),
        ("ทดสอบ", "การทดสอบระบบ"),
    ],
)
def test_what_is_found(q: str, text: str) -> None:
    assert found(q, text)


@pytest.mark.parametrize(
    ("q", "text"),
    [
        ("超时", "超过时间"),
        ("out", "timeout"),
        ('"time"', "timeout"),
        ('"timed out"', "out timed"),
        ('"timed out"', "timed it out"),
        ("timed missing", "timed out"),
        ("gpt-4o", "gpt 3 4o"),
        ("你a好", "你好a"),
    ],
)
def test_what_is_not_found(q: str, text: str) -> None:
    assert not found(q, text)


def test_a_term_is_within_one_field_and_terms_may_be_in_several() -> None:
    assert not found('"one two"', "one", "two")
    assert not found("一二", "一", "二")
    assert found("one two", "two", "one")


@pytest.mark.parametrize("q", ["", "  ", "!!!", '""', '"', "— … ，", "\0"])
def test_what_holds_no_unit_is_no_term(q: str) -> None:
    assert parse(q).terms == ()


def test_equal_terms_are_one() -> None:
    assert len(parse('Abc ABC "abc"').terms) == 2


def test_only_names_and_values_of_json_count() -> None:
    document = '{"note": "line\\nbreak \\"quoted\\" \\u0007bell", "数": "值\\\\n"}'
    assert not found("nbreak", of_json(document))
    assert not found("u0007bell", of_json(document))
    assert all(found(q, of_json(document)) for q in ("break", "quoted", "bell", "note", "数", "值"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Plain ASCII, as it is: a_b", "Plain ASCII, as it is: a_b"),
        ("你好世界", "你好 好世 世界 界"),
        ("你，好", "你好 好"),
        ("用gpt4好吗", "用 gpt4 好吗 吗"),
        ("Ünï_cödé", "ünï cödé"),
        ("！", ""),
    ],
)
def test_tokens(text: str, expected: str) -> None:
    assert tokens(text) == expected


# Against a search that is slow and plain ----------------------------------------------------------------------
def units(text: str) -> list[str]:
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    found, word = [], ""
    for character in text + " ":
        if character in SPACELESS or not character.isalnum():
            found += [word] if word else []
            found += [character] if character in SPACELESS else []
            word = ""
        else:
            word += character
    return found


def plainly(term: str, text: str, *, quoted: bool) -> bool:
    sought, there = units(term), units(text)
    for at in range(len(there) - len(sought) + 1):
        *before, last = there[at : at + len(sought)]
        fits = last == sought[-1] if quoted else last.startswith(sought[-1])
        if before == sought[:-1] and fits:
            return True
    return False


@given(text=scripts, other=scripts, quoted=st.booleans(), data=st.data())
def test_a_term_is_found_where_a_plain_search_finds_it(
    *, text: str, other: str, quoted: bool, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(text)))
    piece = data.draw(st.sampled_from([text[start : start + data.draw(st.integers(0, 5))], other]))
    term = "".join(piece.split()) if not quoted else piece
    q = f'"{term}"' if quoted else term
    if units(term):
        assert found(q, text) == plainly(term, text, quoted=quoted)
    else:
        assert parse(q).terms == ()
