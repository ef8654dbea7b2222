"""Costs: reported wins, computed equals genai-prices to the last digits, and what is not known is said to be so."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from genai_prices import Usage, calc_price
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelPrice as LibraryPrice
from genai_prices.types import TieredPrices
from hypothesis import given
from hypothesis import strategies as st

from fleetpulse import pricing
from fleetpulse.config import LocalPrice, ModelPrice
from fleetpulse.pricing import COMPUTED, NOTHING_TO_PRICE, REPORTED, UNKNOWN, Cost, Pricer, matches
from fleetpulse.signals import RequestLog

WHEN = datetime(2025, 10, 9, 12, 0, tzinfo=UTC)
# (input, output, cached): plain, cached, past the usual tier, input only, output only, all from the cache
CALLS = [
    (1_000, 500, 0),
    (1_000, 500, 400),
    (300_000, 1_000, 100_000),
    (200_000, 1, 0),
    (1, 0, 0),
    (0, 7, 0),
    (9, 0, 9),
    (0, 0, 0),
]


def log(**fields: Any) -> RequestLog:
    plain = {"request_id": "r", "source": "s", "status": "success", "execution_time": 1.0, "timestamp": WHEN}
    return RequestLog(**plain | fields)


def call(model: str | None, tokens: tuple[int, int, int], **fields: Any) -> RequestLog:
    into, out, cached = tokens
    return log(model=model, input_tokens=into, output_tokens=out, cached_tokens=cached, **fields)


def by_library(model: str, tokens: tuple[int, int, int], provider: str | None, when: datetime) -> float:
    into, out, cached = tokens
    usage = Usage(input_tokens=into, output_tokens=out, cache_read_tokens=cached or None)
    return float(calc_price(usage, model, provider_id=provider, genai_request_timestamp=when).total_price)


def bundled() -> Iterator[tuple[str, str]]:
    """Every bundled model that its own provider's id and its own id lead to."""
    for provider in get_snapshot().providers:
        for model in provider.models:
            try:
                found = calc_price(Usage(input_tokens=1), model.id, provider_id=provider.id)
            except LookupError:  # the id is a family's name, which nobody sends
                continue
            if found.model is model:
                yield provider.id, model.id


def wanted_kinds(prices: LibraryPrice, tokens: tuple[int, int, int]) -> bool:
    """Whether every kind of token that was used has a price."""
    into, out, _ = tokens
    known = prices.input_mtok is not None or prices.output_mtok is not None
    return known and (not into or prices.input_mtok is not None) and (not out or prices.output_mtok is not None)


def test_every_bundled_model_is_priced_as_by_the_library() -> None:
    pricer, compared, unknown = Pricer(), 0, 0
    for provider, model in bundled():
        for tokens in CALLS:
            got = pricer.cost(call(model, tokens, provider=provider))
            prices = calc_price(Usage(), model, provider_id=provider, genai_request_timestamp=WHEN).model_price
            if wanted_kinds(prices, tokens):
                assert got.source == COMPUTED, (provider, model, tokens)
                library = by_library(model, tokens, provider, WHEN)
                assert got.usd == pytest.approx(library, rel=1e-12, abs=0), (provider, model, tokens)
                compared += 1
            else:
                assert got == UNKNOWN, (provider, model, tokens)
                unknown += 1
    assert compared > 5_000
    assert unknown > 100


def test_tiers_and_conditions_are_among_them() -> None:
    snapshot = get_snapshot()
    models = [model for provider in snapshot.providers for model in provider.models]
    tiered = [
        m for m in models if isinstance(m.prices, LibraryPrice) and isinstance(m.prices.input_mtok, TieredPrices)
    ]
    conditional = [model for model in models if isinstance(model.prices, list)]
    assert tiered
    assert conditional


def test_a_call_past_a_tier_is_priced_at_it_as_a_whole() -> None:
    pricer = Pricer()
    below, above = (pricer.cost(call("gemini-2.5-pro", (into, 10, 0))) for into in (200_000, 200_001))
    assert below.usd == pytest.approx(200_000 * 1.25e-6 + 10 * 10e-6, rel=1e-12)
    assert above.usd == pytest.approx(200_001 * 2.5e-6 + 10 * 15e-6, rel=1e-12)


