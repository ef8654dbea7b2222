"""The Alertmanager that is rendered for: its version, and how secrets get into its configuration."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from fleetpulse.errors import ConfigError
from fleetpulse.stack.alerting.versions import NEVER, Version

MAX_SECRET_BYTES = 64 * 2**10


class Hidden(str):
    """A secret in the document: written to the file, and shown as `<secret>` everywhere else."""

    __slots__ = ()


@dataclass
class Target:
    """One rendering: what is asked for, and what had to be said about it (`notes`)."""

    version: Version
    inline: bool = False
    notes: list[str] = field(default_factory=list)

    def secret(
        self, name: str, value: SecretStr | None, file: Path | None, since: Version, *, setting: str
    ) -> dict[str, str]:
        """`name` with the secret, or `name_file` with the path where the version reads it; {} without either.

        A file that this version cannot read itself is read now. Raises ConfigError when that fails.
        """
        if value is not None:
            return {name: Hidden(value.get_secret_value().strip())}
        if file is None:
            return {}
        if self.version >= since and not self.inline:
            return {f"{name}_file": str(file.absolute())}
        if not self.inline:
            reader = "no Alertmanager reads it" if since == NEVER else f"reading it takes Alertmanager {since}"
            self.note(f"{setting}: what {file} holds is written into the configuration; {reader} from a file")
        return {name: Hidden(_content(file, setting))}

    def takes(self, since: Version, what: str) -> bool:
        """Whether the version can do it; a note says so where it cannot."""
        if self.version < since:
            self.note(f"{what} takes Alertmanager {since} and is left out for {self.version}")
        return self.version >= since

    def note(self, text: str) -> None:
        """Says something once."""
        if text not in self.notes:
            self.notes.append(text)


def _content(file: Path, setting: str) -> str:
    try:
        with file.open("rb") as opened:
            text = opened.read(MAX_SECRET_BYTES + 1).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{setting}: {file} cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from error
    if not text or len(text) > MAX_SECRET_BYTES or not text.isprintable():
        raise ConfigError(f"{setting}: {file} holds no secret on one line")
    return text


def literal(text: str) -> str:
    """A text that Alertmanager would take for a template, so that it comes out as it is."""
    return text.replace("{{", '{{ "{{" }}')


def given(**settings: Any) -> dict[str, Any]:
    """The settings that are not None."""
    return {name: value for name, value in settings.items() if value is not None}
