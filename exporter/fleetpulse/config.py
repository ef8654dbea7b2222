"""All reading of configuration: built-in defaults, then `fleetpulse.yaml`, then `FLEETPULSE_*` variables.

The file is `$FLEETPULSE_CONFIG`, else `./fleetpulse.yaml` where it exists. A nested setting is reached from the
environment with two underscores: `FLEETPULSE_LIMITS__SOURCES=200`. Unknown settings are errors, so that a typing
mistake never passes silently. `docs/configuration.md` lists every setting; a test keeps it complete.
"""

import ipaddress
import os
import re
from email.headerregistry import HeaderRegistry
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    YamlConfigSettingsSource,
)

from fleetpulse.errors import ConfigError
from fleetpulse.signals import Identifier, Label

# Read by clients and by tools beside the server, not settings of it.
CLIENT_VARIABLES = frozenset(
    f"FLEETPULSE_{name}"
    for name in ("CONFIG", "URL", "APP_KEY", "APP_SECRET", "TOKEN", "SOURCE", "SPOOL", "ENABLED", "IMAGE", "TOOLS")
)

Ratio = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
Price = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
PLAIN_ADDRESS = re.compile(r"[^@\s<>]+@[^@\s<>]+")
MINUTES_A_DAY = 1_440
Scope = Literal["total", "source", "model", "user", "account"]


def _clock_time(value: Any) -> Any:
    """YAML reads an unquoted 18:00 as a number of sixtieths."""
    return f"{value // 60:02}:{value % 60:02}" if type(value) is int and 0 <= value < MINUTES_A_DAY else value


def _mail_address(value: str) -> str:
    """One address, with a name or without; nothing that could become a header of its own."""
    if not value.isprintable():
        raise ValueError("holds characters that no address has")
    parsed = HeaderRegistry()("To", value)
    if len(parsed.addresses) != 1 or parsed.defects or not PLAIN_ADDRESS.fullmatch(parsed.addresses[0].addr_spec):
        raise ValueError("is not an e-mail address such as ops@example.com or Ops <ops@example.com>")
    return value


