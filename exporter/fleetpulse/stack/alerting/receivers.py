"""Each channel's settings as Alertmanager's: one function a kind.

A receiver of Alertmanager is a name with channels. Notifications go to receivers of their own (`oncall (email)`),
with the channels of one kind and with templates that say what the sender wrote, not what fires.
"""

from collections.abc import Callable, Iterable
from email.headerregistry import Address, AddressHeader, HeaderRegistry
from pathlib import Path
from typing import Any

from fleetpulse.config import Settings
from fleetpulse.config import receivers as channels
from fleetpulse.config.alerting import KINDS, PUSH_KINDS
from fleetpulse.config.reports import Reports
from fleetpulse.errors import ConfigError
from fleetpulse.stack.alerting import versions
from fleetpulse.stack.alerting.target import Hidden, Target, given, literal

SMTPS_PORT = 465
SMTP_PORTS = {"starttls": 587, "tls": SMTPS_PORT, "none": 25}
NOTICE_KINDS = {"email": ("email",), "sms": ("sns",), "push": PUSH_KINDS}
Config = dict[str, Any]


def notice_name(name: str, channel: str) -> str:
    """What the receiver is called that tells `name` of notifications over one channel."""
    return f"{name} ({channel})"


def kinds_of(name: str) -> tuple[str, tuple[str, ...]]:
    """The name in the settings that a receiver stands for, and the kinds of its channels that it consists of."""
    own, _, notice = name.partition(" (")
    return own, NOTICE_KINDS.get(notice.removesuffix(")"), KINDS)


def describe(settings: Settings, name: str) -> list[str]:
    """What a receiver consists of, in words without secrets."""
    own, kinds = kinds_of(name)
    found = ((kind, each) for kind in kinds for each in getattr(settings.alerting, kind) if each.name == own)
    return [_words(kind, channel) for kind, channel in found]


def _words(kind: str, channel: channels.Receiver) -> str:
    places = ("to", "phones", "topic_arn", "target_arn", "chat_ids", "channel", "to_user", "to_party", "to_tag")
    place = next(filter(None, (getattr(channel, each, None) for each in places)), "")
    shown = " ".join(map(str, place)) if isinstance(place, tuple) else str(place)
    return f"{kind} {shown}".strip()


def receivers(settings: Settings, names: Iterable[str], target: Target) -> list[Config]:
    """The receivers of these names, which may be those of notifications. Raises ConfigError."""
    return [_receiver(settings, name, target) for name in names]


def _receiver(settings: Settings, name: str, target: Target) -> Config:
    own, kinds = kinds_of(name)
    made: Config = {"name": name}
    for kind in kinds:
        configs = [
            config
            for index, channel in enumerate(getattr(settings.alerting, kind))
            if channel.name == own
            for config in RENDER[kind](
                _Channel(settings, channel, f"alerting.{kind}.{index}", target, is_notice=own != name)
            )
        ]
        if configs:
            made[f"{kind}_configs"] = configs
    return made


class _Channel:
    """One channel on its way: its settings, where they stand, and which messages it is for."""

    def __init__(
        self, settings: Settings, own: channels.Receiver, setting: str, target: Target, *, is_notice: bool
    ) -> None:
        self.reports, self.own, self.setting, self.target = settings.reports, own, setting, target
        self._messages = "notice" if is_notice else (own.lang or settings.alerting.lang)
        # A notification is said once; that it is over says nothing.
        self.send_resolved = own.send_resolved and not is_notice

    def template(self, part: str) -> str:
        """The message's part, in the words that fit."""
        return f'{{{{ template "fleetpulse.{self._messages}.{part}" . }}}}'

    def secret(self, name: str, since: versions.Version, *, setting: str | None = None) -> Config:
        """The secret `setting` (default: `name`) as Alertmanager's `name`."""
        setting = setting or name
        value, file = getattr(self.own, setting), getattr(self.own, f"{setting}_file")
        return dict(self.target.secret(name, value, file, since, setting=f"{self.setting}.{setting}"))

    def http(self, **more: Any) -> Config:
        """`http_config`, where there is something to say in it."""
        own = self.own
        assert isinstance(own, channels.Web)  # noqa: S101 - the kinds that call this are
        said = more | given(proxy_url=own.proxy_url, tls_config=_ca(own.ca_file))
        return {"http_config": said} if said else {}


