"""Keeps secrets out of logs: access lines without query tokens, and a filter for whatever else gets logged."""

import json
import logging
import re
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from fleetpulse.config import Settings

_SECRETS = re.compile(
    r"(?P<query>[?&;](?:token|access_token)=)[^&\s\"'#]*"  # a credential in an address
    r"|(?P<scheme>\bBearer\s+)[^\s\"',]+"
    r"|\beyJ[\w-]+\.[\w-]*\.[\w-]*"  # a JSON Web Token anywhere
    r"|\bfp_[0-9a-f]{16}_\w*",  # an app key with its secret
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """The text without tokens: those in query strings, after `Bearer`, and anything shaped like one."""
    return _SECRETS.sub(lambda found: (found["query"] or found["scheme"] or "") + "[redacted]", text)


class RedactingFilter(logging.Filter):
    """Redacts each record's message; put it on handlers, so that every logger's records pass it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always lets the record through, redacted."""
        message = record.getMessage()
        clean = redact(message)
        if clean != message:
            record.msg, record.args = clean, None
        return True


class AccessLogger(AbstractAccessLogger):
    """One line a request: who, what, status, bytes, seconds; query tokens redacted."""

    @property
    def enabled(self) -> bool:
        """Whether lines are written at all; aiohttp asks before it measures."""
        return self.logger.isEnabledFor(logging.INFO)

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Called by aiohttp after each answer; `time` in seconds."""
        self.logger.info(
            '%s "%s %s" %d %d %.4fs',
            request.remote,
            request.method,
            redact(request.path_qs),
            response.status,
            response.body_length,
            time,
        )


class TextFormatter(logging.Formatter):
    """A line of text, and the exception's trace if any, redacted: the filter sees messages only."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - named by the logging package
        """Called by the logging package."""
        return redact(super().formatException(ei))


class JsonFormatter(TextFormatter):
    """One JSON object per record: time (Unix seconds), level, logger, message, and the exception if any."""

    def format(self, record: logging.LogRecord) -> str:
        """Called by the logging package."""
        shown: dict[str, object] = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            shown["exception"] = self.formatException(record.exc_info)
        return json.dumps(shown, ensure_ascii=False)


def configure_logging(settings: Settings) -> None:
    """Sends redacted records to standard error, in the configured form."""
    handler = logging.StreamHandler()
    handler.addFilter(RedactingFilter())
    text = TextFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else text)
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