ClockTime = Annotated[str, BeforeValidator(_clock_time), StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
MailAddress = Annotated[str, AfterValidator(_mail_address)]


class Section(BaseModel):
    """Base of the nested sections: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Auth(Section):
    """Who may call. With nothing set here, loopback needs no credentials."""

    app_keys_file: Path | None = Field(
        None, description="App keys (hashed); default: `app-keys.json` in the data folder."
    )
    jwt_secret: SecretStr | None = Field(None, description="HS256 secret, 32 characters or more.")
    jwt_secret_file: Path | None = Field(None, description="File that holds the HS256 secret.")
    jwks_file: Path | None = Field(None, description="JWKS file with RS256 public keys.")
    jwks_url: str | None = Field(None, description="JWKS address with RS256 public keys, fetched and cached.")
    jwt_audience: str = Field("fleetpulse", description="Required `aud` claim.")
    jwt_issuer: str | None = Field(None, description="Required `iss` claim, where set.")
    allow_unauthenticated: bool = Field(
        False,
        description="Serve an address other than loopback to anyone. Only behind something that guards it.",
    )
    allowed_origins: tuple[str, ...] = Field(
        (), description="Origins (besides the exporter's own) whose pages may open WebSockets; `*` for any."
    )


class Limits(Section):
    """Bounds of everything that comes in; past a label's cap, values are counted under `other`."""

    body_bytes: Positive = Field(8 * 2**20, description="Largest request body as sent.")
    decompressed_bytes: Positive = Field(16 * 2**20, description="Largest request body once decompressed.")
    batch_items: Positive = Field(10_000, description="Most items in one request.")
    sources: Positive = Field(50, description="Distinct `source` label values.")
    models: Positive = Field(100, description="Distinct `model` label values.")
    statuses: Positive = Field(12, description="Distinct `status` label values of requests, and as many of agents.")
    pools: Positive = Field(200, description="Distinct agent pools.")
    agent_series: Positive = Field(10_000, description="Agents with series of their own.")
    agents: Positive = Field(50_000, description="Agents remembered at all; past it, new ones are refused.")
    alertnames: Positive = Field(200, description="Distinct `alertname` label values.")
    top_users: Annotated[int, Field(ge=0, le=100)] = Field(
        10, description="Users named in series, those with most requests and most cost; 0 names nobody."
    )


class Journal(Section):
    """The SQLite journal."""

    synchronous: Literal["full", "normal"] = Field(
        "full", description="`full` survives power loss; `normal` survives a crash of the process only."
    )
    queue_rows: Positive = Field(
        50_000, description="Rows that may wait for the writer; past it ingest answers 503."
    )
    retention_days: Positive = Field(
        70, description="Rows older than this are deleted: a month and the month before."
    )
    max_bytes: Positive = Field(20 * 2**30, description="Oldest rows are deleted beyond this size.")
    retention_interval_seconds: Annotated[float, Field(gt=0)] = Field(
        60.0, description="How often retention looks."
    )


class Thresholds(Section):
    """What the alert rules compare with; exported as `fleetpulse_threshold`."""

    error_rate: Ratio = Field(0.10, description="Failed share of requests.")
    error_rate_min_requests: Positive = Field(
        20, description="Requests it takes to judge an error rate: one failure of one request is no trend."
    )
    account_error_rate: Ratio = Field(0.50, description="Failed share of one account's messages.")
    heartbeat_silence_seconds: Positive = Field(300, description="An agent silent for longer is offline.")
    cpu_warning: Ratio = Field(0.70, description="Yellow in dashboards.")
    cpu_critical: Ratio = Field(0.90, description="Red in dashboards, and an alert.")
    memory_warning: Ratio = Field(0.70, description="Yellow in dashboards.")
    memory_critical: Ratio = Field(0.90, description="Red in dashboards, and an alert.")


class Agents(Section):
    """Agents' state."""

    forget_after_seconds: Positive = Field(
        7 * 86_400, description="An agent silent for this long is forgotten with its series."
    )
    forget_offline_after_seconds: Positive = Field(
        3_600, description="An agent that reported `offline` is forgotten after this long."
    )
    save_interval_seconds: Annotated[float, Field(gt=0)] = Field(2.0, description="How often state is saved.")


class ModelPrice(Section):
    """What calls of a model cost. Cached tokens are part of the input; unless priced, they cost the same.

    A kind of tokens that has no price leaves the requests that used it unpriced. `request_usd` comes on top; alone,
    it is the whole price of a call, however many tokens.
    """

    model: Label = Field(description="The model as it is reported; `*` stands for any text.")
    provider: Label | None = Field(None, description="Only where this provider is reported; default: any.")
    input_usd_per_million: Price | None = Field(None, description="USD per million input tokens.")
    output_usd_per_million: Price | None = Field(None, description="USD per million output tokens.")
    cached_usd_per_million: Price | None = Field(
        None, description="USD per million input tokens read from a cache; default: what input costs."
    )
    request_usd: Price | None = Field(None, description="USD per request.")

    @model_validator(mode="after")
    def _some_price(self) -> "ModelPrice":
        if self.input_usd_per_million is self.output_usd_per_million is self.request_usd is None:
            raise ValueError("a price needs input_usd_per_million, output_usd_per_million or request_usd")
        return self


class LocalPrice(ModelPrice):
    """A price of your own. It wins over the bundled price list; a cost that is reported wins over both.

    Of several that fit a request, an exact model wins over one with `*`, then the longer, then one with a provider,
    then the one that is valid from later.
    """

    valid_from: AwareDatetime | None = Field(
        None,
        alias="from",
        description="Only for requests made at this time or later (RFC 3339, with a zone); default: always.",
    )

    model_config = ConfigDict(populate_by_name=True)


class Budget(Section):
    """A spending limit: in total, or of one source, model, user or account; per day, week or month."""

    name: Annotated[str, Field(min_length=1, max_length=64, description="What dashboards and alerts call it.")]
    limit_usd: Annotated[float, Field(gt=0, allow_inf_nan=False, description="The limit in USD.")]
    period: Literal["day", "week", "month"] = Field("day", description="How long until it starts anew.")
    source: Identifier | None = Field(None, description="Only this source's requests; default: all.")
    model: Identifier | None = Field(None, description="Only this model's requests; default: all.")
    user: Identifier | None = Field(None, description="Only the requests with this `user_id`; default: all.")
    account: Identifier | None = Field(None, description="Only the requests with this `account_id`; default: all.")

    @model_validator(mode="after")
    def _one_scope(self) -> "Budget":
        if sum(target is not None for target in (self.source, self.model, self.user, self.account)) > 1:
            raise ValueError("a budget is of one source, model, user or account, not of several")
        return self

    @property
    def scope(self) -> Scope:
        """What it is of."""
        scopes: tuple[Scope, ...] = ("source", "model", "user", "account")
        return next((scope for scope in scopes if getattr(self, scope) is not None), "total")

    @property
    def target(self) -> str:
        """The source, model, user or account it is of; empty for the total."""
        return self.source or self.model or self.user or self.account or ""


class Live(Section):
    """The live feed."""

    history_messages: Positive = Field(2_048, description="Messages kept per topic for resume.")
    history_seconds: Positive = Field(600, description="Age limit of that history.")
    flush_seconds: Annotated[float, Field(ge=0, le=1)] = Field(
        0.02, description="Messages of one topic within this time go out in one write."
    )
    conflate_bytes: Positive = Field(64 * 2**10, description="Buffered bytes past which a client counts as slow.")
    evict_bytes: Positive = Field(2**20, description="Buffered bytes past which a client is closed.")
    evict_seconds: Annotated[float, Field(gt=0)] = Field(30.0, description="A client slow for longer is closed.")
    max_connections: Positive = Field(20_000, description="Open connections in all.")
    max_connections_per_ip: Positive = Field(10_000, description="Open connections from one address.")
    max_subscriptions: Positive = Field(100, description="Subscriptions of one connection.")
    max_topics: Positive = Field(1_000, description="Topics in use; unheard ones make room for new ones.")
    max_message_bytes: Positive = Field(64 * 2**10, description="Largest message a client may send.")
    messages_per_second: Positive = Field(50, description="Messages a client may send a second, on average.")
    ping_seconds: Annotated[float, Field(gt=0)] = Field(30.0, description="Ping interval.")
    dead_seconds: Annotated[float, Field(gt=0)] = Field(60.0, description="No sign of life for this long: closed.")


class OtlpOut(Section):
    """OpenTelemetry out: log records and spans. Where to is said by the standard variables, listed below."""

    begin: Literal["newest", "oldest"] = Field(
        "newest",
        description="Where sending begins when it is turned on for the first time: with what is stored from then "
        "on, or with the oldest row that is kept. Afterwards it goes on where it stopped.",
    )


class OtlpIn(Section):
    """OpenTelemetry in: spans and events of model calls as request logs."""

    events: Literal["unsampled", "always"] = Field(
        "unsampled",
        description="Which events of model calls become request logs: those whose span is not exported, or all; "
        "`always` is for applications that send their spans elsewhere. Events know no duration.",
    )


class Reports(Section):
    """Reports, and sending them by e-mail on a schedule. Of several replicas, set it up on one."""

    lang: Literal["en", "zh"] = Field("en", description="Language of reports that are not asked for in another.")
    daily_at: ClockTime | None = Field(
        None, description="When to send the report of the day before, in `timezone`: `08:00`. Default: never."
    )
    weekly_at: ClockTime | None = Field(
        None, description="When to send the report of the week before, on Mondays. Default: never."
    )
    monthly_at: ClockTime | None = Field(
        None, description="When to send the report of the month before, on the first. Default: never."
    )
    recipients: Annotated[tuple[MailAddress, ...], Field(max_length=50)] = Field(
        (), description="Who gets them: `ops@example.com`, or `Ops <ops@example.com>`."
    )
    sender: MailAddress | None = Field(None, description="The address they come from.")
    smtp_host: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="The mail server. Without one, nothing is sent."
    )
    smtp_port: Annotated[int, Field(gt=0, lt=65_536)] | None = Field(
        None, description="Its port; default: 587, with `tls` 465, with `none` 25."
    )
    smtp_security: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="How the connection is secured. The server's certificate is verified."
    )
    smtp_ca_file: Path | None = Field(
        None, description="Certificates (PEM) to verify it with, in place of the system's."
    )
    smtp_user: str | None = Field(None, description="Who to log in as, where the server asks.")
    smtp_password: SecretStr | None = Field(None, description="The password.")
    smtp_password_file: Path | None = Field(
        None, description="File that holds the password; read anew for every e-mail."
    )

    @model_validator(mode="after")
    def _can_be_sent(self) -> "Reports":
        scheduled = [name for name in ("daily_at", "weekly_at", "monthly_at") if getattr(self, name)]
        missing = [name for name in ("smtp_host", "sender", "recipients") if not getattr(self, name)]
        if scheduled and missing:
            raise ValueError(f"{scheduled[0]} needs {', '.join(missing)}, too")
        if self.smtp_password is not None and self.smtp_password_file is not None:
            raise ValueError("smtp_password and smtp_password_file exclude each other")
        if (self.smtp_user is None) != (self.smtp_password is self.smtp_password_file is None):
            raise ValueError("smtp_user goes with smtp_password or smtp_password_file")
        if self.smtp_user and self.smtp_security == "none" and not is_loopback(self.smtp_host or ""):
            raise ValueError("smtp_security none would send the password in the clear; use starttls or tls")
        return self