def _email(channel: _Channel) -> list[Config]:
    own = channel.own
    assert isinstance(own, channels.Mail)  # noqa: S101 - chosen by kind
    config = {
        "send_resolved": channel.send_resolved,
        "to": ", ".join(literal(_mail_address(each)) for each in own.to),
        "from": literal(_mail_address(_sender(channel, own))),
        **_server(channel, own if own.smtp_host else channel.reports),
        "headers": {"Subject": channel.template("title")},
        "text": channel.template("text"),
        "html": channel.template("mail"),
    }
    return [config]


def _sender(channel: _Channel, own: channels.Mail) -> str:
    sender = own.sender or channel.reports.sender
    if sender is None:
        raise ConfigError(f"{channel.setting}: give sender, or reports.sender")
    return sender


def _server(channel: _Channel, server: channels.Mail | Reports) -> Config:
    """The mail server's part; `server` names it."""
    setting = "reports" if isinstance(server, Reports) else channel.setting
    if server.smtp_host is None:
        raise ConfigError(f"{channel.setting}: give smtp_host, or reports.smtp_host")
    port = server.smtp_port or SMTP_PORTS[server.smtp_security]
    host = f"[{server.smtp_host}]" if ":" in server.smtp_host else server.smtp_host
    password = channel.target.secret(
        "auth_password",
        server.smtp_password,
        server.smtp_password_file,
        versions.EMAIL_PASSWORD_FILE,
        setting=f"{setting}.smtp_password",
    )
    return {
        "smarthost": f"{host}:{port}",
        **given(auth_username=server.smtp_user),
        **password,
        **_security(channel.target, server.smtp_security, port, setting),
        **given(tls_config=_ca(server.smtp_ca_file)),
    }


def _security(target: Target, security: str, port: int, setting: str) -> Config:
    """TLS from the first byte goes with port 465, until a version lets it be said."""
    if target.version >= versions.EMAIL_TLS_ANY_PORT:
        return {"require_tls": security == "starttls", "force_implicit_tls": security == "tls"}
    if (security == "tls") != (port == SMTPS_PORT):
        since = versions.EMAIL_TLS_ANY_PORT
        raise ConfigError(
            f"{setting}.smtp_security: {security} at port {port} takes Alertmanager {since}; before it, port "
            "465 is TLS, and no other port"
        )
    return {"require_tls": security == "starttls"}


def _mail_address(value: str) -> str:
    """Go reads names in quotes only where they need them, and would encode the whole line for any but ASCII."""
    parsed = HeaderRegistry()("To", value)
    assert isinstance(parsed, AddressHeader)  # noqa: S101 - what a To is; the settings hold one address
    one = parsed.addresses[0]
    name = one.display_name if one.display_name.isascii() else ""
    return str(Address(name, addr_spec=one.addr_spec)) if name else one.addr_spec


def _sns(channel: _Channel) -> list[Config]:
    own = channel.own
    assert isinstance(own, channels.Sns)  # noqa: S101 - chosen by kind
    keys = {
        "region": own.region,
        **given(access_key=own.access_key),
        **channel.secret("secret_key", versions.NEVER),
        **given(profile=own.profile, role_arn=own.role_arn),
    }
    base = {
        "send_resolved": channel.send_resolved,
        **given(api_url=own.api_url),
        "sigv4": keys,
        "message": channel.template("sms" if own.phones else "text"),
    }
    # A subject must be ASCII and may not have line breaks; telephones show none.
    places: list[Config] = [{"phone_number": phone, "subject": ""} for phone in own.phones]
    others = given(topic_arn=own.topic_arn, target_arn=own.target_arn)
    if others:
        places.append(others | {"subject": channel.template("subject")})
    return [base | place for place in places]


def _telegram(channel: _Channel) -> list[Config]:
    own, target = channel.own, channel.target
    assert isinstance(own, channels.Telegram)  # noqa: S101 - chosen by kind
    html = target.version >= versions.TELEGRAM_HTML
    base = {
        "send_resolved": channel.send_resolved,
        "api_url": own.api_url,
        **channel.secret("bot_token", versions.TELEGRAM_TOKEN_FILE),
        "parse_mode": "HTML" if html else "",
        "message": channel.template("telegram" if html else "chat"),
        "disable_notifications": own.silent,
        **channel.http(),
    }
    if own.message_thread_id is not None and target.takes(
        versions.TELEGRAM_THREAD, f"{channel.setting}.message_thread_id"
    ):
        base["message_thread_id"] = own.message_thread_id
    return [base | {"chat_id": chat} for chat in own.chat_ids]


