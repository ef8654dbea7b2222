import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from fleetpulse import catalogue
from fleetpulse.series.text import escape, header, labelled, number


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ('say "hi"', 'say \\"hi\\"'),
        ("a\\b", "a\\\\b"),
        ("two\nlines", "two\\nlines"),
        ("\\n", "\\\\n"),
        ("群聊", "群聊"),
        ("", ""),
    ],
)
def test_label_values_are_escaped(value: str, written: str) -> None:
    assert escape(value) == written


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r")))
def test_any_label_value_is_read_back(value: str) -> None:
    line = f"fleetpulse_x{labelled(('a', 'b'), (value, 'z'))} 1.0\n"
    (family,) = text_string_to_metric_families(line)
    assert family.samples[0].labels == {"a": value, "b": "z"}


@given(st.floats(allow_nan=False))
def test_any_number_is_read_back_exactly(value: float) -> None:
    assert float(number(value).replace("Inf", "inf")) == value


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.0, "0.0"),
        (-0.0, "0.0"),
        (1e6, "1000000.0"),
        (1e15, "1000000000000000.0"),
        (2.0**53, "9.007199254740992e+15"),
        (0.1, "0.1"),
        (math.inf, "+Inf"),
    ],
)
def test_whole_numbers_have_no_exponent(value: float, written: str) -> None:
    assert number(value) == written


def test_labels_must_fit_their_names() -> None:
    with pytest.raises(ValueError, match="longer"):
        labelled(("a",), ("1", "2"))


def test_openmetrics_names_a_counters_family_without_total() -> None:
    assert "# TYPE fleetpulse_requests_total counter" in header(catalogue.REQUESTS, openmetrics=False)
    assert "# TYPE fleetpulse_requests counter" in header(catalogue.REQUESTS, openmetrics=True)
    assert "# TYPE fleetpulse_agents gauge" in header(catalogue.AGENTS, openmetrics=True)
