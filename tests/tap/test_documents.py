"""The examples of the pages about messages and rules are true."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from tests.tap.frame import frame, stream
from tests.tools import ROOT

from fleetpulse.config.tap import Tap
from fleetpulse.tap.explain import explain
from fleetpulse.tap.frames import Reading
from fleetpulse.tap.paths import WIDE_NODES
from fleetpulse.tap.presets import PRESETS
from fleetpulse.tap.reading import MAX_NESTED, MAX_PARSED
from fleetpulse.tap.replies import ECHO_SECONDS, WAITING
from fleetpulse.tap.rules import RuleBook
from fleetpulse.tap.users import ACTIVE, ACTIVE_OF_STREAM, RESTORED_ROWS
from fleetpulse.tap.values import KIND_CHARACTERS, NAME_CHARACTERS, TEXT_CHARACTERS
from fleetpulse.users import TRACKED

MESSAGES = (ROOT / "docs/tap-messages.md").read_text("utf-8")
RULES = (ROOT / "docs/tap-rules.md").read_text("utf-8")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^\| `(\w+)` \| `(.+?)` \|(.*)\|$", re.MULTILINE)


def examples() -> Iterator[tuple[dict[str, Any], str, str]]:
    """Each stream's settings with one of its messages, and how the page says that it is read."""
    settings: dict[str, Any] = {}
    message: str | None = None
    for language, content in FENCE.findall(MESSAGES):
        if language == "yaml":
            settings = yaml.safe_load(content)
        elif message is None:
            message = content.rstrip("\n")
        else:
            yield settings, message, content
            message = None


@pytest.mark.parametrize(("settings", "message", "lines"), list(examples()))
def test_messages_are_read_as_the_page_says(settings: dict[str, Any], message: str, lines: str) -> None:
    shown = explain(stream(**settings), frame(message)).lines()
    assert [line for line in shown if not line.startswith("message")] == lines.splitlines()


def test_there_are_examples_of_every_preset() -> None:
    table = set(re.findall(r"^\| `([a-z.]+)` \| (?!for)", MESSAGES, re.MULTILINE))
    assert {settings["preset"] for settings, _, _ in examples()} == table == {*PRESETS, "auto"}


def test_rules_match_as_the_page_says() -> None:
    tap = Tap.model_validate(yaml.safe_load(FENCE.findall(RULES)[0][1])["tap"])
    book = RuleBook(tap.rules, "support")
    rows = ROW.findall(RULES)
    assert len(rows) > 4
    for user, text, names in rows:
        assert book.match(Reading("message", user, text)) == tuple(re.findall("`(.+?)`", names)), text


def test_every_configuration_on_the_page_works() -> None:
    for language, content in FENCE.findall(RULES):
        assert language == "yaml"
        assert Tap.model_validate(yaml.safe_load(content)["tap"]).rules


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (MESSAGES, f"up to {WIDE_NODES:,} values"),
        (MESSAGES, f"| kind | {KIND_CHARACTERS} characters"),
        (MESSAGES, f"| user, room | {NAME_CHARACTERS} characters"),
        (MESSAGES, f"| text | {TEXT_CHARACTERS:,} characters"),
        (MESSAGES, f"{MAX_PARSED // 2**20} MiB, {MAX_NESTED:,} objects and arrays"),
        (RULES, f"in the last {ECHO_SECONDS:.0f} seconds"),
        (RULES, f"{WAITING} may wait"),
        (RULES, f"exact up to {ACTIVE_OF_STREAM:,}"),
        (RULES, f"{ACTIVE:,} over all streams"),
        (RULES, f"newest {RESTORED_ROWS:,} rows"),
        (RULES, f"up to {TRACKED:,} users"),
    ],
)
def test_bounds_are_as_the_pages_say(page: str, said: str) -> None:
    assert said in " ".join(page.split())