def _discord(channel: _Channel) -> list[Config]:
    own = channel.own
    assert isinstance(own, channels.Discord)  # noqa: S101 - chosen by kind
    config = {
        "send_resolved": channel.send_resolved,
        **channel.secret("webhook_url", versions.DISCORD_URL_FILE),
        "title": channel.template("title"),
        "message": channel.template("list"),
        **channel.http(),
    }
    if own.username and channel.target.takes(versions.DISCORD_USERNAME, f"{channel.setting}.username"):
        config["username"] = literal(own.username)
    return [config]


def _slack(channel: _Channel) -> list[Config]:
    own = channel.own
    assert isinstance(own, channels.Slack)  # noqa: S101 - chosen by kind
    config = {
        "send_resolved": channel.send_resolved,
        **channel.secret("api_url", versions.SLACK_URL_FILE),
        **given(channel=own.channel and literal(own.channel), username=own.username and literal(own.username)),
        "color": channel.template("color"),
        "title": channel.template("title"),
        "title_link": channel.template("link"),
        "text": channel.template("slack"),
        "fallback": channel.template("title"),
        **channel.http(),
    }
    return [config]


def _wechat(channel: _Channel) -> list[Config]:
    own = channel.own
    assert isinstance(own, channels.Wechat)  # noqa: S101 - chosen by kind
    config = {
        "send_resolved": channel.send_resolved,
        "api_url": own.api_url if own.api_url.endswith("/") else f"{own.api_url}/",
        **_templated(channel.secret("api_secret", versions.WECHAT_SECRET_FILE, setting="secret")),
        "corp_id": literal(own.corp_id),
        "agent_id": literal(own.agent_id),
        "to_user": literal(own.to_user or ""),
        "to_party": literal(own.to_party or ""),
        "to_tag": literal(own.to_tag or ""),
        "message": channel.template("short"),
        **channel.http(),
    }
    return [config]


def _pagerduty(channel: _Channel) -> list[Config]:
    own = channel.own
    assert isinstance(own, channels.Pagerduty)  # noqa: S101 - chosen by kind
    config = {
        "send_resolved": channel.send_resolved,
        **_templated(channel.secret("routing_key", versions.PAGERDUTY_KEY_FILE)),
        "url": own.url,
        "client": "Fleetpulse",
        "client_url": channel.template("link"),
        "description": channel.template("title"),
        "severity": channel.template("severity"),
        "class": "{{ .CommonLabels.alertname }}",
        "group": "{{ .CommonLabels.pool_id }}",
        "details": {"text": channel.template("text")},
        **channel.http(),
    }
    return [config]


def _webhook(channel: _Channel) -> list[Config]:
    own = channel.own
    assert isinstance(own, channels.Webhook)  # noqa: S101 - chosen by kind
    token = channel.secret("credentials", versions.HTTP_FILES, setting="token")
    password = channel.secret("password", versions.HTTP_FILES)
    login = {"username": own.user, **password} if own.user else None
    config = {
        "send_resolved": channel.send_resolved,
        **channel.secret("url", versions.WEBHOOK_URL_FILE),
        "max_alerts": own.max_alerts,
        **channel.http(**given(authorization=token or None, basic_auth=login)),
    }
    return [config]


def _templated(secret: Config) -> Config:
    """Secrets that Alertmanager takes for templates, too."""
    return {name: Hidden(literal(value)) if isinstance(value, Hidden) else value for name, value in secret.items()}


def _ca(file: Path | None) -> Config | None:
    return {"ca_file": str(file.absolute())} if file else None


RENDER: dict[str, Callable[[_Channel], list[Config]]] = {
    "email": _email,
    "sns": _sns,
    "telegram": _telegram,
    "discord": _discord,
    "slack": _slack,
    "wechat": _wechat,
    "pagerduty": _pagerduty,
    "webhook": _webhook,
}
