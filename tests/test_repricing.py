"""Stored requests that get a price afterwards: once each, in all the books at once, whatever comes between."""

import asyncio
import sqlite3
import tempfile
from contextlib import AbstractAsyncContextManager, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.journal.stand import NOW, Hold, Run, begin, crash, held, until
from tests.market import Market, audit, market

from fleetpulse import catalogue, repricing
from fleetpulse.config import Budget, Limits, LocalPrice, ModelPrice
from fleetpulse.errors import InvalidInputError, NotFoundError, OverloadedError
from fleetpulse.journal import REQUESTS
from fleetpulse.journal.corrections import Correct, Corrected
from fleetpulse.repricing import Order
from fleetpulse.series.corrections import CorrectionFold

DAY = Budget(name="d", limit_usd=10.0)
MONTH = Budget(name="m", limit_usd=10.0, period="month")
ANNE = Budget(name="anne", limit_usd=1.0, user="anne")
SHOP = Budget(name="shop", limit_usd=1.0, period="week", account="shop")
WECHAT = Budget(name="wechat", limit_usd=1.0, source="wechat")
BUDGETS = (DAY, MONTH, ANNE, SHOP, WECHAT)
HOUR = 3_600.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


async def test_a_price_is_for_what_is_stored_and_for_what_comes(path: Path) -> None:
    async with market(path, BUDGETS) as books:
        await books.report("a", user_id="anne", input_tokens=500_000)
        await books.report("b", source="wechat", account_id="shop", output_tokens=1_000_000, input_tokens=None)
        await books.report("c", model="another")
        audit(books)
        assert [books.unpriced(each) for each in BUDGETS] == [3, 3, 1, 1, 1]
        run = await books.give("mystery", 2.0)
        assert run.finished
        await books.report("d", input_tokens=1_000_000)
        audit(books)
        assert [books.spent(each) for each in BUDGETS] == [5.0, 5.0, 1.0, 2.0, 2.0]
        assert [books.unpriced(each) for each in BUDGETS] == [1, 1, 0, 0, 0]
        assert [(row["cost"], row["cost_source"]) for row in books.rows()] == [
            (1.0, "corrected"),
            (2.0, "corrected"),
            (None, "unknown"),
            (2.0, "computed"),
        ]


async def test_a_correction_says_who_when_how_many_how_much_and_by_which_price(path: Path) -> None:
    async with market(path) as books:
        for name in ("a", "b"):
            await books.report(name, provider="ours")
        await books.report("c", source="wechat")
        run = await books.give("mystery", 2.0, made_by="anne")
        price = (
            '{"origin": "given", "model": "mystery", "input_usd_per_million": 2.0, "output_usd_per_million": 2.0}'
        )
        common = {"run_id": run.run_id, "made_at": NOW, "made_by": "anne", "model": "mystery", "price": price}
        assert books.table("corrections") == [
            common | {"id": 1, "source": "telegram", "provider": "ours", "requests": 2, "cost": 0.004},
            common | {"id": 2, "source": "wechat", "provider": "", "requests": 1, "cost": 0.002},
        ]


async def test_a_request_is_corrected_once(path: Path) -> None:
    async with market(path, BUDGETS) as books:
        await books.report("a")
        await books.give("mystery", 2.0)
        await books.give("mystery", 50.0)
        await books.price_stored()
        audit(books)
        assert books.rows()[0]["cost"] == 0.002
        assert len(books.table("corrections")) == 1


async def test_what_the_price_does_not_cover_stays_unpriced(path: Path) -> None:
    async with market(path, BUDGETS) as books:
        await books.report("no model", model=None)
        await books.report("not split", input_tokens=None, tokens_used=100)
        await books.report("out", input_tokens=None, output_tokens=10)
        await books.report("good")
        price = ModelPrice(model="mystery", input_usd_per_million=2.0)
        await books.end(await books.repricing.set_price(price, "ops"))
        audit(books)
        assert [row["cost_source"] for row in books.rows()] == ["unknown", "unknown", "unknown", "corrected"]


async def test_a_run_prices_no_more_than_it_is_asked_to(path: Path) -> None:
    async with market(path) as books:
        for source in ("telegram", "wechat"):
            for provider in (None, "ours"):
                for model in ("llama-1", "llama-2", "mistral"):
                    await books.report(f"{source}{provider}{model}", source=source, provider=provider, model=model)
        await books.give("llama-*", 1.0, provider="ours")
        assert {(row["model"], row["provider"]) for row in books.rows() if row["cost"]} == {
            ("llama-1", "ours"),
            ("llama-2", "ours"),
        }
        audit(books)
    free = LocalPrice(model="*", request_usd=0.5)
    async with market(path, prices=[free]) as books:
        assert sum(row["cost_source"] == "unknown" for row in books.rows()) == 8
        await books.price_stored(source="wechat", model="mis*")
        assert sum(row["cost"] == 0.5 for row in books.rows()) == 2
        await books.price_stored(provider="ours")
        assert sum(row["cost"] == 0.5 for row in books.rows()) == 3
        await books.price_stored()
        assert sum(row["cost"] == 0.5 for row in books.rows()) == 8
        audit(books)


