"""Writes the configuration and its templates. Whoever reads the file finds the old one or the new one, whole."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from fleetpulse.errors import ConfigError
from fleetpulse.stack.alerting.amtool import Amtool
from fleetpulse.stack.alerting.document import Document


def write(document: Document, path: Path, templates: Path, amtool: Amtool | None) -> None:
    """Writes `path` (mode 0600) and the folder `templates/` beside it.

    Where there is amtool it is asked first: what it refuses leaves the old file in place. Raises ConfigError.
    """
    fresh = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _copy_templates(templates, path.parent / "templates")
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(document.text)
            file.flush()
            os.fsync(file.fileno())
        if amtool is not None:
            amtool.check(fresh)
        fresh.replace(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            fresh.unlink()


def _copy_templates(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for template in sorted(source.glob("*.tmpl")):
        if not (target / template.name).exists() or not template.samefile(target / template.name):
            shutil.copyfile(template, target / template.name)
