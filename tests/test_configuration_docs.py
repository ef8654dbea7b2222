import subprocess
import sys
from pathlib import Path

from fleetpulse.config import CLIENT_VARIABLES

ROOT = Path(__file__).parents[1]


def test_the_configuration_page_is_what_the_settings_say() -> None:
    made = subprocess.run([sys.executable, ROOT / "tools/configuration_page.py"], check=True, capture_output=True)
    written = (ROOT / "docs/configuration.md").read_bytes()
    assert written == made.stdout, "run: python tools/configuration_page.py > docs/configuration.md"


def test_every_variable_of_the_commands_is_on_it() -> None:

    text = (ROOT / "docs/configuration.md").read_text("utf-8")
    assert [name for name in CLIENT_VARIABLES if f"`{name}`" not in text] == []
