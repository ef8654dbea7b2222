"""What a request cost: as reported, else computed from model and tokens, else unknown (never silently zero).

Prices are those of genai-prices' bundled data; no network is used. A model's rates are looked up once and kept in
a bounded cache, keyed by names that callers choose; plain rates (no tiers, no conditions) are then one
multiplication a request instead of a look-up of 100 microseconds.
"""

from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import NamedTuple

from genai_prices import Usage, calc_price
from genai_prices.types import ModelPrice

from fleetpulse.signals import RequestLog

CACHED_MODELS = 1_024
SUCCESS = "success"
REPORTED = "reported"
COMPUTED = "computed"
MILLION = Decimal(1_000_000)


class Cost(NamedTuple):
    """USD (None where there is none to tell) and where it comes from: reported, computed, unknown, or nothing."""

    usd: float | None
    source: str | None


UNKNOWN = Cost(None, "unknown")
NOTHING_TO_PRICE = Cost(None, None)


PriceOf = Callable[[RequestLog], Cost]


class Pricer:
    """Prices request logs; safe to call for every one of them."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str | None], PriceOf] = OrderedDict()

    def cost(self, log: RequestLog) -> Cost:
        """The cost of one request."""
        if log.cost is not None:
            return Cost(log.cost, REPORTED)
        if log.total_tokens == 0 and (log.model is None or log.status != SUCCESS):
            return NOTHING_TO_PRICE  # a command without a model, or a call that failed before it used anything
        if log.model is None or (log.input_tokens is None and log.output_tokens is None):
            return UNKNOWN
        return self._price_of(log.model, log.provider)(log)

    def _price_of(self, model: str, provider: str | None) -> PriceOf:
        key = (model, provider)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = _find(model, provider)
            if len(self._known) > CACHED_MODELS:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return found


def _find(model: str, provider: str | None) -> PriceOf:
    """How this model is priced. A provider that genai-prices does not know is left out of account."""
    for name in dict.fromkeys((provider, None)):
        try:
            prices = calc_price(Usage(input_tokens=1, output_tokens=1), model, provider_id=name).model.prices
        except (LookupError, ValueError):
            continue
        if not isinstance(prices, ModelPrice):
            return partial(_by_library, name)
        return _plain(prices) or (partial(_by_library, name) if _complete(prices) else _unknown)
    return _unknown


def _complete(prices: ModelPrice) -> bool:
    """Whether tokens have a price at all: the library takes a missing one for zero."""
    return prices.input_mtok is not None and prices.output_mtok is not None


def _plain(prices: ModelPrice) -> PriceOf | None:
    """Pricing by plain rates per token, where all of them are plain numbers."""
    cache_read = prices.input_mtok if prices.cache_read_mtok is None else prices.cache_read_mtok
    rates = (prices.input_mtok, cache_read, prices.output_mtok)
    usd = [float(rate / MILLION) for rate in rates if isinstance(rate, Decimal)]
    if len(usd) < len(rates):
        return None
    per_input, per_cached, per_output = usd

    def price(log: RequestLog) -> Cost:
        cached = log.cached_tokens or 0
        fresh = (log.input_tokens or 0) - cached
        return Cost(fresh * per_input + cached * per_cached + (log.output_tokens or 0) * per_output, COMPUTED)

    return price


def _unknown(log: RequestLog) -> Cost:  # noqa: ARG001 - one signature for every way of pricing
    return UNKNOWN


def _by_library(provider: str | None, log: RequestLog) -> Cost:
    """Pricing with tiers or conditions, at the time of the request."""
    usage = Usage(
        input_tokens=log.input_tokens, output_tokens=log.output_tokens, cache_read_tokens=log.cached_tokens
    )
    try:
        price = calc_price(
            usage,
            log.model or "",
            provider_id=provider,
            genai_request_timestamp=log.timestamp or datetime.now(UTC),
        )
    except (LookupError, ValueError):
        return UNKNOWN
    return Cost(float(price.total_price), COMPUTED) if _complete(price.model_price) else UNKNOWN
