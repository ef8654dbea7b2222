"""What the audit log keeps of a body."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetpulse.administration.audit import HIDDEN, redacted


@pytest.mark.parametrize("name", ["password", "API_KEY", "api-key", "x-app-secret", "Authorization", "accessToken"])
def test_secrets_are_hidden_wherever_they_are(name: str) -> None:
    assert redacted({"a": [{name: "hush", "kept": 1}]}) == {"a": [{name: HIDDEN, "kept": 1}]}


def test_long_texts_are_cut() -> None:
    assert redacted({"text": "x" * 1_000})["text"] == f"{'x' * 200}… (1000 characters)"


@given(st.recursive(st.none() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_anything_is_bounded_in_depth(value: Any) -> None:
    def depth(of: Any) -> int:
        inner = of.values() if isinstance(of, dict) else of if isinstance(of, list) else ()
        return 1 + max(map(depth, inner), default=0)

    assert depth(redacted(value)) <= 7
