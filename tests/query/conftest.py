from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.query.history import History, Remembering

Remember = Callable[[History], Remembering]


@pytest.fixture
def remember(tmp_path: Path) -> Iterator[Remember]:
    """Starts a Prometheus with a past."""
    programs: list[Remembering] = []

    def start(history: History) -> Remembering:
        programs.append(history.program(tmp_path / f"prometheus-{len(programs)}"))
        programs[-1].start()
        return programs[-1]

    yield start
    for program in programs:
        program.stop()
