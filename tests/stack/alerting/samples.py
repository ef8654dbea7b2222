"""Settings with every kind of receiver, and the strategies that make many of them."""

from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from fleetpulse.config import Settings, load
from fleetpulse.stack.alerting.document import Document, Place, build
from fleetpulse.stack.alerting.files import write
from fleetpulse.stack.alerting.versions import parse
from fleetpulse.stack.files import StackFiles

TEMPLATES = StackFiles.find().alertmanager / "templates"
SECRETS = ("mail-password", "aws-secret", "12:bot-token", "/discord-secret", "/slack-secret", "wechat-secret")
EVERY_KIND: dict[str, Any] = {
    "email": [
        {
            "name": "ops",
            "to": ["Ops <ops@example.com>", "值班 <oncall@example.com>"],
            "sender": "fleetpulse@example.com",
            "smtp_host": "smtp.example.com",
            "smtp_user": "fleetpulse",
            "smtp_password": SECRETS[0],
        }
    ],
    "sns": [
        {
            "name": "ops",
            "region": "eu-central-1",
            "phones": ["+4915112345678"],
            "access_key": "AKIA",
            "secret_key": SECRETS[1],
        }
    ],
    "telegram": [{"name": "chat", "bot_token": SECRETS[2], "chat_ids": [-1001, 2]}],
    "discord": [{"name": "chat", "webhook_url": f"https://discord.com/api/webhooks/1{SECRETS[3]}"}],
    "slack": [{"name": "chat", "api_url": f"https://hooks.slack.com/services{SECRETS[4]}", "channel": "#alerts"}],
    "wechat": [{"name": "值班", "corp_id": "corp", "agent_id": 7, "secret": SECRETS[5], "to_user": "@all"}],
    "pagerduty": [{"name": "pager", "routing_key": "pager-secret"}],
    "webhook": [{"name": "hook", "url": "https://example.com/hook", "token": "hook-secret"}],
}


def settings(**alerting: Any) -> Settings:
    """Settings with this section."""
    return load(alerting=alerting)


def rendered(folder: Path, target: str = "0.25", place: Place | None = None, **alerting: Any) -> Path:
    """The file that these settings give, with its templates; nobody has checked it."""
    path = folder / "alertmanager.yml"
    write(document(target, place, **alerting), path, TEMPLATES, None)
    return path


def document(target: str = "0.25", place: Place | None = None, **alerting: Any) -> Document:
    """What these settings give."""
    return build(settings(**alerting), parse(target), place or Place())


# Many settings ------------------------------------------------------------------------------------------------
WORDS = st.text(
    st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=20
).filter(lambda text: text.isprintable() and bool(text.strip()))
SECRET = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30)
NAMES = st.sampled_from(["ops", "chat", "值班", "team a.b-c", "y", "null", "1e3", "on_call"])
URLS = st.sampled_from(
    ["http://a", "https://hooks.example.com:8443/a/b?c=d&e=%20", "http://[::1]:9/x", "https://a.b/~x!$&'()*+,;=:@"]
)
DURATIONS = st.sampled_from(["30s", "5m", "1h30m", "2d", "1d12h5m3s", "999d"])
CLOCKS = st.times().map(lambda time: time.strftime("%H:%M"))
DAYS = st.lists(st.sampled_from(["monday", "wednesday", "saturday", "sunday"]), max_size=3)
ZONES = st.sampled_from([None, "UTC", "Asia/Shanghai", "America/Argentina/Buenos_Aires"])
ADDRESSES = st.sampled_from(
    ["a@example.com", "Ops <ops@example.com>", '"Ops, all" <o@example.com>', "值 <z@example.com>"]
)
PATHS = st.just("/dev/null")


