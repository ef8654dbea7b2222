"""Asks amtool: is the configuration valid, and whom does an alert reach."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from fleetpulse.errors import ConfigError
from fleetpulse.stack import tools
from fleetpulse.stack.alerting.versions import NEWEST, version_of

SECONDS = 60


class Amtool:
    """amtool where it is installed; `find` answers None where it is not."""

    def __init__(self, program: Path) -> None:
        self._program = str(program)
        self.version = version_of(program) or NEWEST  # a build of its own does not say

    @classmethod
    def find(cls, folder: Path) -> "Amtool | None":
        """From PATH, else from the tools folder."""
        program = tools.find("amtool", folder)
        return cls(program) if program else None

    def check(self, config: Path) -> None:
        """Raises ConfigError with amtool's words when the configuration is not valid."""
        done = self._run("check-config", str(config))
        if done.returncode:
            raise ConfigError(f"Alertmanager would not take the configuration: {_said(done)}")

    def receivers(self, config: Path, labels: Mapping[str, str]) -> tuple[str, ...]:
        """The receivers that an alert with these labels reaches, in order. Raises ConfigError."""
        pairs = (f"{name}={value}" for name, value in labels.items())
        done = self._run("config", "routes", "test", f"--config.file={config}", *pairs)
        if done.returncode:
            raise ConfigError(f"amtool cannot route this alert: {_said(done)}")
        return tuple(dict.fromkeys(done.stdout.strip().split(",")))

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(  # noqa: S603 - the stack's own program
                [self._program, *arguments], capture_output=True, text=True, timeout=SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConfigError(f"{self._program} cannot be run: {error}") from error


def _said(done: subprocess.CompletedProcess[str]) -> str:
    """What amtool says is wrong: the file's name goes before it, what it has in common with every failure after."""
    _, _, wrong = (done.stdout + done.stderr).partition("FAILED:")
    text = (wrong or done.stderr).partition("amtool: error")[0]
    return (
        "; ".join(line.strip() for line in text.splitlines() if line.strip())[:1_000] or "amtool does not say why"
    )