class Search(Section):
    """Looking requests up: `/api/requests`, its search and its export."""

    index: bool = Field(
        True, description="Keep an index of texts and ids beside the journal; without it, rows are read one by one."
    )
    seconds: Annotated[float, Field(gt=0, le=60)] = Field(
        2.0, description="A call looks no longer; it answers what was found, and where to go on."
    )
    threads: Annotated[int, Field(ge=1, le=64)] = Field(4, description="Calls and exports worked on at once.")
    queue: Annotated[int, Field(ge=0)] = Field(64, description="Calls that may wait; past it the answer is 503.")
    exports: Positive = Field(2, description="Exports that run at once; past it the answer is 503.")


class Stack(Section):
    """The other parts: where they are, and on which ports `fleetpulse up` starts them."""

    prometheus_port: Annotated[int, Field(gt=0, lt=65_536)] = Field(9090, description="Prometheus' port for `up`.")
    alertmanager_port: Annotated[int, Field(gt=0, lt=65_536)] = Field(
        9093, description="Alertmanager's port for `up`."
    )
    grafana_port: Annotated[int, Field(gt=0, lt=65_536)] = Field(3000, description="Grafana's port for `up`.")
    loki_port: Annotated[int, Field(gt=0, lt=65_536)] = Field(3100, description="Loki's port on this machine.")
    prometheus_url: str | None = Field(None, description="Default: loopback at `prometheus_port`.")
    alertmanager_url: str | None = Field(None, description="Default: loopback at `alertmanager_port`.")
    grafana_url: str | None = Field(None, description="Default: loopback at `grafana_port`.")
    loki_url: str | None = Field(None, description="Default: loopback at `loki_port`.")
    prometheus_internal_url: str | None = Field(
        None, description="Where the exporter itself reaches Prometheus; default: `prometheus_url`."
    )
    alertmanager_internal_url: str | None = Field(
        None, description="Where the exporter itself reaches Alertmanager; default: `alertmanager_url`."
    )
    grafana_internal_url: str | None = Field(
        None, description="Where the exporter itself reaches Grafana; default: `grafana_url`."
    )
    prometheus_token_file: Path | None = Field(
        None, description="File with the bearer token that Prometheus asks for; read at every call."
    )
    alertmanager_token_file: Path | None = Field(
        None, description="File with the bearer token that Alertmanager asks for; read at every call."
    )
    prometheus_retention_days: Positive = Field(
        70, description="How long `up` has Prometheus keep series: a month and the month before."
    )