def one(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object with these fields, those of None left out."""
    made = st.fixed_dictionaries(fields)
    return made.map(lambda found: {name: value for name, value in found.items() if value is not None})


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The value, or nothing."""
    return st.none() | strategy


BASE: dict[str, st.SearchStrategy[Any]] = {
    "name": NAMES,
    "send_resolved": st.booleans(),
    "lang": maybe(st.sampled_from(["en", "zh", "both"])),
}
WEB = BASE | {"proxy_url": maybe(st.just("http://proxy:3128")), "ca_file": maybe(PATHS)}
MAIL = one(
    **BASE,
    to=st.lists(ADDRESSES, min_size=1, max_size=3),
    sender=ADDRESSES,
    smtp_host=st.sampled_from(["smtp.example.com", "127.0.0.1", "::1"]),
    smtp_security=st.sampled_from(["starttls", "tls", "none"]),
    smtp_ca_file=maybe(PATHS),
)
MAIL_WITH_LOGIN = st.builds(
    lambda mail, user, password: mail | {"smtp_user": user, "smtp_password": password}, MAIL, WORDS, SECRET
)
SNS = st.builds(
    lambda base, place, keys: base | place | keys,
    one(**BASE, region=st.just("eu-central-1"), profile=maybe(WORDS), api_url=maybe(URLS)),
    st.sampled_from(
        [
            {"phones": ["+4915112345678", "+8613800000000"]},
            {"topic_arn": "arn:aws:sns:eu-central-1:1:t.fifo"},
            {"target_arn": "arn:aws:sns:eu-central-1:1:endpoint/x"},
        ]
    ),
    st.just({}) | st.builds(lambda user, secret: {"access_key": user, "secret_key": secret}, WORDS, SECRET),
)
TELEGRAM = one(
    **WEB,
    bot_token=SECRET,
    chat_ids=st.lists(st.integers(min_value=-(2**63), max_value=2**63 - 1).filter(bool), min_size=1, max_size=2),
    message_thread_id=maybe(st.integers(min_value=1, max_value=2**31)),
    silent=st.booleans(),
)
WECHAT = one(**WEB, corp_id=WORDS, agent_id=WORDS, secret=SECRET, to_user=WORDS, to_tag=maybe(WORDS))
HOOK_LOGINS = st.sampled_from([{}, {"token": "t"}, {"token_file": "/dev/null"}, {"user": "u", "password": "p"}])
WEBHOOK = st.builds(
    lambda base, login: base | login, one(**WEB, url=URLS, max_alerts=st.integers(0, 100)), HOOK_LOGINS
)
INTERVALS = one(name=st.sampled_from(["weekend", "office", "y"]), weekdays=DAYS, timezone=ZONES) | one(
    name=st.sampled_from(["weekend", "office", "y"]),
    start=maybe(CLOCKS),
    end=maybe(CLOCKS),
    weekdays=DAYS,
    timezone=ZONES,
).filter(lambda each: each.get("start", "00:00") != each.get("end"))
MONTHLY = one(
    name=st.just("month's end"[:5]),
    days_of_month=st.lists(st.sampled_from(["1", "1:7", "-3:-1", "31"]), min_size=1),
    months=st.lists(st.integers(1, 12), max_size=3),
)
MATCHERS = st.builds(
    lambda label, sign, value: f'{label}{sign}"{value}"',
    st.sampled_from(["account_id", "severity", "_x1"]),
    st.sampled_from(["=", "!=", "=~", "!~"]),
    st.sampled_from(["", "a", "值|b.*", "a,b", "x=y", '\\"', "{a}", "[0-9]+"]),
)
VALUES = st.lists(
    WORDS | st.sampled_from(["*", "a*b", 'a"b', "a\\b", "a,b", "{x}", "critical", "info"]), max_size=3
)


def routes(names: list[str], intervals: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """A route to some of these receivers, in and out of some of these intervals."""
    times = st.lists(st.sampled_from(intervals), max_size=2) if intervals else st.just([])
    return one(
        receivers=st.lists(st.sampled_from(names), min_size=1, max_size=3),
        severities=VALUES,
        alertnames=VALUES,
        sources=VALUES,
        pools=VALUES,
        teams=VALUES,
        matchers=st.lists(MATCHERS, max_size=2),
        group_by=maybe(
            st.lists(st.sampled_from(["alertname", "pool_id", "x"]), min_size=1, max_size=2, unique=True)
            | st.just(["..."])
        ),
        group_wait=maybe(DURATIONS | st.just("0s")),
        group_interval=maybe(DURATIONS),
        repeat_interval=maybe(DURATIONS),
        active_during=times,
        mute_during=times,
        ignore_quiet_hours=st.booleans(),
        go_on=st.booleans(),
    )


@st.composite
def alerting(draw: st.DrawFn) -> dict[str, Any]:
    """A section with anything in it that may be."""
    kinds = {
        "email": MAIL | MAIL_WITH_LOGIN,
        "sns": SNS,
        "telegram": TELEGRAM,
        "discord": one(**WEB, webhook_url=URLS, username=maybe(WORDS)),
        "slack": one(**WEB, api_url=URLS, channel=maybe(WORDS), username=maybe(WORDS)),
        "wechat": WECHAT,
        "pagerduty": one(**WEB, routing_key=SECRET),
        "webhook": WEBHOOK,
    }
    section: dict[str, Any] = {kind: draw(st.lists(each, max_size=2)) for kind, each in kinds.items()}
    names = sorted({each["name"] for channels in section.values() for each in channels})
    section["time_intervals"] = draw(st.lists(INTERVALS | MONTHLY, max_size=3))
    intervals = sorted({each["name"] for each in section["time_intervals"]})
    quiet = one(start=CLOCKS, end=CLOCKS, weekdays=DAYS, timezone=ZONES).filter(
        lambda each: each["start"] != each["end"]
    )
    section["quiet_hours"] = draw(st.lists(quiet, max_size=2))
    section["urgent_severities"] = draw(VALUES)
    section["lang"] = draw(st.sampled_from(["en", "zh", "both"]))
    section["inhibitions"] = draw(
        st.lists(
            one(
                source=st.lists(MATCHERS, min_size=1, max_size=2), target=st.lists(MATCHERS, min_size=1, max_size=2)
            ),
            max_size=2,
        )
    )
    if names:
        section["routes"] = draw(st.lists(routes(names, intervals), max_size=3))
        section["users"] = draw(
            st.lists(
                one(user_id=WORDS, receivers=st.lists(st.sampled_from(names), min_size=1, max_size=2)),
                max_size=2,
                unique_by=lambda user: user["user_id"],
            )
        )
        section["default_receivers"] = draw(maybe(st.lists(st.sampled_from(names), max_size=2)))
    return section
