"""Finds Prometheus and Alertmanager, or fetches Debian's packages and unpacks them into a local folder.

Needs no root: `apt-get download` and `dpkg -x` only write where they are told, run no install script and start no
service. `python -m fleetpulse.stack.tools` makes sure of the tools and prints where each one is.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fleetpulse import config
from fleetpulse.errors import ConfigError
from fleetpulse.stack.files import tools_folder
from fleetpulse.stack.relocate import relocate

NAMES: dict[str, tuple[str, ...]] = {
    "prometheus": ("prometheus",),
    "alertmanager": ("prometheus-alertmanager", "alertmanager"),
    "promtool": ("promtool",),
    "amtool": ("amtool",),
}
PACKAGES = ("prometheus", "prometheus-alertmanager")
# Scripts and styles that Debian's Prometheus links to for its web pages; without them only the pages look bare.
PAGE_PACKAGES = (
    "libjs-bootstrap4",
    "libjs-d3",
    "libjs-eonasdan-bootstrap-datetimepicker",
    "libjs-jquery",
    "libjs-jquery-hotkeys",
    "libjs-moment",
    "libjs-moment-timezone",
    "libjs-mustache",
    "libjs-popper.js",
    "libjs-rickshaw",
)
FETCH_SECONDS = 600


@dataclass(frozen=True)
class Tools:
    """The programs of the stack; `grafana` is None where it is not installed."""

    prometheus: Path
    alertmanager: Path
    grafana: Path | None


def find(name: str, folder: Path) -> Path | None:
    """A tool by its plain name, from PATH or else from the tools folder; None where it is in neither."""
    for program in NAMES[name]:
        if found := shutil.which(program):
            return Path(found)
    for program in NAMES[name]:
        if os.access(local := folder / "usr" / "bin" / program, os.X_OK):
            return local
    return None


def find_grafana() -> Path | None:
    """Grafana's server program on PATH or where its packages put it."""
    for program in ("grafana-server", "grafana", "/usr/share/grafana/bin/grafana", "/usr/sbin/grafana-server"):
        if found := shutil.which(program):
            return Path(found)
    return None


def ensure(folder: Path, say: Callable[[str], object]) -> Tools:
    """All tools, fetched into `folder` where PATH lacks one; raises ConfigError that says what to do instead."""
    if any(find(name, folder) is None for name in NAMES):
        say(f"Prometheus or Alertmanager is not on PATH: fetching Debian's packages into {folder} (no root needed)")
        fetch(folder)
    prometheus, alertmanager = find("prometheus", folder), find("alertmanager", folder)
    if prometheus is None or alertmanager is None:
        raise _cannot(folder, "the packages hold no such programs")
    return Tools(prometheus, alertmanager, find_grafana())


def fetch(folder: Path) -> None:
    """Downloads and unpacks the packages into `folder`, all or nothing; raises ConfigError."""
    for program in ("apt-get", "dpkg"):
        if shutil.which(program) is None:
            raise _cannot(folder, f"{program} is not here to fetch them with")
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        downloads = fresh / "downloads"
        downloads.mkdir(parents=True)
        _download(downloads, fresh / "apt", folder)
        for package in sorted(downloads.glob("*.deb")):
            _run(["dpkg", "-x", str(package), str(fresh)], fresh)
        relocate(fresh)
        _must_run(fresh, folder)
        _trim(fresh)
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
    except OSError as error:
        raise _cannot(folder, str(error)) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _download(into: Path, state: Path, folder: Path) -> None:
    """With the system's package lists, else with lists of our own, since updating the system's takes root."""
    options: list[str] = []
    first = _run(["apt-get", "download", *PACKAGES], into)
    if first.returncode:
        options = _private_lists(state)
        _run(["apt-get", *options, "update"], into)
        second = _run(["apt-get", *options, "download", *PACKAGES], into)
        if second.returncode:
            raise _cannot(
                folder, f"apt-get download failed: {_last_line(second.stderr) or _last_line(first.stderr)}"
            )
    _run(["apt-get", *options, "download", *PAGE_PACKAGES], into)


def _trim(fresh: Path) -> None:
    """Keeps programs and web pages, and of the time zone tables the one file that the pages load."""
    for path in (*fresh.glob("*"), *fresh.glob("usr/share/*")):
        if path.name not in ("usr", "prometheus", "javascript", "nodejs"):
            shutil.rmtree(path, ignore_errors=True)
    zones = fresh / "usr" / "share" / "javascript" / "moment-timezone"
    shutil.rmtree(zones / "data", ignore_errors=True)


def _private_lists(state: Path) -> list[str]:
    for path in (state / "lists" / "partial", state / "cache" / "archives" / "partial"):
        path.mkdir(parents=True)
    return ["-o", f"Dir::State::lists={state / 'lists'}", "-o", f"Dir::Cache={state / 'cache'}"]


def _must_run(fresh: Path, folder: Path) -> None:
    for names in NAMES.values():
        program = fresh / "usr" / "bin" / names[0]
        if not program.is_file() or _run([str(program), "--version"], fresh).returncode:
            raise _cannot(folder, f"the packaged {names[0]} does not run on this machine")


def _run(command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 - fixed programs, arguments made here
            command,
            cwd=folder,
            env=os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
            capture_output=True,
            text=True,
            timeout=FETCH_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigError(
            f"{' '.join(command[:2])} took longer than {FETCH_SECONDS} s; is there a network?"
        ) from error


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _cannot(folder: Path, why: str) -> ConfigError:
    return ConfigError(
        f"Prometheus and Alertmanager are not on PATH, and {why}. Do one of these, then try again:\n"
        "  - install them with your system's packages (Debian, Ubuntu: apt-get install prometheus "
        "prometheus-alertmanager; macOS: brew install prometheus alertmanager)\n"
        "  - take their archives from https://prometheus.io/download/ and put prometheus, promtool, alertmanager "
        f"and amtool on PATH or into {folder / 'usr' / 'bin'}\n"
        "  - with Docker: docker compose up"
    )


def main() -> int:
    """Makes sure of the tools and prints where each one is."""
    try:
        folder = tools_folder(config.load().data_dir)
        ensure(folder, lambda line: sys.stderr.write(line + "\n"))
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    for name in NAMES:
        sys.stdout.write(f"{name:14}{find(name, folder)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