async def test_spend_is_corrected_in_the_period_in_which_the_request_came(path: Path) -> None:
    now = NOW
    async with market(path, [DAY, MONTH], clock=lambda: now) as books:
        await books.report("yesterday", input_tokens=1_000_000)
        now += 24 * HOUR
        await books.report("today", input_tokens=2_000_000)
        await books.give("mystery", 1.0)
        audit(books)
        assert (books.spent(DAY, NOW), books.spent(DAY), books.spent(MONTH)) == (1.0, 2.0, 3.0)


async def test_a_budget_is_not_charged_for_what_it_did_not_count(path: Path) -> None:
    now = NOW
    async with market(path, [MONTH], clock=lambda: now) as books:
        await books.report("yesterday", input_tokens=1_000_000)
    now += 24 * HOUR
    async with market(path, [MONTH, DAY], clock=lambda: now) as books:
        await books.give("mystery", 1.0)
        assert (books.spent(DAY, NOW), books.spent(DAY), books.spent(MONTH)) == (0.0, 0.0, 1.0)
        assert books.unpriced(DAY, NOW) == 0


async def test_a_new_budget_begins_with_what_is_unpriced(path: Path) -> None:
    async with market(path) as books:
        await books.report("a", user_id="anne")
        await books.report("b", user_id="anne", cost=1.0)
    async with market(path, [ANNE, DAY]) as books:
        assert [(books.spent(each), books.unpriced(each)) for each in (ANNE, DAY)] == [(1.0, 1), (1.0, 1)]
        await books.give("mystery", 1.0)
        audit(books)


async def test_a_correction_follows_the_labels_that_the_request_was_counted_under(path: Path) -> None:
    async with market(path, limits=Limits(sources=1, models=2)) as books:
        await books.report("a", model="first")
        await books.report("b", model="second", source="late")
        await books.report("c", model="third")
        await books.report("d", model="third", source="late")
    async with market(path, limits=Limits(sources=9, models=9)) as books:  # with room, it would go elsewhere
        await books.report("e", model="third", source="later")
        await books.give("*", 1.0)
        for key, value in books.stand.totals().items():
            if key.metric == catalogue.UNPRICED.name:
                assert books.total(catalogue.PRICED_AFTERWARDS, *key.labels) == value
                assert books.total(catalogue.COST, *key.labels) == pytest.approx(value * 0.001)
        assert books.total(catalogue.PRICED_AFTERWARDS, "other", "other") == 1


# In between ---------------------------------------------------------------------------------------------------
async def test_what_was_priced_before_and_stored_after_the_price_is_corrected_too(path: Path) -> None:
    """It waits for the writer while the price is committed, and longer than a run that did not wait would take."""
    async with market(path) as books:
        row, journal = books.row("waits"), books.stand.journal
        price = ModelPrice(model="mystery", request_usd=1)
        with_price, with_row = Hold(), Hold()
        async with held(journal):
            setting = await begin(books.repricing.set_price(price, "ops"), journal.submit(with_price))
        await until(with_price.begun.is_set)
        storing = await begin(journal.store(REQUESTS, [row]), journal.submit(with_row))
        with_price.release.set()
        run = await setting[0]
        await until(with_row.begun.is_set)
        await asyncio.sleep(0.1)
        with_row.release.set()
        await asyncio.gather(*setting, *storing)
        await books.end(run)
        assert books.rows()[0]["cost"] == 1.0


async def test_a_correction_that_is_written_twice_counts_once(path: Path) -> None:
    async with market(path, BUDGETS) as books:
        await books.report("a", user_id="anne")
        order, price = Order(made_by="ops"), ModelPrice(model="mystery", request_usd=1.0)
        ((correction,),) = [part async for part in books.repricing.would(order, price)]
        write = Correct([correction], CorrectionFold(books.budgets), "run", "ops", NOW)
        first, second = [await books.stand.journal.submit(write) for _ in range(2)]
        assert isinstance(first, Corrected)
        assert isinstance(second, Corrected)
        assert (first.requests, first.cost, second.requests, second.deltas) == (1, 1.0, 0, {})
        audit(books)


