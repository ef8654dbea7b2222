"""What became of the rows of a replay; `rows == accepted + duplicates + rejected` at any moment."""

from dataclasses import dataclass, field
from typing import Any

from fleetpulse.replay.pace import Batch

KEPT_ERRORS = 10


@dataclass
class Tally:
    """Counts of settled rows, and the first few reasons for rejection."""

    rows: int = 0
    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    errors: list[str] = field(default_factory=list)

    def reject(self, number: int, why: str) -> None:
        """Counts one row that was not taken; numbers are shown from 1."""
        self.rows += 1
        self.rejected += 1
        if len(self.errors) < KEPT_ERRORS:
            self.errors.append(f"row {number + 1}: {why}")

    def answered(self, batch: Batch, answer: dict[str, Any]) -> set[int]:
        """Adds the exporter's answer to a batch; returns the numbers of the rejected rows."""
        self.accepted += answer["accepted"]
        self.duplicates += answer["duplicates"]
        self.rows += answer["accepted"] + answer["duplicates"]
        rejected = set()
        for item in answer.get("rejected", ()):
            number = batch.numbers[item["index"]]
            rejected.add(number)
            self.reject(number, reasons(item.get("errors", ())))
        return rejected


def reasons(errors: Any) -> str:
    """The exporter's `[{"loc", "msg"}]` as one line for people."""
    return "; ".join(
        f"{'.'.join(map(str, error.get('loc', ())))}: {error.get('msg', '')}"
        if isinstance(error, dict)
        else str(error)
        for error in errors
    )
