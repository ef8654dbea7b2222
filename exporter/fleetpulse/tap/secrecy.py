"""What a stream's settings keep secret: read from files when it is needed, and struck out of what people see."""

import base64
import json
import re
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from fleetpulse.config.tap import Message, Source
from fleetpulse.errors import ConfigError

STARS = "***"
MIN_CHARACTERS = 4  # shorter ones would strike out half of any text
MAX_KNOWN = 200  # files may hold another token every hour; the oldest is forgotten
_SECRET_QUERY = re.compile(r"token|key|secret|pass|auth|sig|jwt|code|ticket|session|sid", re.IGNORECASE)
_NAME = re.compile(r"\$\{([^{}$]{1,100})\}")


class Secrecy:
    """The secrets of one stream. Reading blocks: call it on a thread."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._known: dict[str, None] = {}
        query = parse_qsl(urlsplit(source.url).query)
        self._add(*(value for name, value in query if _SECRET_QUERY.search(name)))
        if source.proxy:
            self._add(unquote(urlsplit(source.proxy).password or ""))

    def headers(self) -> dict[str, str]:
        """The handshake's headers, those of files as they are now. Raises OSError, UnicodeDecodeError."""
        made = {name: value.get_secret_value() for name, value in self._source.headers.items()}
        made |= {name: _line(path) for name, path in self._source.header_files.items()}
        for value in made.values():
            self._add(value, value.rpartition(" ")[2])
        return made

    def content(self, message: Message) -> bytes:
        """What to send, with `${NAME}` filled in. Raises ConfigError for a name that is unknown; OSError."""
        if message.file is None:
            assert message.text is not None  # noqa: S101 - the settings have either
            return self._filled(message.text.get_secret_value()).encode()
        data = message.file.read_bytes()
        return data if message.binary else self._filled(data.decode()).encode()

    def hide(self, text: str) -> str:
        """A text of the server or of a library, without the secrets that are known by now."""
        for value in sorted(self._known, key=len, reverse=True):
            text = text.replace(value, STARS)
        return text

    def _filled(self, text: str) -> str:
        """A text with its secrets; in a JSON text they are written as JSON has them within quotes."""
        fit = _within_quotes if _is_json(text) else str
        return _NAME.sub(lambda found: fit(self._value(found[1])), text)

    def _value(self, name: str) -> str:
        path = self._source.secrets.get(name)
        if path is None:
            raise ConfigError(
                f"stream {self._source.name}: a message mentions ${{{name}}}, which is no secret of it"
            )
        value = _line(path)
        self._add(value)
        return value

    def _add(self, *values: str) -> None:
        for value in values:
            if len(value) >= MIN_CHARACTERS:
                self._known |= {value: None, base64.b64encode(value.encode()).decode(): None}
        while len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _within_quotes(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)[1:-1]


def _line(path: Path) -> str:
    return path.read_text("utf-8").strip()