def test_prices_are_those_of_the_time_of_the_request() -> None:
    pricer, compared = Pricer(), 0
    for provider, model in bundled():
        info = calc_price(Usage(), model, provider_id=provider).model
        if not isinstance(info.prices, list):
            continue
        for when in (datetime(2024, 1, 1, 3, tzinfo=UTC), datetime(2025, 2, 1, 18, tzinfo=UTC), datetime.now(UTC)):
            got = pricer.cost(call(model, (1_000, 500, 400), provider=provider, timestamp=when))
            if got != UNKNOWN:
                library = by_library(model, (1_000, 500, 400), provider, when)
                assert got.usd == pytest.approx(library, rel=1e-12, abs=0), (provider, model, when)
                compared += 1
    assert compared > 100


def test_a_request_without_a_time_is_priced_as_of_now() -> None:
    without = call("deepseek-chat", (1_000, 500, 0)).model_copy(update={"timestamp": None})
    assert Pricer().cost(without).usd == pytest.approx(
        by_library("deepseek-chat", (1_000, 500, 0), None, datetime.now(UTC)), rel=1e-12
    )


def test_cached_tokens_are_counted_once() -> None:
    pricer = Pricer()
    full, half, all_cached = (pricer.cost(call("gpt-4o", (1_000, 0, cached))).usd for cached in (0, 500, 1_000))
    assert full == pytest.approx(1_000 * 2.5e-6, rel=1e-12)
    assert half == pytest.approx(500 * 2.5e-6 + 500 * 1.25e-6, rel=1e-12)
    assert all_cached == pytest.approx(1_000 * 1.25e-6, rel=1e-12)


def test_a_fee_for_each_call_is_counted() -> None:
    got = Pricer().cost(call("sonar", (1_000, 500, 0), provider="perplexity"))
    assert got.usd == pytest.approx(by_library("sonar", (1_000, 500, 0), "perplexity", WHEN), rel=1e-12)
    assert got.usd is not None
    assert got.usd > 0.001


@pytest.mark.parametrize("cost", [0.0, 0.25, 1_000.0])
def test_a_reported_cost_wins(cost: float) -> None:
    assert Pricer().cost(call("gpt-4o", (1_000, 500, 0), cost=cost)) == Cost(cost, REPORTED)
    assert Pricer().cost(log(cost=cost)) == Cost(cost, REPORTED)


@pytest.mark.parametrize(
    "request_log",
    [
        call("a-model-nobody-knows", (10, 10, 0)),
        call("a-model-nobody-knows", (0, 0, 0)),
        call("a-model-nobody-knows", (10, 10, 0), provider="openai"),
        call(None, (10, 10, 0)),
        log(tokens_used=10),
        log(model="gpt-4o", tokens_used=10),
        log(model="gpt-4o"),
        log(model="gpt-4o", input_tokens=10, tokens_used=100),
        log(model="gpt-4o", input_tokens=10, output_tokens=10, tokens_used=21),
        log(model="gpt-4o", tokens_used=10, status="error"),
        call("mai-ds-r1:free", (10, 10, 0), provider="azure"),
    ],
)
def test_what_is_not_known_is_never_zero(request_log: RequestLog) -> None:
    assert Pricer().cost(request_log) == UNKNOWN


@pytest.mark.parametrize(
    "request_log",
    [
        log(),
        log(status="error"),
        log(model="gpt-4o", status="error"),
        log(model="gpt-4o", status="timeout", input_tokens=0, output_tokens=0),
        log(model="a-model-nobody-knows", status="error"),
    ],
)
def test_a_command_and_a_call_that_failed_at_once_have_nothing_to_price(request_log: RequestLog) -> None:
    assert Pricer().cost(request_log) == NOTHING_TO_PRICE


def test_a_failed_call_that_used_tokens_is_priced() -> None:
    assert Pricer().cost(call("gpt-4o", (1_000, 0, 0), status="error")).source == COMPUTED


def test_embeddings_need_no_price_for_output() -> None:
    got = Pricer().cost(log(model="text-embedding-3-large", provider="openai", input_tokens=1_000))
    assert got.source == COMPUTED
    assert got.usd == pytest.approx(1_000 * 0.13e-6, rel=1e-12)


