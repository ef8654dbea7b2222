"""What a request cost: as reported, else computed from model and tokens, else unknown (never silently zero).

Prices are those of genai-prices' bundled data; no network is used. The library takes more than 100 microseconds
a call, most of them to find the model; so a model is looked up once, and its rates, tiers included, are kept in a
bounded cache, keyed by names that callers choose. A test holds the results to the library's own.
"""

from collections import OrderedDict
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

from genai_prices import Usage, calc_price
from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

from fleetpulse.signals import RequestLog

CACHED_MODELS = 1_024
SUCCESS = "success"
REPORTED = "reported"
COMPUTED = "computed"
MILLION = Decimal(1_000_000)
THOUSAND = Decimal(1_000)


class Cost(NamedTuple):
    """USD (None where there is none to tell) and where it comes from: reported, computed, unknown, or nothing."""

    usd: float | None
    source: str | None


UNKNOWN = Cost(None, "unknown")
NOTHING_TO_PRICE = Cost(None, None)


class Pricer:
    """Prices request logs; safe to call for every one of them."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str | None], PriceList | None] = OrderedDict()

    def cost(self, log: RequestLog) -> Cost:
        """The cost of one request."""
        if log.cost is not None:
            return Cost(log.cost, REPORTED)
        if log.total_tokens == 0 and (log.model is None or log.status != SUCCESS):
            return NOTHING_TO_PRICE  # a command without a model, or a call that failed before it used anything
        if log.model is None or (log.input_tokens is None and log.output_tokens is None):
            return UNKNOWN
        if log.total_tokens > (log.input_tokens or 0) + (log.output_tokens or 0):
            return UNKNOWN  # of the rest nobody knows whether it went in or came out
        prices = self._prices_of(log.model, log.provider)
        return UNKNOWN if prices is None else prices.cost(log)

    def _prices_of(self, model: str, provider: str | None) -> "PriceList | None":
        key = (model, provider)
        if key not in self._known:
            self._known[key] = _find(model, provider)
            if len(self._known) > CACHED_MODELS:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]


Rate = tuple[tuple[int, float], ...]  # USD each, by the input tokens above which it holds, highest first


class Rates(NamedTuple):
    """What each kind of token costs, and the call itself; None where that is not known."""

    input: Rate | None
    cached: Rate | None
    output: Rate | None
    call: Rate


class PriceList:
    """The rates of one model, at any time."""

    def __init__(self, model: ModelInfo) -> None:
        self._model = model
        every = [model.prices] if isinstance(model.prices, ModelPrice) else [each.prices for each in model.prices]
        self._rates = {id(prices): _rates(prices) for prices in every}
        self._only = self._rates[id(every[0])] if len(every) == 1 else None

    def cost(self, log: RequestLog) -> Cost:
        """What the call cost when it was made; unknown where a kind of token that was used has no price."""
        rates = self._only or self._rates_at(log.timestamp or datetime.now(UTC))
        total, cached = log.input_tokens or 0, log.cached_tokens or 0
        used = ((total - cached, rates.input), (cached, rates.cached), (log.output_tokens or 0, rates.output))
        if rates.input is None and rates.output is None:
            return UNKNOWN
        usd = _at(rates.call, total)
        for tokens, rate in used:
            if tokens:
                if rate is None:
                    return UNKNOWN
                usd += tokens * _at(rate, total)
        return Cost(usd, COMPUTED)

    def _rates_at(self, when: datetime) -> Rates:
        return self._rates[id(self._model.get_prices(when))]


def _find(model: str, provider: str | None) -> PriceList | None:
    """The prices of a model. A provider that genai-prices does not know is left out of account."""
    for name in dict.fromkeys((provider, None)):
        try:
            found = calc_price(Usage(input_tokens=1, output_tokens=1), model, provider_id=name)
        except (LookupError, ValueError):
            continue
        return PriceList(found.model)
    return None


def _rates(prices: ModelPrice) -> Rates:
    """Cached tokens without a price of their own cost what input costs."""
    cached = prices.input_mtok if prices.cache_read_mtok is None else prices.cache_read_mtok
    call = _rate(prices.requests_kcount, THOUSAND) or ((0, 0.0),)
    return Rates(_rate(prices.input_mtok), _rate(cached), _rate(prices.output_mtok), call)


def _rate(price: Decimal | TieredPrices | None, per: Decimal = MILLION) -> Rate | None:
    if isinstance(price, TieredPrices):
        tiers = [(tier.start, float(tier.price / per)) for tier in reversed(price.tiers)]
        return (*tiers, (0, float(price.base / per)))
    return None if price is None else ((0, float(price / per)),)


def _at(rate: Rate, input_tokens: int) -> float:
    """The whole call is priced at the tier that its input reaches."""
    for start, usd in rate:
        if input_tokens > start:
            return usd
    return rate[-1][1]
