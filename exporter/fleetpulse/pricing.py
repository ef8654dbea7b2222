"""What a request cost: as reported, else computed from model and tokens, else unknown (never silently zero).

A model's price is looked for among those of the configuration, then among those given at run time, then in
genai-prices' bundled data; no network is used. That library takes more than 100 microseconds a call, most of them
to find the model; so a model is looked up once, and its rates, tiers included, are kept in a bounded cache, keyed
by names that callers choose. A test holds the results to the library's own.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from typing import Literal, NamedTuple, Protocol, TypedDict

from genai_prices import Usage, calc_price
from genai_prices.types import ModelInfo, TieredPrices
from genai_prices.types import ModelPrice as LibraryPrice

from fleetpulse.config import LocalPrice, ModelPrice

CACHED_MODELS = 1_024
SUCCESS = "success"
REPORTED = "reported"
COMPUTED = "computed"
MILLION = Decimal(1_000_000)
THOUSAND = Decimal(1_000)
Origin = Literal["configured", "given", "genai-prices"]
BUNDLED: Origin = "genai-prices"


class Priceable(Protocol):
    """A request, as far as its cost is concerned. `input_tokens` include `cached_tokens`."""

    @property
    def cost(self) -> float | None:
        """USD, where the reporter said so."""

    @property
    def total_tokens(self) -> int:
        """All tokens, whether they are said to have gone in or come out, or not."""

    @property
    def model(self) -> str | None:
        """As reported."""

    @property
    def provider(self) -> str | None:
        """As reported."""

    @property
    def status(self) -> str:
        """As reported."""

    @property
    def input_tokens(self) -> int | None:
        """What went in, cached tokens among it."""

    @property
    def output_tokens(self) -> int | None:
        """What came out."""

    @property
    def cached_tokens(self) -> int | None:
        """Input that was read from a cache."""

    @property
    def timestamp(self) -> datetime | None:
        """When it was made; None is now."""


class Cost(NamedTuple):
    """USD (None where there is none to tell) and where it comes from: reported, computed, unknown, or nothing."""

    usd: float | None
    source: str | None


class Described(TypedDict, total=False):
    """A price in words that last: where it comes from, and what it says."""

    origin: Origin
    version: str
    model: str
    provider: str
    input_usd_per_million: float
    output_usd_per_million: float
    cached_usd_per_million: float
    request_usd: float
    valid_from: str


UNKNOWN = Cost(None, "unknown")
NOTHING_TO_PRICE = Cost(None, None)


class Pricer:
    """Prices request logs; safe to call for every one of them, from one thread."""

    def __init__(self, configured: Sequence[LocalPrice] = ()) -> None:
        self.configured = tuple(sorted(configured, key=_rank))
        self.given: tuple[ModelPrice, ...] = ()
        self._known: OrderedDict[tuple[str, str | None], tuple[Tariff, ...]] = OrderedDict()

    def give(self, prices: Iterable[ModelPrice]) -> None:
        """Takes these as the prices given at run time, in place of those before. They are in force at once."""
        self.given = tuple(sorted(prices, key=_rank))
        self._known.clear()

    def cost(self, request: Priceable) -> Cost:
        """The cost of one request."""
        if request.cost is not None:
            return Cost(request.cost, REPORTED)
        if request.total_tokens == 0 and (request.model is None or request.status != SUCCESS):
            return NOTHING_TO_PRICE  # a command without a model, or a call that failed before it used anything
        if request.model is None:
            return UNKNOWN
        for tariff in self._tariffs(request.model, request.provider):
            if tariff.holds(request):
                return tariff.cost(request)
        return UNKNOWN

    def tariff(self, request: Priceable) -> "Tariff | None":
        """The price that a request falls under, which may not cover what it used; None where there is none."""
        if request.model is None:
            return None
        for tariff in self._tariffs(request.model, request.provider):
            if tariff.holds(request):
                return tariff
        return None

    def knows(self, model: str, provider: str | None) -> bool:
        """Whether there is a price for some requests to a model."""
        return bool(self._tariffs(model, provider))

    def configured_for(self, price: ModelPrice) -> LocalPrice | None:
        """The configured price that leaves this one no request to be used for, if any."""
        return next(
            (
                each
                for each in self.configured
                if each.valid_from is None and _fits(each, price.model, price.provider)
            ),
            None,
        )

    def _tariffs(self, model: str, provider: str | None) -> tuple["Tariff", ...]:
        key = (model, provider)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = tuple(self._look_up(model, provider))
            if len(self._known) > CACHED_MODELS:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return known

    def _look_up(self, model: str, provider: str | None) -> "Iterator[Tariff]":
        """The prices that may be a model's, the first that holds decides."""
        for configured in self.configured:
            if _fits(configured, model, provider):
                yield LocalTariff(configured, "configured", configured.valid_from)
                if configured.valid_from is None:
                    return
        for given in self.given:
            if _fits(given, model, provider):
                yield LocalTariff(given, "given", None)
                return
        bundled = _find(model, provider)
        if bundled is not None:
            yield bundled


def matches(pattern: str, model: str) -> bool:
    """Whether a model is the one of a price, where `*` stands for any text. Linear, whatever the pattern."""
    head, *parts = pattern.split("*")
    if not parts:
        return model == pattern
    *middle, tail = parts
    if not model.startswith(head) or not model.endswith(tail) or len(model) < len(head) + len(tail):
        return False
    at, end = len(head), len(model) - len(tail)
    for part in middle:
        found = model.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def _fits(price: ModelPrice, model: str, provider: str | None) -> bool:
    return price.provider in (None, provider) and matches(price.model, model)