@pytest.mark.parametrize("provider", [None, "openai", "OpenAI", "a proxy of ours", "群"])
def test_a_provider_that_is_not_known_is_left_out_of_account(provider: str | None) -> None:
    got = Pricer().cost(call("gpt-4o", (1_000, 500, 0), provider=provider))
    assert got.usd == pytest.approx(by_library("gpt-4o", (1_000, 500, 0), "openai", WHEN), rel=1e-12)


def test_the_cache_keeps_what_is_used_and_no_more_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[str] = []

    def find(model: str, provider: str | None) -> None:  # noqa: ARG001 - the signature of what it stands for
        looked_up.append(model)

    monkeypatch.setattr(pricing, "_find", find)
    monkeypatch.setattr(pricing, "CACHED_MODELS", 3)
    pricer = Pricer()
    for model in ("a", "b", "a", "c", "a", "d", "a", "b"):
        pricer.cost(call(model, (1, 1, 0)))
    assert looked_up == ["a", "b", "c", "d", "b"]
    assert len(pricer._known) == 3  # noqa: SLF001 - the bound is the point


# Prices of one's own ------------------------------------------------------------------------------------------
MILLION = (1_000_000, 1_000_000, 0)


def price(model: str, usd: float | None = None, since: datetime | None = None, **more: Any) -> LocalPrice:
    """A price whose tokens all cost the same, where they cost anything."""
    return LocalPrice(model=model, input_usd_per_million=usd, output_usd_per_million=usd, valid_from=since, **more)


def usd(
    pricer: Pricer, tokens: tuple[int, int, int] = MILLION, model: str = "gpt-4o", **fields: Any
) -> float | None:
    return pricer.cost(call(model, tokens, **fields)).usd


def test_a_configured_price_wins_over_the_bundled_one_and_a_reported_cost_over_both() -> None:
    pricer = Pricer([price("gpt-4o", 7.0)])
    assert usd(pricer) == 14.0
    assert usd(pricer, cost=0.5) == 0.5
    assert usd(pricer, model="gpt-4o-mini") == usd(Pricer(), model="gpt-4o-mini")


def test_cached_tokens_are_part_of_the_input() -> None:
    ours = LocalPrice(
        model="m",
        input_usd_per_million=3.0,
        cached_usd_per_million=1.0,
        output_usd_per_million=10.0,
        request_usd=0.5,
    )
    assert usd(Pricer([ours]), (1_000_000, 100_000, 400_000), "m") == pytest.approx(0.6 * 3 + 0.4 * 1 + 1.0 + 0.5)
    same = ours.model_copy(update={"cached_usd_per_million": None})
    assert usd(Pricer([same]), (1_000_000, 100_000, 400_000), "m") == pytest.approx(3.0 + 1.0 + 0.5)


def test_a_kind_of_tokens_without_a_price_leaves_a_request_unpriced() -> None:
    pricer = Pricer([LocalPrice(model="gpt-4o", input_usd_per_million=1.0)])
    assert usd(pricer, (1_000_000, 0, 0)) == 1.0
    assert usd(pricer, (1_000_000, 1, 0)) is None


@pytest.mark.parametrize(
    ("ours", "request_log", "expected"),
    [
        (LocalPrice(model="m", request_usd=0.25), log(model="m"), 0.25),
        (LocalPrice(model="m", request_usd=0.25), log(model="m", tokens_used=10**6), 0.25),
        (price("m", 2.0), log(model="m", tokens_used=10**6), 2.0),
        (price("m", 2.0), log(model="m", tokens_used=10**6, input_tokens=10), 2.0),
        (price("m", 2.0), log(model="m"), None),
        (price("m", 0.0), log(model="m"), 0.0),
        (price("m", 0.0), log(model="m", tokens_used=10**6), 0.0),
        (price("m", 2.0, cached_usd_per_million=1.0), log(model="m", tokens_used=10**6), None),
        (price("m", 2.0), log(model="m", status="error"), None),
    ],
)
def test_tokens_need_not_be_split_where_it_does_not_matter(
    ours: LocalPrice, request_log: RequestLog, expected: float | None
) -> None:
    assert Pricer([ours]).cost(request_log).usd == expected


