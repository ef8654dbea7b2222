import io
import json
import logging

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from fleetpulse.web.logs import AccessLogger, JsonFormatter, RedactingFilter, TextFormatter, redact

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl"
KEY = "fp_0123456789abcdef_" + "5" * 64


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (f"GET /ws?token={JWT}&x=1", "GET /ws?token=[redacted]&x=1"),
        ("GET /ws?x=1&access_token=abc", "GET /ws?x=1&access_token=[redacted]"),
        ("GET /ws?TOKEN=abc HTTP/1.1", "GET /ws?TOKEN=[redacted] HTTP/1.1"),
        (f"Authorization: Bearer {KEY}", "Authorization: Bearer [redacted]"),
        (f"protocols ['bearer', '{JWT}']", "protocols ['bearer', '[redacted]']"),
        (f"saw {KEY}.", "saw [redacted]."),
        ("GET /api/requests?q=token&limit=5", "GET /api/requests?q=token&limit=5"),
        ("tokens_used=5", "tokens_used=5"),
    ],
)
def test_tokens_are_redacted_and_the_rest_is_kept(text: str, clean: str) -> None:
    assert redact(text) == clean


def test_the_filter_redacts_arguments_and_lets_every_record_through() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RedactingFilter())
    logger = logging.Logger("test")  # noqa: LOG001 - a logger of this test alone
    logger.addHandler(handler)
    logger.warning("refused %s after %d tries", JWT, 3)
    logger.warning("nothing to hide: %s", "x")
    assert stream.getvalue() == "refused [redacted] after 3 tries\nnothing to hide: x\n"


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_traces_are_redacted_too(formatter: logging.Formatter) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logger = logging.Logger("test")  # noqa: LOG001 - a logger of this test alone
    logger.addHandler(handler)
    try:
        int(KEY)
    except ValueError:
        logger.exception("failed")
    written = stream.getvalue()
    assert "[redacted]" in written
    assert KEY not in written
    if isinstance(formatter, JsonFormatter):
        assert json.loads(written)["message"] == "failed"


async def test_the_access_log_holds_no_token(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_get("/feed", handler)
    server = TestServer(app)
    with caplog.at_level(logging.INFO):
        await server.start_server(access_log_class=AccessLogger)
        async with ClientSession() as session, session.get(server.make_url(f"/feed?token={JWT}")) as response:
            assert response.status == 200
        await server.close()  # the line is written before the connection's task ends
    assert '"GET /feed?token=[redacted]" 200 ' in caplog.text
    assert JWT not in caplog.text
