"""The demo: made-up request logs, a made-up fleet and group accounts, sent through the API like anyone else's.

Owns what the made-up traffic looks like: four sources, AI and system commands, some failures, tokens and cost as
the models would charge; one model is the team's own and has no price. Ids are new in every run, so a demo never
counts as a duplicate of an earlier one.
"""

import random
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

SOURCES = {"telegram": 40, "web": 30, "discord": 20, "wechat": 10}
USERS = 12
TASK_TYPES = ("plan", "code", "review", "search")


@dataclass(frozen=True)
class Model:
    """A model the demo's bots use; prices in USD per million tokens, None where nobody knows them."""

    name: str
    provider: str
    weight: int
    prices: tuple[float, float, float] | None  # of input, cached input, output


MODELS = (
    Model("gpt-4o-mini", "openai", 45, (0.15, 0.075, 0.60)),
    Model("gpt-4o", "openai", 25, (2.50, 1.25, 10.0)),
    Model("claude-sonnet-4-5", "anthropic", 20, (3.0, 0.30, 15.0)),
    Model("deepseek-chat", "deepseek", 10, (0.28, 0.028, 0.42)),
    Model("house-llm-70b", "self-hosted", 12, None),
)
AI_COMMANDS = ("/ask", "/translate", "/summarize", "/draw", "/code", "帮我写一份周报", "翻译这段话")
SYSTEM_COMMANDS = ("/status", "/help", "/screenshot", "/restart", "查看系统状态")
FAILURES = {
    "error": ("upstream returned 500", "context length exceeded", "tool call failed: 连接被拒绝"),
    "timeout": ("no answer in 30 s",),
    "rate_limited": ("quota exceeded, retry later",),
}


ACCOUNTS = {"group-anna": "Anna", "group-ben": "Ben", "group-xiaomei": "小美", "group-night": "Night shift"}
ACCOUNT_FAILURES = ("flood wait of 30 s", "the session has expired", "消息发送失败")