async def test_a_run_that_is_killed_goes_on_after_the_start(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repricing, "CHUNK_ROWS", 3)
    async with market(path, BUDGETS) as books:
        await books.stand.journal.store(REQUESTS, [books.row(f"r{n}", user_id="anne") for n in range(20)])
        run = await books.repricing.set_price(ModelPrice(model="mystery", request_usd=0.25), "ops")
        await until(lambda: books.table("corrections"))
        left = crash(path, tmp_path / "left")
    async with market(left, BUDGETS) as books:
        audit(books)
        assert 0 < sum(row["cost"] is None for row in books.rows()) < 20
        assert books.repricing.pending == 1
        await books.all_over()
        audit(books)
        assert all(row["cost"] == 0.25 for row in books.rows())
        assert [entry["run_id"] for entry in books.table("corrections")] == [run.run_id]
        assert [note["name"] for note in books.table("notes")] == ["journal.epoch"], "nothing is left to be done"


async def test_a_stop_cuts_a_run_short_and_the_start_goes_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repricing, "CHUNK_ROWS", 1)
    async with market(path) as books:
        await books.stand.journal.store(REQUESTS, [books.row(f"r{n}") for n in range(30)])
        run = await books.repricing.set_price(ModelPrice(model="mystery", request_usd=0.25), "ops")
        await until(lambda: books.table("corrections"))
    assert run.over.is_set()
    assert not run.finished
    async with market(path) as books:
        await books.all_over()
        audit(books)
        assert all(row["cost"] == 0.25 for row in books.rows())


async def test_a_run_waits_while_the_journal_takes_nothing(path: Path) -> None:
    async with market(path, BUDGETS) as books:
        await books.report("a")
        await books.stand.journal.submit(Run("PRAGMA busy_timeout = 0"))
        order = await books.repricing.price_stored(Order(made_by="ops"))
        await books.end(order)
        books.repricing.pricer.give([ModelPrice(model="mystery", request_usd=1.0)])
        with closing(sqlite3.connect(path, isolation_level=None)) as intruder:
            run = await books.repricing.price_stored(Order(made_by="ops"))
            intruder.execute("BEGIN IMMEDIATE")
            await until(lambda: not books.stand.journal.writable or run.over.is_set())
            audit(books)
            intruder.execute("ROLLBACK")
        await books.end(run)
        audit(books)
        assert books.rows()[0]["cost"] == 1.0


async def test_a_price_that_cannot_be_kept_is_not_in_force(path: Path) -> None:
    async with market(path) as books:
        await books.stand.journal.submit(Run("PRAGMA busy_timeout = 0"))
        with closing(sqlite3.connect(path, isolation_level=None)) as intruder:
            intruder.execute("BEGIN IMMEDIATE")
            with pytest.raises(OverloadedError):
                await books.give("mystery", 1.0)
            intruder.execute("ROLLBACK")
        await books.report("a")
        assert books.rows()[0]["cost"] is None
        assert books.repricing.given == []


async def test_a_request_that_retention_deletes_meanwhile_is_in_no_total(path: Path) -> None:
    async with market(path, BUDGETS) as books:
        await books.report("a")
        await books.report("b")
        parts = [
            part async for part in books.repricing.would(Order(made_by="x"), ModelPrice(model="*", request_usd=1))
        ]
        assert sum(map(len, parts)) == 2
        await books.stand.journal.submit(Run("DELETE FROM requests WHERE request_id = 'a'"))
        await books.give("mystery", 1.0)
        assert books.total(catalogue.PRICED_AFTERWARDS) == 1
        assert books.total(catalogue.COST) == pytest.approx(0.001)


# Prices given -------------------------------------------------------------------------------------------------
async def test_prices_given_outlive_a_restart_and_may_be_taken_back(path: Path) -> None:
    async with market(path) as books:
        await books.give("mystery", 1.0, made_by="anne", provider="ours")
        await books.give("mystery", 2.0, made_by="bob")
    async with market(path) as books:
        assert [(each.provider, each.set_by) for each in books.repricing.given] == [("", "bob"), ("ours", "anne")]
        await books.report("a", provider="ours")
        await books.report("b")
        await books.repricing.delete_price("mystery", None)
        with pytest.raises(NotFoundError):
            await books.repricing.delete_price("mystery", None)
        await books.report("c")
    async with market(path) as books:
        await books.report("d")
        assert [row["cost"] for row in books.rows()] == [0.001, 0.002, None, None]


async def test_the_configuration_wins_and_says_so(path: Path) -> None:
    ours = LocalPrice(model="our-*", request_usd=3.0)
    dated = LocalPrice(model="dated", request_usd=1.0, valid_from=datetime(2099, 1, 1, tzinfo=UTC))
    async with market(path) as books:
        await books.give("our-model", 1.0)
    async with market(path, prices=[ours, dated]) as books:
        for model in ("our-model", "our-*", "our-m*"):
            with pytest.raises(InvalidInputError) as caught:
                await books.give(model, 1.0)
            assert "our-*" in caught.value.errors[0]["msg"]
        await books.report("a", model="our-model")
        await books.give("dated", 2.0)
        await books.give("*", 2.0)
        await books.report("b", model="dated")
        assert [row["cost"] for row in books.rows()] == [3.0, 0.002]


