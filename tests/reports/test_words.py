"""Both languages say everything, with the same blanks; and all of it is used."""

import re
from datetime import date
from pathlib import Path
from string import Formatter

import pytest
from tests.tools import ROOT

from fleetpulse.reports.words import WORDS, long_day, month, short_day

SOURCE = ROOT / "exporter" / "fleetpulse" / "reports"


def blanks(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_the_languages_have_the_same_words() -> None:
    assert WORDS["en"].keys() == WORDS["zh"].keys()


@pytest.mark.parametrize("name", WORDS["en"])
def test_they_have_the_same_blanks(name: str) -> None:
    assert blanks(WORDS["en"][name]) == blanks(WORDS["zh"][name])


def test_every_word_is_used() -> None:
    files: list[Path] = [path for path in SOURCE.rglob("*") if path.suffix in (".py", ".j2")]
    text = "\n".join(path.read_text("utf-8") for path in files if path.name != "words.py")
    named = set(re.findall(r'f?"([a-z_.{}\[\]]+)"', text.replace("'", '"')))
    patterns = [re.compile(re.sub(r"\\\{.*?\\\}", r".+", re.escape(name)) + r"(\.one)?") for name in named]
    unused = {name for name in WORDS["en"] if not any(each.fullmatch(name) for each in patterns)}
    made_of_names = {name for name in unused if name.split(".")[0] in ("column", "card", "before")}
    assert unused - made_of_names == set()


def test_days_are_written_out() -> None:
    day = date(2025, 5, 12)
    assert (long_day("en", day), long_day("zh", day)) == ("Monday, 12 May 2025", "2025年5月12日 星期一")
    assert (month("en", day), month("zh", day)) == ("May 2025", "2025年5月")
    assert (short_day("en", day), short_day("zh", day)) == ("12 May 2025", "2025年5月12日")
