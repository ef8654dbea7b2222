"""Bounded labels: past a label's cap, values are counted under `other`, so sums stay exact and series bounded."""

from collections.abc import Iterable, Mapping

OTHER = "other"


class LabelCaps:
    """Remembers which values each label has had; the first `cap` of them keep their name, for good.

    Restored from the persisted totals, so a restart folds exactly the values it folded before.
    """

    def __init__(self, caps: Mapping[str, int]) -> None:
        self._caps = dict(caps)
        self._known: dict[str, set[str]] = {label: {OTHER} for label in caps}

    def restore(self, label: str, values: Iterable[str]) -> None:
        """Admits values that were admitted before, even where the cap is smaller now."""
        self._known[label].update(values)

    def fold(self, label: str, value: str) -> str:
        """The value itself, or `other` once the label is full."""
        known = self._known[label]
        if value in known:
            return value
        if len(known) > self._caps[label]:  # `known` holds OTHER too
            return OTHER
        known.add(value)
        return value
