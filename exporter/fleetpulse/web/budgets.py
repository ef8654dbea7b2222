"""Budgets as they are now."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Literal

from aiohttp import web
from typing_extensions import TypedDict

from fleetpulse.auth import Role
from fleetpulse.budgets import Budgets, State, state
from fleetpulse.config import Budget, Scope
from fleetpulse.series.store import SeriesStore
from fleetpulse.spending import Forecasts, usage
from fleetpulse.web.answers import Paged, json_answer, page
from fleetpulse.web.guard import requires
from fleetpulse.web.operations import operation


class BudgetNow(TypedDict):
    """A budget in its current period. While `unpriced_requests` are there, `spent_usd` is a lower bound.

    `forecast_usd` is null where nothing is known of the pace.
    """

    budget: str
    scope: Scope
    target: str
    period: Literal["day", "week", "month"]
    period_start: datetime
    period_end: datetime
    limit_usd: float
    spent_usd: float
    left_usd: float
    used_ratio: float
    forecast_usd: float | None
    unpriced_requests: int
    state: State


class BudgetsNow(TypedDict):
    """Budgets by name."""

    budgets: list[BudgetNow]
    next_cursor: str | None


class BudgetEndpoints:
    """What is spent of each budget."""

    def __init__(
        self,
        budgets: Budgets,
        store: SeriesStore,
        forecasts: Forecasts,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._budgets = budgets
        self._store = store
        self._forecasts = forecasts
        self._clock = clock
        self._sorted = sorted(budgets.budgets, key=lambda budget: budget.name)

    def routes(self) -> list[web.RouteDef]:
        """Where the handler lives."""
        return [web.get("/api/budgets", self.budgets)]

    @requires(Role.VIEWER)
    @operation("Money", answer=BudgetsNow, query=Paged)
    async def budgets(self, request: web.Request) -> web.Response:
        """Every budget in its current period, by name.

        Of several replicas, each answers for what it was sent itself; Prometheus adds them up.
        """
        shown, cursor = page(request, self._sorted, lambda budget: budget.name)
        now = self._clock()
        return json_answer({"budgets": [await self._now(budget, now) for budget in shown], "next_cursor": cursor})

    async def _now(self, budget: Budget, now: float) -> BudgetNow:
        used = usage(self._store, self._budgets, budget, now)
        period = self._budgets.period(budget, now)
        return {
            "budget": budget.name,
            "scope": budget.scope,
            "target": budget.target,
            "period": budget.period,
            "period_start": period.start,
            "period_end": period.end,
            "limit_usd": budget.limit_usd,
            "spent_usd": used.spent,
            "left_usd": max(0.0, budget.limit_usd - used.spent),
            "used_ratio": used.spent / budget.limit_usd,
            "forecast_usd": await self._forecasts.forecast(budget, used.spent, now),
            "unpriced_requests": used.unpriced,
            "state": state(budget, used),
        }