def _rank(price: ModelPrice) -> tuple[bool, int, bool, float]:
    since = price.valid_from if isinstance(price, LocalPrice) else None
    return "*" in price.model, -len(price.model), price.provider is None, -(since.timestamp() if since else 0.0)


# Prices -------------------------------------------------------------------------------------------------------
Rate = tuple[tuple[int, float], ...]  # USD each, by the input tokens above which it holds, highest first
FREE: Rate = ((0, 0.0),)


class Rates(NamedTuple):
    """What each kind of token costs, and the call itself; None where that is not known."""

    input: Rate | None
    cached: Rate | None
    output: Rate | None
    call: Rate

    @property
    def uniform(self) -> bool:
        """Whether it does not matter which kind a token is of."""
        return self.input == self.output == self.cached and self.input is not None and len(self.input) == 1


class Tariff(Protocol):
    """A price of a model."""

    def holds(self, request: Priceable) -> bool:
        """Whether it was valid when the request was made."""

    def cost(self, request: Priceable) -> Cost:
        """What the request cost by it; unknown where a kind of token that was used has no price."""

    def described(self) -> Described:
        """What it says."""


class LocalTariff:
    """A price of one's own."""

    def __init__(self, price: ModelPrice, origin: Origin, since: datetime | None) -> None:
        self._price = price
        self._origin = origin
        self._since = since
        self._rates = _local_rates(price)

    def holds(self, request: Priceable) -> bool:
        """From its first moment on."""
        return self._since is None or (request.timestamp or datetime.now(UTC)) >= self._since

    def cost(self, request: Priceable) -> Cost:
        """By its rates."""
        return _cost(self._rates, request)

    def described(self) -> Described:
        """As it was set."""
        said: Described = {"origin": self._origin}
        said.update(self._price.model_dump(exclude_none=True, mode="json"))  # type: ignore[typeddict-item]  # its names are the model's
        return said


class BundledTariff:
    """The rates of one model in genai-prices, at any time."""

    def __init__(self, model: ModelInfo) -> None:
        self._model = model
        every = [model.prices] if isinstance(model.prices, LibraryPrice) else [each.prices for each in model.prices]
        self._rates = {id(prices): _rates(prices) for prices in every}
        self._only = self._rates[id(every[0])] if len(every) == 1 else None

    def holds(self, request: Priceable) -> bool:
        """It has rates for any time."""
        del request
        return True

    def cost(self, request: Priceable) -> Cost:
        """By the rates of when the request was made."""
        return _cost(self._only or self._rates_at(request.timestamp or datetime.now(UTC)), request)

    def described(self) -> Described:
        """Which list, and which entry of it."""
        return {"origin": BUNDLED, "version": _bundled_version(), "model": self._model.id}

    def _rates_at(self, when: datetime) -> Rates:
        return self._rates[id(self._model.get_prices(when))]


@cache
def _bundled_version() -> str:
    return version(BUNDLED)


def _cost(rates: Rates, request: Priceable) -> Cost:
    into, out = request.input_tokens, request.output_tokens
    total, outputs, cached = into or 0, out or 0, request.cached_tokens or 0
    unsplit = request.total_tokens - total - outputs  # nobody knows whether these went in or came out
    if (unsplit or into is out is None) and not rates.uniform:
        return UNKNOWN
    if into is out is None and not unsplit and rates.input != FREE:
        return UNKNOWN  # a call that worked used some
    if rates.input is None and rates.output is None:
        return UNKNOWN
    usd = _at(rates.call, total)
    used = ((total - cached + unsplit, rates.input), (cached, rates.cached), (outputs, rates.output))
    for tokens, rate in used:
        if tokens:
            if rate is None:
                return UNKNOWN
            usd += tokens * _at(rate, total)
    return Cost(usd, COMPUTED)


def _local_rates(price: ModelPrice) -> Rates:
    into, out = price.input_usd_per_million, price.output_usd_per_million
    call = _flat(price.request_usd or 0.0)
    if into is None and out is None:  # the call's price is the whole
        return Rates(FREE, FREE, FREE, call)
    cached = into if price.cached_usd_per_million is None else price.cached_usd_per_million
    return Rates(_per_million(into), _per_million(cached), _per_million(out), call)


def _per_million(usd: float | None) -> Rate | None:
    return None if usd is None else _flat(usd / 1_000_000)


def _flat(usd: float) -> Rate:
    return ((0, usd),)


def _find(model: str, provider: str | None) -> BundledTariff | None:
    """The bundled prices of a model. A provider that genai-prices does not know is left out of account."""
    for name in dict.fromkeys((provider, None)):
        try:
            found = calc_price(Usage(input_tokens=1, output_tokens=1), model, provider_id=name)
        except (LookupError, ValueError):
            continue
        return BundledTariff(found.model)
    return None


def _rates(prices: LibraryPrice) -> Rates:
    """Cached tokens without a price of their own cost what input costs."""
    cached = prices.input_mtok if prices.cache_read_mtok is None else prices.cache_read_mtok
    call = _rate(prices.requests_kcount, THOUSAND) or FREE
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
