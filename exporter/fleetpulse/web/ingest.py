"""What programs report: request logs and heartbeats. Answers 202 once a durable item is committed."""

import dataclasses

from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from fleetpulse.auth import Role
from fleetpulse.config import Limits
from fleetpulse.errors import FleetpulseError, InvalidInputError, OverloadedError
from fleetpulse.pipeline import Pipeline
from fleetpulse.signals import AgentHeartbeat, Heartbeat, Label, RequestLog
from fleetpulse.web.answers import Acknowledgement, Kept, Taken
from fleetpulse.web.body import Decoder, Items, Rejection, read_body
from fleetpulse.web.guard import principal_of, requires
from fleetpulse.web.operations import JSON, NDJSON, operation
from fleetpulse.web.problems import validation_errors

AGENT_ID: TypeAdapter[str] = TypeAdapter(Label)
MANY = (JSON, NDJSON)
REQUEST_LOG = {
    "request_id": "r-1",
    "source": "telegram",
    "user_id": "42",
    "command": "/ask",
    "status": "success",
    "execution_time": 1.4,
    "model": "gpt-4o",
    "input_tokens": 1200,
    "output_tokens": 300,
}
HEARTBEAT = {
    "status": "busy",
    "cpu_usage": 45.5,
    "memory_usage": 62.3,
    "running_tasks": [{"task_id": 123, "task_type": "plan", "workspace_id": "ws-1"}],
}


class IngestEndpoints:
    """CONTRACT A and B, the writing half."""

    def __init__(self, pipeline: Pipeline, limits: Limits) -> None:
        self._pipeline = pipeline
        self._limits = limits
        self._requests = Decoder(RequestLog, limits.batch_items)
        self._heartbeat = Decoder(Heartbeat, 1)
        self._heartbeats = Decoder(AgentHeartbeat, limits.batch_items)

    def routes(self) -> list[web.RouteDef]:
        """Where the handlers live."""
        return [
            web.post("/api/log-request", self.log_request),
            web.post("/api/v1/agents/ping", self.ping_many),
            web.post("/api/v1/agents/{agent_id}/ping", self.ping),
        ]

    @requires(Role.REPORTER)
    @operation(
        "Sending",
        answer=Kept,
        status=202,
        body=RequestLog | list[RequestLog],
        body_media=MANY,
        examples={"One request": REQUEST_LOG, "Many": [REQUEST_LOG, {**REQUEST_LOG, "request_id": "r-2"}]},
    )
    async def log_request(self, request: web.Request) -> web.Response:
        """Stores request logs: one object, an array, or NDJSON.

        The answer comes once every accepted one is on disk. An item that breaks the contract never rejects its
        batch: it is listed under `rejected`. A `request_id` that is stored already is a duplicate and changes
        nothing.
        """
        try:
            body = await read_body(request, self._limits)
            items = self._requests.decode(body, request.content_type)
        except InvalidInputError:
            self._pipeline.count("request", "rejected", 1)
            raise
        if items.rejected:
            self._pipeline.count("request", "rejected", len(items.rejected))
        receipt = await self._pipeline.requests(items.good) if items.good else None
        return Acknowledgement(
            {
                "accepted": receipt.stored if receipt else 0,
                "duplicates": receipt.duplicates if receipt else 0,
                "rejected": _rejected(items),
            }
        )

    @requires(Role.REPORTER)
    @operation(
        "Sending",
        answer=Taken,
        status=202,
        path={"agent_id": Label},
        body=Heartbeat,
        examples={"A busy agent": HEARTBEAT, "Goodbye": {"status": "offline", "cpu_usage": 0, "memory_usage": 0}},
    )
    async def ping(self, request: web.Request) -> web.Response:
        """Takes one agent's heartbeat.

        It is state: the newest counts. An agent without one for five minutes is offline.
        """
        try:
            agent_id = _agent_id(request.match_info["agent_id"])
            heartbeat = self._heartbeat.one(await read_body(request, self._limits))
        except InvalidInputError:
            self._pipeline.count("heartbeat", "rejected", 1)
            raise
        self._pipeline.heartbeat(agent_id, heartbeat, principal_of(request).pool_id)
        return Acknowledgement({"accepted": 1})

    @requires(Role.REPORTER)
    @operation(
        "Sending",
        answer=Taken,
        status=202,
        body=AgentHeartbeat | list[AgentHeartbeat],
        body_media=MANY,
        examples={"Two agents": [{"agent_id": name, **HEARTBEAT} for name in ("agent-1", "agent-2")]},
    )
    async def ping_many(self, request: web.Request) -> web.Response:
        """Takes many agents' heartbeats; each names its agent."""
        try:
            items = self._heartbeats.decode(await read_body(request, self._limits), request.content_type)
        except InvalidInputError:
            self._pipeline.count("heartbeat", "rejected", 1)
            raise
        self._pipeline.count("heartbeat", "rejected", len(items.rejected))
        refused = self._pipeline.heartbeats(items.good, principal_of(request).pool_id)
        rejected = _rejected(items) + _refused(items, refused)
        if items.good and all(refused):
            raise OverloadedError(
                "no heartbeat was taken: limits.agents or limits.pools is reached", retry_after=60
            )
        return Acknowledgement({"accepted": refused.count(None), "rejected": rejected})


def _agent_id(text: str) -> str:
    try:
        return AGENT_ID.validate_python(text)
    except ValidationError as error:
        raise InvalidInputError("the agent_id breaks the contract", validation_errors(error)) from error


def _rejected(items: Items[RequestLog] | Items[AgentHeartbeat]) -> list[dict[str, object]]:
    return [dataclasses.asdict(rejection) for rejection in items.rejected]


def _refused(items: Items[AgentHeartbeat], refused: list[FleetpulseError | None]) -> list[dict[str, object]]:
    """Refused heartbeats by their place in the request, which the rejected ones have shifted."""
    bad = {rejection.index for rejection in items.rejected}
    places = (index for index in range(len(items.good) + len(bad)) if index not in bad)
    return [
        dataclasses.asdict(Rejection(place, [{"loc": ["agent_id"], "msg": error.detail}]))
        for place, error in zip(places, refused, strict=False)
        if error is not None
    ]
