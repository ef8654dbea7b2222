"""Services that report as the source document's guide shows, with nothing changed but the import.

`app.post` stands for a web framework's decorator. Prints what the handlers answer or raise.
"""
# ruff: noqa: T201, TRY300 - it prints what it does, and the handlers are as the document has them

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fleetpulse.client import monitor

Handler = Callable[[Any], Awaitable[Any]]


class App:
    """The part of a web framework that registers handlers."""

    def post(self, _path: str) -> Callable[[Handler], Handler]:
        """Registers nothing: the handlers are called by hand."""
        return lambda handler: handler


app = App()


class AiService:
    """Answers, or fails."""

    async def generate_response(self, message: str) -> str:
        """An answer to anything but a wish to fail."""
        if message == "fail":
            raise RuntimeError("the model is away")
        return f"You said: {message}. " * 10


ai_service = AiService()


@dataclass
class UnifiedExecuteRequest:
    """A command from another service."""

    source: str
    user_id: str
    command: str
    context_id: str | None = None


async def process_command(command: str) -> str:
    """Does it."""
    return f"done: {command}"


@app.post("/api/chat")
async def chat(request: dict[str, str]) -> dict[str, str]:
    start_time = time.time()

    try:
        response = await ai_service.generate_response(request["message"])

        execution_time = time.time() - start_time
        await monitor.log_request(
            request_id=f"req_{int(time.time() * 1000)}",
            source="web",
            user_id=request.get("user_id", "anonymous"),
            command=request["message"][:100],
            status="success",
            execution_time=execution_time,
            tokens_used=len(response) // 4,
            cost=(len(response) // 4) * 0.000002,
        )

        return {"response": response}

    except Exception:
        execution_time = time.time() - start_time
        await monitor.log_request(
            request_id=f"req_{int(time.time() * 1000)}",
            source="web",
            user_id=request.get("user_id", "anonymous"),
            command=request["message"][:100],
            status="error",
            execution_time=execution_time,
        )
        raise


@app.post("/v1/execute")
async def execute_command(request: UnifiedExecuteRequest) -> str:
    start_time = time.time()

    try:
        result = await process_command(request.command)

        execution_time = time.time() - start_time
        await monitor.log_request(
            request_id=request.context_id or f"req_{int(time.time() * 1000)}",
            source=request.source,
            user_id=request.user_id,
            command=request.command[:100],
            status="success",
            execution_time=execution_time,
        )

        return result

    except Exception:
        execution_time = time.time() - start_time
        await monitor.log_request(
            request_id=request.context_id or f"req_{int(time.time() * 1000)}",
            source=request.source,
            user_id=request.user_id,
            command=request.command[:100],
            status="error",
            execution_time=execution_time,
        )
        raise


async def main() -> None:
    """A day at the office."""
    print((await chat({"message": "你好", "user_id": "user_001"}))["response"][:12])
    await asyncio.sleep(0.01)  # the ids above are milliseconds
    try:
        await chat({"message": "fail"})
    except RuntimeError as error:
        print(error)
    print(await execute_command(UnifiedExecuteRequest("telegram", "user_002", "/status", "ctx-1")))
    await monitor.log_request(
        request_id="req_123456",
        source="web",
        user_id="user_001",
        command="ai:你好",
        status="success",
        execution_time=0.5,
        tokens_used=150,
        cost=0.0003,
    )


asyncio.run(main())