class Settings(BaseSettings):
    """Everything that can be set. Frozen: a change of configuration is a restart."""

    model_config = SettingsConfigDict(
        env_prefix="FLEETPULSE_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: Annotated[int, Field(ge=0, lt=65_536)] = Field(8001, description="Port to listen on; 0 picks a free one.")
    data_dir: Path = Field(Path("data"), description="Folder of the journal and everything else that is kept.")
    timezone: str = Field("UTC", description="Time zone in which days, weeks and months begin.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level logged.")
    log_format: Literal["text", "json"] = Field(
        "text", description="One line of text or one JSON object per event."
    )
    auth: Auth = Auth()
    limits: Limits = Limits()
    journal: Journal = Journal()
    thresholds: Thresholds = Thresholds()
    agents: Agents = Agents()
    live: Live = Live()
    search: Search = Search()
    otlp_in: OtlpIn = OtlpIn()
    otlp_out: OtlpOut = OtlpOut()
    reports: Reports = Reports()
    stack: Stack = Stack()
    budgets: tuple[Budget, ...] = Field(
        (Budget(name="daily", limit_usd=10.0),), description="Spending limits; default $10 a day in total."
    )
    prices: Annotated[tuple[LocalPrice, ...], Field(max_length=1_000)] = Field(
        (), description="Prices of your own, which win over the bundled price list."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - signature given by pydantic-settings
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over the environment, which wins over the file."""
        path = config_path()
        sources: tuple[PydanticBaseSettingsSource, ...] = (init_settings, env_settings)
        return (*sources, YamlConfigSettingsSource(settings_cls, path)) if path else sources

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError("is not a time zone name such as Europe/Berlin or Asia/Shanghai") from error
        return value

    @field_validator("budgets")
    @classmethod
    def _distinct_budgets(cls, value: tuple[Budget, ...]) -> tuple[Budget, ...]:
        names = [budget.name for budget in value]
        if len(set(names)) < len(names):
            raise ValueError("two budgets share a name")
        return value

    @field_validator("prices")
    @classmethod
    def _distinct_prices(cls, value: tuple[LocalPrice, ...]) -> tuple[LocalPrice, ...]:
        if len({(price.model, price.provider, price.valid_from) for price in value}) < len(value):
            raise ValueError("two prices are of the same model, provider and time")
        return value

    @property
    def journal_path(self) -> Path:
        """The journal's database file."""
        return self.data_dir / "journal.db"

    @property
    def search_path(self) -> Path:
        """The search index's database file."""
        return self.data_dir / "search.db"

    @property
    def app_keys_path(self) -> Path:
        """The file of hashed app keys."""
        return self.auth.app_keys_file or self.data_dir / "app-keys.json"

    @property
    def prometheus_url(self) -> str:
        """Where Prometheus answers."""
        return self.stack.prometheus_url or f"http://127.0.0.1:{self.stack.prometheus_port}"

    @property
    def alertmanager_url(self) -> str:
        """Where Alertmanager answers."""
        return self.stack.alertmanager_url or f"http://127.0.0.1:{self.stack.alertmanager_port}"

    @property
    def prometheus_internal_url(self) -> str:
        """Where the exporter asks Prometheus, which may not be where browsers find it."""
        return self.stack.prometheus_internal_url or self.prometheus_url

    @property
    def alertmanager_internal_url(self) -> str:
        """Where the exporter asks Alertmanager."""
        return self.stack.alertmanager_internal_url or self.alertmanager_url

    @property
    def grafana_internal_url(self) -> str:
        """Where the exporter looks whether Grafana is up."""
        return self.stack.grafana_internal_url or self.grafana_url

    @property
    def grafana_url(self) -> str:
        """Where Grafana answers."""
        return self.stack.grafana_url or f"http://127.0.0.1:{self.stack.grafana_port}"

    @property
    def loki_url(self) -> str:
        """Where Loki answers, if there is one."""
        return self.stack.loki_url or f"http://127.0.0.1:{self.stack.loki_port}"


def config_path() -> Path | None:
    """The configuration file in use, if any; a named file that is missing is an error."""
    named = os.environ.get("FLEETPULSE_CONFIG")
    if named:
        if not Path(named).is_file():
            raise ConfigError(f"FLEETPULSE_CONFIG names {named}, which is not a file")
        return Path(named)
    default = Path("fleetpulse.yaml")
    return default if default.is_file() else None


def load(**overrides: Any) -> Settings:
    """Reads the configuration; raises ConfigError that names each wrong setting."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, item['loc'])) or 'configuration'}: {item['msg']}" for item in error.errors()]
        raise ConfigError("; ".join(lines)) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{config_path()} is not valid YAML: {error}") from error
    except SettingsError as error:
        raise ConfigError(f"{error} ({error.__cause__ or 'not readable'})") from error
    except (OSError, TypeError, ValueError) as error:
        raise ConfigError(f"{config_path()} does not hold settings as `name: value`: {error}") from error


def use_file(path: Path) -> None:
    """Makes `path` the configuration file of this process and of the processes it starts."""
    os.environ["FLEETPULSE_CONFIG"] = str(path.absolute())


def otel_variables() -> dict[str, str]:
    """OpenTelemetry's standard variables as they are set; `sinks/variables.py` knows what they mean."""
    return {name: value for name, value in os.environ.items() if name.startswith("OTEL_") and value.strip()}


def unknown_variables() -> list[str]:
    """Variables that look like settings and are none: most often a typing mistake, which nothing else notices."""
    known = {f"FLEETPULSE_{name}".upper() for name in Settings.model_fields} | CLIENT_VARIABLES
    names = (name for name in os.environ if name.upper().startswith("FLEETPULSE_"))
    return sorted(name for name in names if name.upper().split("__")[0] not in known)


def is_loopback(host: str) -> bool:
    """Whether an address to listen on can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
