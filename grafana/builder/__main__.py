"""Renders every dashboard into `grafana/dashboards/`."""

from pathlib import Path

from grafana.builder.accounts import accounts
from grafana.builder.agents import agents
from grafana.builder.frame import render
from grafana.builder.live import live
from grafana.builder.requests import requests
from grafana.builder.streams import streams

FOLDER = Path(__file__).parent.parent / "dashboards"


def rendered() -> dict[Path, str]:
    """Each dashboard's file and the JSON that belongs there."""
    boards = (requests(), agents(), accounts(), live(), streams())
    return {FOLDER / f"{board.uid}.json": render(board) for board in boards}


if __name__ == "__main__":
    for path, text in rendered().items():
        path.write_text(text, encoding="utf-8")
        print(path)  # noqa: T201 - this is a command