async def test_there_is_an_end_to_prices_and_to_runs_that_wait(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repricing, "MAX_GIVEN", 2)
    monkeypatch.setattr(repricing, "MAX_RUNS", 3)
    async with market(path) as books:
        await books.give("a", 1.0)
        await books.give("b", 1.0)
        await books.give("b", 2.0)
        with pytest.raises(InvalidInputError):
            await books.give("c", 1.0)
        books.work.cancel()
        for _ in range(3):
            await books.repricing.price_stored(Order(made_by="x"))
        with pytest.raises(OverloadedError):
            await books.repricing.price_stored(Order(made_by="x"))


async def test_a_trial_changes_nothing(path: Path) -> None:
    async with market(path, BUDGETS) as books:
        await books.report("a")
        before = books.stand.totals(), books.rows(), books.table("prices")
        price = ModelPrice(model="mystery", request_usd=2.0)
        parts = [part async for part in books.repricing.would(Order(made_by="ops", model="mystery"), price)]
        assert [(each.row.id, each.cost) for part in parts for each in part] == [(1, 2.0)]
        assert (books.stand.totals(), books.rows(), books.table("prices")) == before
        await books.report("b")
        assert books.rows()[1]["cost"] is None


# Anything, in any order ---------------------------------------------------------------------------------------
logs = st.fixed_dictionaries(
    {
        "source": st.sampled_from(["telegram", "wechat", "群聊"]),
        "model": st.sampled_from([None, "mystery", "llama-1", "llama-2", "gpt-4o"]),
        "provider": st.sampled_from([None, "ours"]),
        "status": st.sampled_from(["success", "error"]),
        "user_id": st.sampled_from(["", "anne"]),
        "account_id": st.sampled_from([None, "shop"]),
        "input_tokens": st.none() | st.integers(0, 100_000),
        "output_tokens": st.none() | st.integers(0, 100_000),
        "tokens_used": st.none() | st.integers(0, 300_000),
        "cost": st.none() | st.none() | st.floats(0, 2),
    }
)
usd = st.none() | st.floats(0, 100)
prices = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["mystery", "llama-*", "*", "llama-2"]),
        "provider": st.sampled_from([None, "ours"]),
        "input_usd_per_million": usd,
        "output_usd_per_million": usd,
        "request_usd": st.none() | st.floats(0, 0.5),
    }
).filter(lambda price: any(value is not None for name, value in price.items() if name.endswith(("million", "usd"))))
steps = st.one_of(
    st.tuples(st.just("report"), st.lists(logs, min_size=1, max_size=8)),
    st.tuples(st.just("report"), st.lists(logs, min_size=1, max_size=8)),
    st.tuples(st.just("give"), prices),
    st.tuples(st.just("price"), st.sampled_from([None, "llama-*", "mystery"])),
    st.tuples(st.just("wait"), st.none()),
    st.tuples(st.just("later"), st.sampled_from([60.0, 9 * HOUR, 15 * HOUR, 20 * 24 * HOUR])),
    st.tuples(st.just("restart"), st.booleans()),
)


async def play(script: list[tuple[str, Any]], folder: Path) -> None:
    """Does what the script says, and audits the books after each step and each restart."""
    now, lives, sent, path = NOW, 0, 0, folder / "journal.db"

    def open_market() -> AbstractAsyncContextManager[Market]:
        return market(path, BUDGETS, clock=lambda: now, synchronous="normal")

    life = open_market()
    books: Market = await life.__aenter__()
    try:
        for step, given in script:
            if step == "report":
                rows = [books.row(f"r{sent + n}", **log) for n, log in enumerate(given)]
                await books.stand.journal.store(REQUESTS, rows)
                sent += len(rows)
            elif step == "give":
                await books.repricing.set_price(ModelPrice(**given), "ops")
            elif step == "price":
                await books.repricing.price_stored(Order(made_by="ops", model=given))
            elif step == "wait":
                await books.all_over()
            elif step == "later":
                now += given
            else:
                lives += 1
                left = crash(path, folder / str(lives)) if given else path
                await life.__aexit__(None, None, None)
                path = left
                life = open_market()
                books = await life.__aenter__()
            await settled(books)
        await books.all_over()
        audit(books)
    finally:
        await life.__aexit__(None, None, None)


async def settled(books: Market) -> None:
    """Audits between two transactions: nothing is written while the writer is held."""
    async with held(books.stand.journal):
        audit(books)


@given(st.lists(steps, min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_the_books_agree_whatever_happens(script: list[tuple[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(repricing, "CHUNK_ROWS", 2)
        asyncio.run(play(script, Path(folder)))
