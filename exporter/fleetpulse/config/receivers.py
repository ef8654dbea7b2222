"""The channels over which Alertmanager tells people: e-mail, SMS, chats, PagerDuty, webhooks.

Promises that a secret is given once and that every value can stand in Alertmanager's configuration, of whichever
version. Refuses templates: a value reaches people as it is written here.
"""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, StringConstraints, model_validator

from fleetpulse.config.reports import MailAddress
from fleetpulse.config.sections import Section

RESERVED = frozenset({"nobody", "watchdog", "fleetpulse", "people"})
MOST = 50

# What Go's url.Parse takes, too; without credentials, which Alertmanager would show in its logs.
_URL = re.compile(
    r"https?://(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:]+\])(?::\d{1,5})?"
    r"(?:[/?#](?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?"
)


def _address(value: str) -> str:
    if not _URL.fullmatch(value):
        raise ValueError("is not a whole http or https address without a user name in it")
    return value


def _secret_address(value: SecretStr) -> SecretStr:
    _address(value.get_secret_value())
    return value


def _secret(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().strip().isprintable() or not value.get_secret_value().strip():
        raise ValueError("is empty, or holds characters that no secret has")
    return value


def _line(value: str) -> str:
    if not value.isprintable() or not value.strip():
        raise ValueError("is empty, or holds line breaks or characters that cannot be seen")
    return value


def as_text(value: object) -> object:
    """YAML reads an unquoted 1 or 13800000000 as a number."""
    return str(value) if type(value) is int else value


Name = Annotated[str, StringConstraints(max_length=100, pattern=r"^\w([\w .-]*[\w.-])?$")]
Line = Annotated[str, AfterValidator(_line), StringConstraints(max_length=500)]
Text = Annotated[str, BeforeValidator(as_text), AfterValidator(_line), StringConstraints(max_length=500)]
Address = Annotated[str, AfterValidator(_address), StringConstraints(max_length=2_000)]
SecretAddress = Annotated[SecretStr, AfterValidator(_secret_address)]
Secret = Annotated[SecretStr, AfterValidator(_secret)]
Phone = Annotated[str, BeforeValidator(as_text), StringConstraints(pattern=r"^\+[1-9]\d{6,14}$")]
Arn = Annotated[str, StringConstraints(pattern=r"^arn:[\w:/.-]+$", max_length=500)]
Language = Literal["en", "zh", "both"]
Port = Annotated[int, Field(gt=0, lt=65_536)]


def once(owner: object, *names: str, needed: bool = True) -> None:
    """Of these settings exactly one is given; at most one where none is needed. Raises ValueError."""
    given = [name for name in names if getattr(owner, name) not in (None, ())]
    if len(given) > 1 or (needed and not given):
        raise ValueError(f"give {'one' if needed else 'at most one'} of {', '.join(names)}")


class Receiver(Section):
    """Base of the channels. Channels of one name belong together: who is told by that name is told over each."""

    name: Name = Field(description="What routes call it; several channels may share a name.")
    send_resolved: bool = Field(True, description="Whether it is told when an alert is over.")
    lang: Language | None = Field(None, description="Language of the messages; default: `alerting.lang`.")

    @model_validator(mode="after")
    def _own_name(self) -> "Receiver":
        if self.name in RESERVED:
            raise ValueError(f"{self.name} is a name that Fleetpulse uses itself")
        return self


class Mail(Receiver):
    """E-mail. Without a server of its own it goes through that of `reports`, from its sender."""

    to: Annotated[tuple[MailAddress, ...], Field(min_length=1, max_length=MOST)] = Field(
        description="Addresses, all in one message."
    )
    sender: MailAddress | None = Field(None, description="The address it comes from; default: `reports.sender`.")
    smtp_host: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]+$")] | None = Field(
        None, description="The mail server; default: that of `reports`, with everything below."
    )
    smtp_port: Port | None = Field(None, description="Its port; default: 587, with `tls` 465, with `none` 25.")
    smtp_security: Literal["starttls", "tls", "none"] = Field(
        "starttls",
        description="How the connection is secured. Before Alertmanager 0.31, port 465 and `tls` go together.",
    )
    smtp_ca_file: Path | None = Field(None, description="Certificates (PEM) in place of the system's.")
    smtp_user: Line | None = Field(None, description="Who to log in as, where the server asks.")
    smtp_password: Secret | None = Field(None, description="The password.")
    smtp_password_file: Path | None = Field(None, description="File that holds the password.")

    @model_validator(mode="after")
    def _whole(self) -> "Mail":
        once(self, "smtp_password", "smtp_password_file", needed=self.smtp_user is not None)
        given = self.model_fields_set & {name for name in Mail.model_fields if name.startswith("smtp_")}
        if given and self.smtp_host is None:
            raise ValueError(f"{min(given)} needs smtp_host, too")
        if self.smtp_user is None and (self.smtp_password or self.smtp_password_file):
            raise ValueError("a password needs smtp_user, too")
        return self


