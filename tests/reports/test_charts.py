import re
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from fleetpulse.reports.charts import HEIGHT, WIDTH, Bar, Slot, bars, columns

NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff"), max_size=40)
SIZES = st.floats(0, 1e12, allow_nan=False)


def rects(svg: str, kind: str) -> list[dict[str, float]]:
    tree = ET.fromstring(svg)  # noqa: S314 - made here
    found = [each.attrib for each in tree.iter("rect") if each.attrib["class"] == kind]
    return [{name: float(value) for name, value in each.items() if name != "class"} for each in found]


@given(st.lists(st.none() | st.tuples(SIZES, SIZES), max_size=40), NAMES)
def test_columns_stay_inside_and_have_the_right_heights(
    values: list[tuple[float, float] | None], name: str
) -> None:
    svg = columns(name, [Slot("t", name, each) for each in values], ("ok", "bad"), str)
    assert len(re.findall('<g class="point">', svg)) == sum(each is not None for each in values)
    for kind, place in (("ok", 0), ("bad", 1)):
        drawn = rects(svg, kind)
        wanted = [each[place] for each in values if each and each[place] > 0]
        assert len(drawn) == len(wanted)
        assert all(each["x"] >= 0 and each["x"] + each["width"] <= WIDTH + 0.1 for each in drawn)
        assert all(each["y"] >= 0 and each["y"] + each["height"] <= HEIGHT for each in drawn)
        if wanted and max(wanted) > 0:
            unit = max(each["height"] for each in drawn) / max(wanted)
            for rect, value in zip(drawn, wanted, strict=True):
                assert abs(rect["height"] - value * unit) < 0.02


@given(st.lists(st.tuples(NAMES, SIZES), max_size=9))
def test_bars_are_as_long_as_their_values(items: list[tuple[str, float]]) -> None:
    svg = bars("title", [Bar(name, value, "label") for name, value in items], "money")
    drawn = rects(svg, "money")
    assert len(drawn) == len(items)
    longest = max((value for _, value in items), default=0)
    for rect, (_, value) in zip(drawn, items, strict=True):
        assert rect["x"] + rect["width"] <= WIDTH
        if longest and value:
            full = max(each["width"] for each in drawn)
            assert abs(rect["width"] - max(full * value / longest, 1)) < 0.02


def test_names_cannot_break_out() -> None:
    svg = bars("<t>", [Bar('"><script>', 1.0, "<b>")], "money")
    assert "<script" not in svg
    assert "<b>" not in svg