def test_the_price_that_fits_best_is_taken() -> None:
    prices = [
        price("*", 1.0),
        price("our-*", 2.0),
        price("our-llama-*", 3.0),
        price("our-llama-*", 4.0, provider="ours"),
        price("our-llama-7b", 5.0),
        price("our-llama-7b", 6.0, datetime(2025, 1, 1, tzinfo=UTC)),
        price("our-llama-7b", 7.0, datetime(2026, 1, 1, tzinfo=UTC)),
    ]
    for order in (prices, prices[::-1]):
        pricer = Pricer(order)
        assert usd(pricer, model="anything") == 2.0
        assert usd(pricer, model="our-mistral") == 4.0
        assert usd(pricer, model="our-llama-1b") == 6.0
        assert usd(pricer, model="our-llama-1b", provider="ours") == 8.0
        assert usd(pricer, model="our-llama-1b", provider="theirs") == 6.0
        assert usd(pricer, model="our-llama-7b", provider="ours") == 12.0
        assert usd(pricer, model="our-llama-7b", timestamp=datetime(2024, 1, 1, tzinfo=UTC)) == 10.0
        assert usd(pricer, model="our-llama-7b", timestamp=datetime(2026, 1, 1, tzinfo=UTC)) == 14.0


def test_before_a_price_is_valid_the_next_best_is() -> None:
    later = price("gpt-4o", 7.0, datetime(2026, 1, 1, tzinfo=UTC))
    pricer = Pricer([later])
    assert usd(pricer) == usd(Pricer())
    pricer.give([ModelPrice(model="gpt-4o", request_usd=1.0)])
    assert usd(pricer) == 1.0
    assert usd(pricer, timestamp=datetime(2026, 2, 1, tzinfo=UTC)) == 14.0


def test_given_prices_are_in_force_at_once_and_configured_ones_win() -> None:
    pricer = Pricer([price("ours", 1.0)])
    for model in ("ours", "theirs"):
        usd(pricer, model=model)
    pricer.give([ModelPrice(model="*", request_usd=5.0)])
    assert [usd(pricer, model=model) for model in ("ours", "theirs", "gpt-4o")] == [2.0, 5.0, 5.0]
    pricer.give([])
    assert [usd(pricer, model=model) for model in ("ours", "theirs")] == [2.0, None]


def test_a_price_says_what_it_is() -> None:
    pricer = Pricer([price("m*", 1.0, datetime(2025, 1, 1, tzinfo=UTC))])
    pricer.give([ModelPrice(model="n", request_usd=1.0)])
    described = []
    for model in ("m1", "n", "gpt-4o"):
        tariff = pricer.tariff(call(model, MILLION))
        assert tariff is not None
        described.append(tariff.described())
    rates = {"input_usd_per_million": 1.0, "output_usd_per_million": 1.0, "valid_from": "2025-01-01T00:00:00Z"}
    assert described[0] == {"origin": "configured", "model": "m*"} | rates
    assert described[1] == {"origin": "given", "model": "n", "request_usd": 1.0}
    assert described[2]["origin"] == "genai-prices"
    assert described[2]["model"] == "gpt-4o"
    assert described[2]["version"]


letters = st.text("ab", max_size=8)


@given(st.text("ab*", min_size=1, max_size=8), letters)
def test_a_star_stands_for_any_text(pattern: str, model: str) -> None:
    expected = re.fullmatch(pattern.replace("*", ".*"), model) is not None
    assert matches(pattern, model) == expected


@given(
    st.floats(0, 1_000),
    st.floats(0, 1_000),
    st.none() | st.floats(0, 1_000),
    st.floats(0, 10),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
)
def test_the_sum_is_that_of_the_parts(  # noqa: PLR0913 - the parts
    into: float, out: float, cached: float | None, fee: float, tokens: int, outputs: int, reads: int
) -> None:
    ours = LocalPrice(
        model="m",
        input_usd_per_million=into,
        output_usd_per_million=out,
        cached_usd_per_million=cached,
        request_usd=fee,
    )
    reads = min(reads, tokens)
    by_hand = ((tokens - reads) * into + reads * (into if cached is None else cached) + outputs * out) / 1e6 + fee
    assert usd(Pricer([ours]), (tokens, outputs, reads), "m") == pytest.approx(by_hand, rel=1e-9, abs=1e-12)