class Sns(Receiver):
    """Amazon SNS: text messages to telephones, or a topic. Without keys, AWS's own sources of them are asked."""

    region: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$")] = Field(description="Such as eu-central-1.")
    phones: Annotated[tuple[Phone, ...], Field(max_length=MOST)] = Field(
        (), description="Telephone numbers: `+4915112345678`."
    )
    topic_arn: Arn | None = Field(None, description="In place of telephones: a topic.")
    target_arn: Arn | None = Field(None, description="In place of telephones: a mobile platform endpoint.")
    access_key: Line | None = Field(None, description="Access key id.")
    secret_key: Secret | None = Field(None, description="Its secret.")
    secret_key_file: Path | None = Field(None, description="File that holds the secret.")
    profile: Line | None = Field(None, description="Profile of AWS's own configuration.")
    role_arn: Arn | None = Field(None, description="Role to take.")
    api_url: Address | None = Field(None, description="Another endpoint than AWS's.")

    @model_validator(mode="after")
    def _whole(self) -> "Sns":
        once(self, "phones", "topic_arn", "target_arn")
        once(self, "secret_key", "secret_key_file", needed=self.access_key is not None)
        if self.access_key is None and (self.secret_key or self.secret_key_file):
            raise ValueError("a secret key needs access_key, too")
        return self


class Web(Receiver):
    """Base of the channels over HTTP."""

    proxy_url: Address | None = Field(None, description="HTTP proxy to go through.")
    ca_file: Path | None = Field(None, description="Certificates (PEM) in place of the system's.")


class Telegram(Web):
    """A Telegram bot."""

    bot_token: Secret | None = Field(None, description="The bot's token.")
    bot_token_file: Path | None = Field(None, description="File that holds it.")
    chat_ids: Annotated[tuple[int, ...], Field(min_length=1, max_length=MOST)] = Field(
        description="Chats the bot is in; groups have negative ids."
    )
    message_thread_id: Annotated[int, Field(gt=0)] | None = Field(
        None, description="Topic within a group (Alertmanager 0.28 and newer)."
    )
    silent: bool = Field(False, description="Whether telephones stay quiet.")
    api_url: Address = Field("https://api.telegram.org", description="Another server of the Bot API.")

    @model_validator(mode="after")
    def _whole(self) -> "Telegram":
        once(self, "bot_token", "bot_token_file")
        if not all(self.chat_ids) or not all(-(2**63) <= each < 2**63 for each in self.chat_ids):
            raise ValueError("chat_ids: is no id of a chat")
        return self


class Discord(Web):
    """A Discord channel's webhook."""

    webhook_url: SecretAddress | None = Field(None, description="The webhook's address.")
    webhook_url_file: Path | None = Field(None, description="File that holds it.")
    username: Line | None = Field(None, description="Shown name (Alertmanager 0.28 and newer).")

    @model_validator(mode="after")
    def _whole(self) -> "Discord":
        once(self, "webhook_url", "webhook_url_file")
        return self


class Slack(Web):
    """A Slack channel: an incoming webhook."""

    api_url: SecretAddress | None = Field(None, description="The webhook's address.")
    api_url_file: Path | None = Field(None, description="File that holds it.")
    channel: Line | None = Field(None, description="Channel, where the webhook may choose: `#alerts`.")
    username: Line | None = Field(None, description="Shown name.")

    @model_validator(mode="after")
    def _whole(self) -> "Slack":
        once(self, "api_url", "api_url_file")
        return self


class Wechat(Web):
    """WeChat Work (WeCom): an application's messages."""

    corp_id: Line = Field(description="The company's id.")
    agent_id: Text = Field(description="The application's id.")
    secret: Secret | None = Field(None, description="The application's secret.")
    secret_file: Path | None = Field(None, description="File that holds it.")
    to_user: Line | None = Field(None, description="Users, with `|` between them; `@all` for everyone.")
    to_party: Text | None = Field(None, description="Departments.")
    to_tag: Text | None = Field(None, description="Tags.")
    api_url: Address = Field("https://qyapi.weixin.qq.com/cgi-bin/", description="Another server.")

    @model_validator(mode="after")
    def _whole(self) -> "Wechat":
        once(self, "secret", "secret_file")
        if not (self.to_user or self.to_party or self.to_tag):
            raise ValueError("give to_user, to_party or to_tag")
        return self


class Pagerduty(Web):
    """A PagerDuty service, by the Events API v2."""

    routing_key: Secret | None = Field(None, description="The integration key.")
    routing_key_file: Path | None = Field(None, description="File that holds it.")
    url: Address = Field("https://events.pagerduty.com/v2/enqueue", description="Another address.")

    @model_validator(mode="after")
    def _whole(self) -> "Pagerduty":
        once(self, "routing_key", "routing_key_file")
        return self


class Webhook(Web):
    """Any address that takes Alertmanager's webhook."""

    url: SecretAddress | None = Field(None, description="The address.")
    url_file: Path | None = Field(None, description="File that holds it.")
    token: Secret | None = Field(None, description="Bearer token.")
    token_file: Path | None = Field(None, description="File that holds it.")
    user: Line | None = Field(None, description="User name, for basic authentication.")
    password: Secret | None = Field(None, description="The password.")
    password_file: Path | None = Field(None, description="File that holds it.")
    max_alerts: Annotated[int, Field(ge=0, le=100_000)] = Field(0, description="Most alerts a message; 0: any.")

    @model_validator(mode="after")
    def _whole(self) -> "Webhook":
        once(self, "url", "url_file")
        once(self, "token", "token_file", "user", needed=False)
        once(self, "password", "password_file", needed=self.user is not None)
        if self.user is None and (self.password or self.password_file):
            raise ValueError("a password needs user, too")
        return self
