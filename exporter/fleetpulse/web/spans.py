"""The exporter's own spans: one for each HTTP request it answers, by OpenTelemetry's conventions for HTTP servers.

Left out are scrapes and health checks, of which there are many that say nothing; OTLP calls, since a collector that
sends to us what we send to it would go on for ever; and WebSockets, which last for hours. The query string is left
out too, since it may hold a token. A caller's `traceparent` (W3C Trace Context) makes its span the parent of ours.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import hdrs, web
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
UNTOLD = ("/metrics", "/health", "/-/", "/v1/")


class _Headers(Getter[web.Request]):
    def get(self, carrier: web.Request, key: str) -> list[str] | None:
        return carrier.headers.getall(key, None)

    def keys(self, carrier: web.Request) -> list[str]:
        return list(carrier.headers)


class RequestSpans:
    """Puts a span around handlers."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._parents = TraceContextTextMapPropagator()
        self._headers = _Headers()

    def around(self, path: str | None, handler: Handler) -> Handler:
        """The handler of a route with a span around it; `path` is the route's, None for addresses that are none."""
        if path is not None and path.startswith(UNTOLD):
            return handler

        async def traced(request: web.Request) -> web.StreamResponse:
            if "Upgrade" in request.headers:
                return await handler(request)
            span = self._started(request, path)
            try:
                response = await handler(request)
                _answered(span, response.status)
            except web.HTTPException as redirect:
                _answered(span, redirect.status)
                raise
            finally:
                span.end()
            return response

        return traced

    def _started(self, request: web.Request, path: str | None) -> Span:
        method = request.method if request.method in hdrs.METH_ALL else None
        return self._tracer.start_span(
            f"{method or 'HTTP'} {path or ''}".rstrip(),
            self._parents.extract(request, getter=self._headers),
            SpanKind.SERVER,
            {
                "http.request.method": method or "_OTHER",
                "url.scheme": request.scheme,
                "url.path": request.path,
                **({"http.route": path} if path else {}),
                **({"client.address": request.remote} if request.remote else {}),
                **({"user_agent.original": agent} if (agent := request.headers.get("User-Agent")) else {}),
            },
        )


def _answered(span: Span, status: int) -> None:
    span.set_attribute("http.response.status_code", status)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        span.set_attribute("error.type", str(status))
        span.set_status(Status(StatusCode.ERROR))
