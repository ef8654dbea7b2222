import pytest

from fleetpulse.web.words import CHINESE, ENGLISH, words_for


def test_both_languages_have_every_word() -> None:
    assert CHINESE.keys() == ENGLISH.keys()
    assert all(CHINESE.values())
    assert all(ENGLISH.values())


@pytest.mark.parametrize(
    ("accept", "language"),
    [
        ("", "en"),
        ("zh", "zh-CN"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"),
        ("zh-TW", "zh-CN"),
        ("en-US,en;q=0.9,zh;q=0.8", "en"),
        ("en;q=0.5, zh-HK;q=0.7", "zh-CN"),
        ("de-DE,de;q=0.9", "en"),
        ("de, zh;q=0.1", "zh-CN"),
        ("zh;q=0", "en"),
        ("zh;q=nonsense,en", "en"),
        (";;;,q=,;zh", "en"),
    ],
)
def test_the_language_is_the_one_that_is_liked_best(accept: str, language: str) -> None:
    assert words_for(accept)["lang"] == language
