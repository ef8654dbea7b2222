import random
from collections import Counter

from fleetpulse.demo import ACCOUNTS, MODELS, SOURCES, Accounts, Fleet, Traffic
from fleetpulse.signals import AccountActivity, AgentHeartbeat, RequestLog


def test_every_request_is_a_valid_log_with_an_id_of_its_own() -> None:
    items = [RequestLog.model_validate(item) for item in Traffic(random.Random(1)).requests(500)]
    assert len({item.request_id for item in items}) == 500
    assert all(item.timestamp is not None for item in items)
    unpriced = {item.model for item in items if item.cost is None}
    assert unpriced == {"house-llm-70b"}
    assert all(item.cost is None for item in items if item.model in unpriced)


def test_the_traffic_has_every_kind_of_thing() -> None:
    items = [RequestLog.model_validate(item) for item in Traffic(random.Random(2)).requests(2_000)]
    assert {item.source for item in items} == set(SOURCES)
    assert {item.model for item in items} == {model.name for model in MODELS} | {None}
    statuses = Counter(item.status for item in items)
    assert set(statuses) == {"success", "error", "timeout", "rate_limited"}
    assert 0.02 < 1 - statuses["success"] / 2_000 < 0.15
    assert all(bool(item.error) == (item.status != "success") for item in items)
    assert any(item.total_tokens == 0 for item in items)
    assert any(item.cached_tokens for item in items)
    assert sum(item.cost or 0 for item in items) > 0
    assert any("\u4e00" <= letter <= "\u9fff" for item in items for letter in item.command)


def test_the_seed_decides_content_but_not_ids() -> None:
    one, same = (Traffic(random.Random(3)).requests(20) for _ in range(2))
    changing = {"request_id", "timestamp", "session_id"}
    assert [{**item, **dict.fromkeys(changing)} for item in one] == [
        {**item, **dict.fromkeys(changing)} for item in same
    ]
    assert not {item["request_id"] for item in one} & {item["request_id"] for item in same}


def test_the_fleet_is_two_pools_that_move_and_say_goodbye() -> None:
    fleet = Fleet(random.Random(4))
    beats = [[AgentHeartbeat.model_validate(beat) for beat in fleet.heartbeats()] for _ in range(50)]
    assert {beat.pool_id for beat in beats[0]} == {"coding", "support"}
    assert len({beat.agent_id for beat in beats[0]}) == 7
    assert len({round_[0].cpu_usage for round_ in beats}) > 10
    assert any(beat.running_tasks for round_ in beats for beat in round_)
    goodbyes = [AgentHeartbeat.model_validate(beat) for beat in fleet.goodbyes()]
    assert {beat.agent_id for beat in goodbyes} == {beat.agent_id for beat in beats[0]}
    assert all(beat.status == "offline" and not beat.running_tasks for beat in goodbyes)


def test_accounts_do_what_the_api_takes_and_raise_no_alert() -> None:
    accounts = Accounts(random.Random(7))
    did = [AccountActivity.model_validate(each) for _ in range(200) for each in accounts.activities()]
    assert {each.account_id for each in did} == set(ACCOUNTS)
    assert {each.kind for each in did} == {"message", "reply", "redpacket", "error"}
    assert len({each.activity_id for each in did}) == len(did)
    errors = sum(each.count for each in did if each.kind == "error")
    assert 0 < errors / sum(each.count for each in did) < 0.1
    assert all(AccountActivity.model_validate(each).online is False for each in accounts.goodbyes())
