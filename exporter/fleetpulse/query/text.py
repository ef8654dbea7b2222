r"""What search sees of a text: its units, made the same way from rows and from queries.

A unit is a word, or one character of a script that is written without spaces: Chinese, Japanese, Thai and the
like, Korean and pictographs too. Case, width and composition do not matter (NFKC and case folding), nor does what
stands between units: `超时` is found in `请求超时了`, `timed out` in `Timed\tout!`, `gpt-4o` in `GPT 4o mini`.

A term matches where its units follow each other within one field. Its last unit may be the beginning of a word,
unless the term was quoted. A query matches where all its terms do, each in any field.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

# Thai, Lao, Burmese, Khmer; signs; Han radicals, kana, Bopomofo, Han, Hangul; pictographs; more Han
SPACELESS = (
    "\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff\u2600-\u27bf\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3041-\u3096"
    "\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\ua960-\ua97f\uac00-\ud7af\uf900-\ufaff\U0001f000-\U0001faff\U00020000-\U0003ffff"
)
UNIT = re.compile(rf"[{SPACELESS}]|[^\W_{SPACELESS}]+")
RUN = re.compile(rf"[{SPACELESS}]+|[^\W_{SPACELESS}]+")
GAP = re.compile(rf"(?<=[{SPACELESS}])(?:[^\w{SPACELESS}]|_)+(?=[{SPACELESS}])")
CHARACTER = re.compile(f"[{SPACELESS}]")
PIECE = re.compile(r'"([^"]*)"?|([^\s"]+)')
ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{4}|.)")
QUOTES = str.maketrans("“”„‟", '""""')
EDGE = "\0"  # in no unit
TOKEN_CHARACTERS = 64  # of a longer word the index is asked for the beginning


# Units --------------------------------------------------------------------------------------------------------
def normalise(text: str) -> str:
    """The text as it is compared: without differences of case, width and composition."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def of_json(document: str) -> str:
    """A JSON document as a text of its names and values: what only escapes is no part of a word."""
    return ESCAPE.sub(" ", document) if "\\" in document else document


def tokens(text: str) -> str:
    """The tokens of a field in the order of its units, for an index that cuts at spaces and ASCII punctuation.

    A word is its own token. A character goes with the one after it: so a substring of two characters is one token,
    rare enough to be looked up, and a single character is the beginning of one.
    """
    if text.isascii():
        return text
    runs = RUN.findall(GAP.sub("", normalise(text)))
    return " ".join([_pairs(run) if CHARACTER.match(run) else run for run in runs])


def _pairs(run: str) -> str:
    return " ".join([first + second for first, second in pairwise(run)] + [run[-1]])


# Queries ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Phrase:
    """Tokens that follow each other in the index; the last may be the beginning of one."""

    tokens: tuple[str, ...]
    prefix: bool


@dataclass(frozen=True)
class Term:
    """Units that follow each other; where `prefix`, the last may be the beginning of a word."""

    units: tuple[str, ...]
    prefix: bool

    @property
    def pattern(self) -> str:
        """What stands in the `haystack` of every text that holds the term."""
        end = "" if self.prefix else EDGE
        return EDGE + EDGE.join(self.units) + end

    def phrases(self) -> list[Phrase]:
        """What the index is asked for: all of these are in every text that holds the term."""
        found: list[Phrase] = []
        tokens: list[str] = []
        for place, unit in enumerate(self.units):
            token, prefix = self._token(place, unit)
            tokens.append(token)
            if prefix:  # which the index takes at the end of a phrase only
                found.append(Phrase(tuple(tokens), prefix=True))
                tokens = []
        if len(tokens) > 1 and CHARACTER.match(self.units[-1]) and CHARACTER.match(self.units[-2]):
            tokens.pop()  # the pair before holds it
        return [*found, Phrase(tuple(tokens), prefix=False)] if tokens else found

    def _token(self, place: int, unit: str) -> tuple[str, bool]:
        """A unit's token, and whether it is but the beginning of one."""
        last = place == len(self.units) - 1
        if not CHARACTER.match(unit):
            return unit[:TOKEN_CHARACTERS], len(unit) > TOKEN_CHARACTERS or (last and self.prefix)
        if last:
            return unit, place == 0 or not CHARACTER.match(self.units[place - 1])
        after = self.units[place + 1]
        return (unit + after if CHARACTER.match(after) else unit), False


@dataclass(frozen=True)
class TextQuery:
    """What is searched for: all of these terms."""

    terms: tuple[Term, ...]

    def matches(self, fields: Sequence[str]) -> bool:
        """Whether a row with these fields is found."""
        text = "\n".join(map(normalise, fields))
        if any(unit not in text for term in self.terms for unit in term.units):
            return False  # by far most rows
        units = haystack(fields)
        return all(term.pattern in units for term in self.terms)


def parse(text: str) -> TextQuery:
    """Reads a query: words and characters as they come, and "quoted phrases". It may have no terms at all."""
    return TextQuery(tuple(dict.fromkeys(_terms(text))))


def _terms(text: str) -> Iterator[Term]:
    for piece in PIECE.finditer(text.translate(QUOTES)):
        quoted, plain = piece.groups()
        units = tuple(UNIT.findall(normalise(plain if quoted is None else quoted)))
        if units:
            yield Term(units, prefix=quoted is None)


def haystack(fields: Sequence[str]) -> str:
    """The units of some fields as one text, in which `Term.pattern` is looked for; none reaches over two fields."""
    return "".join(EDGE + EDGE.join(UNIT.findall(normalise(field))) + EDGE for field in fields)