class Traffic:
    """An endless supply of made-up request logs; `rng` decides their content."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._run = uuid.uuid4().hex[:10]
        self._made = 0

    def request(self) -> dict[str, Any]:
        """One request log that happened just now."""
        self._made += 1
        rng = self._rng
        user = min(int(rng.expovariate(0.4)), USERS - 1) + 1
        common = {
            "request_id": f"demo-{self._run}-{self._made}",
            "source": rng.choices(tuple(SOURCES), tuple(SOURCES.values()))[0],
            "user_id": f"user-{user}",
            "session_id": f"{self._run}-{user}",
            "timestamp": datetime.now(UTC).isoformat(),
        }
        return common | (self._ai() if rng.random() < 0.8 else self._system())  # noqa: PLR2004 - 4 of 5 are AI

    def requests(self, count: int) -> list[dict[str, Any]]:
        """`count` of them."""
        return [self.request() for _ in range(count)]

    def _ai(self) -> dict[str, Any]:
        rng = self._rng
        model = rng.choices(MODELS, [one.weight for one in MODELS])[0]
        tokens_in = int(rng.lognormvariate(6.3, 0.9)) + 1
        cached = int(tokens_in * rng.choice((0.0, 0.0, 0.5, 0.8)))
        failure = self._failure()
        tokens_out = 0 if failure else int(rng.lognormvariate(5.2, 0.7)) + 1
        return {
            "command": rng.choice(AI_COMMANDS),
            "model": model.name,
            "provider": model.provider,
            "input_tokens": tokens_in,
            "cached_tokens": cached,
            "output_tokens": tokens_out,
            "tokens_used": tokens_in + tokens_out,
            "cost": _cost(model, (tokens_in - cached, cached, tokens_out)),
            "execution_time": round(min(rng.lognormvariate(0.3, 0.7), 60.0), 3),
            "status": "success",
        } | failure

    def _system(self) -> dict[str, Any]:
        rng = self._rng
        return {
            "command": rng.choice(SYSTEM_COMMANDS),
            "tokens_used": 0,
            "cost": 0.0,
            "execution_time": round(rng.uniform(0.02, 0.6), 3),
            "status": "success",
        } | self._failure()

    def _failure(self) -> dict[str, Any]:
        """What marks a failed request; empty for most."""
        if self._rng.random() >= 0.08:  # noqa: PLR2004 - 8 % fail, under the alert's 10 %
            return {}
        status = self._rng.choice(tuple(FAILURES))
        return {"status": status, "error": self._rng.choice(FAILURES[status])}


@dataclass
class Agent:
    """A made-up agent whose load wanders."""

    agent_id: str
    agent_name: str
    pool_id: str
    cpu: float
    memory: float
    tasks: list[dict[str, Any]] = field(default_factory=list)


class Fleet:
    """Seven agents in two pools; each call of `heartbeats` moves them one step on."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._next_task = 1
        self._agents = [
            Agent(f"{pool}-{number}", f"{pool} {number}", pool, rng.uniform(*load), rng.uniform(30, 60))
            for pool, size, load in (("coding", 4, (35, 80)), ("support", 3, (10, 40)))
            for number in range(1, size + 1)
        ]

    def heartbeats(self) -> list[dict[str, Any]]:
        """One heartbeat of every agent, each naming its agent and pool."""
        return [self._beat(agent) for agent in self._agents]

    def goodbyes(self) -> list[dict[str, Any]]:
        """Every agent's last heartbeat: offline."""
        return [self._beat(agent) | {"status": "offline", "running_tasks": []} for agent in self._agents]

    def _beat(self, agent: Agent) -> dict[str, Any]:
        agent.cpu = _wander(self._rng, agent.cpu, 8.0)
        agent.memory = _wander(self._rng, agent.memory, 3.0)
        self._work(agent)
        return {
            "agent_id": agent.agent_id,
            "agent_name": agent.agent_name,
            "pool_id": agent.pool_id,
            "status": "busy" if agent.tasks else "idle",
            "cpu_usage": round(agent.cpu, 1),
            "memory_usage": round(agent.memory, 1),
            "running_tasks": list(agent.tasks),
        }

    def _work(self, agent: Agent) -> None:
        """Finishes a task now and then, and takes on another."""
        if agent.tasks and self._rng.random() < 0.4:  # noqa: PLR2004 - a task lasts some heartbeats
            agent.tasks.pop(0)
        if len(agent.tasks) < 3 and self._rng.random() < 0.6:  # noqa: PLR2004 - up to three at once
            agent.tasks.append(self._task())

    def _task(self) -> dict[str, Any]:
        self._next_task += 1
        return {
            "task_id": self._next_task,
            "task_type": self._rng.choice(TASK_TYPES),
            "workspace_id": f"ws-{self._rng.randrange(1, 9)}",
            "started_at": datetime.now(UTC).isoformat(),
        }


class Accounts:
    """Four group accounts that chat; each call of `activities` is what they did meanwhile."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def activities(self) -> list[dict[str, Any]]:
        """What each did: messages, some of them answered, now and then a red packet or an error."""
        return [activity for account_id in ACCOUNTS for activity in self._of(account_id)]

    def goodbyes(self) -> list[dict[str, Any]]:
        """Every account goes offline."""
        return [self._told(account_id, "status", online=False) for account_id in ACCOUNTS]

    def _of(self, account_id: str) -> list[dict[str, Any]]:
        rng = self._rng
        did = [self._told(account_id, "message", count=rng.randint(2, 9), account_name=ACCOUNTS[account_id])]
        replies = rng.randint(1, did[0]["count"])
        did.append(
            self._told(account_id, "reply", count=replies, reply_time=round(rng.lognormvariate(0.4, 0.6), 3))
        )
        if rng.random() < 0.15:  # noqa: PLR2004 - now and then
            did.append(self._told(account_id, "redpacket"))
        if rng.random() < 0.2:  # noqa: PLR2004 - few enough to raise no alert
            did.append(self._told(account_id, "error", text=rng.choice(ACCOUNT_FAILURES)))
        return did

    def _told(self, account_id: str, kind: str, **fields: Any) -> dict[str, Any]:
        return {"account_id": account_id, "kind": kind, "activity_id": f"demo-{uuid.uuid4().hex}", **fields}


def _cost(model: Model, tokens: tuple[int, int, int]) -> float | None:
    """USD for tokens of input, cached input and output."""
    if model.prices is None:
        return None
    return round(sum(count * price for count, price in zip(tokens, model.prices, strict=True)) / 1e6, 8)


def _wander(rng: random.Random, value: float, step: float) -> float:
    """A random step that stays within 2 and 98 percent."""
    return min(98.0, max(2.0, value + rng.uniform(-step, step)))
