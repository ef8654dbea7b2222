import asyncio
from collections.abc import AsyncIterator, Callable

import psutil
import pytest
from tests.receiver import Receiver

from fleetpulse.errors import UnauthenticatedError, UpstreamError
from fleetpulse.hostagent import HostAgent, Usage, read_usage
from fleetpulse.sender import Sender

DEADLINE = 30


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as one:
        yield one


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


def agent(sender: Sender, said: list[str]) -> HostAgent:
    return HostAgent(sender, "box/1", "racks", 0.02, said.append, lambda: Usage(12.5, 50.0))


async def test_heartbeats_follow_one_another_and_end_with_offline(receiver: Receiver) -> None:
    stop = asyncio.Event()
    async with Sender(receiver.url, patience=0) as sender:
        running = asyncio.create_task(agent(sender, []).run(stop))
        await until(lambda: len(receiver.beats) >= 3)
        stop.set()
        await asyncio.wait_for(running, DEADLINE)
    *online, last = receiver.beats
    assert {beat["status"] for beat in online} == {"online"}
    assert last["status"] == "offline"
    assert last | {"status": ""} == {
        "agent_id": "box/1",
        "agent_name": "box/1",
        "pool_id": "racks",
        "status": "",
        "cpu_usage": 12.5,
        "memory_usage": 50.0,
        "running_tasks": [],
    }


async def test_it_survives_an_absence_and_says_so_once(receiver: Receiver) -> None:
    stop, said = asyncio.Event(), list[str]()
    async with Sender(receiver.url, patience=0) as sender:
        one = agent(sender, said)
        running = asyncio.create_task(one.run(stop))
        await until(lambda: receiver.beats)
        await receiver.leave()
        await until(lambda: said)
        await asyncio.sleep(0.2)
        assert len(said) == 1
        seen = len(receiver.beats)
        await receiver.listen()
        await until(lambda: len(receiver.beats) > seen)
        stop.set()
        await asyncio.wait_for(running, DEADLINE)
    assert "still trying" in said[0]
    assert said[1:] == ["the exporter is back"]


async def test_a_wrong_credential_ends_it() -> None:
    async with Receiver(status=401) as receiver, Sender(receiver.url, patience=0) as sender:
        with pytest.raises(UnauthenticatedError):
            await asyncio.wait_for(agent(sender, []).run(asyncio.Event()), DEADLINE)


async def test_once_sends_one_and_fails_where_nobody_listens(receiver: Receiver) -> None:
    async with Sender(receiver.url, patience=0) as sender:
        assert await agent(sender, []).once() == Usage(12.5, 50.0)
        assert [beat["status"] for beat in receiver.beats] == ["online"]
        await receiver.leave()
        with pytest.raises(UpstreamError):
            await agent(sender, []).once()


async def test_the_readings_are_this_machines() -> None:
    read_usage()
    usage = read_usage()
    assert 0 <= usage.cpu_usage <= 100
    assert abs(usage.memory_usage - psutil.virtual_memory().percent) < 10
