"""The sections of the configuration: every setting with its default, its bounds and what it does."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

Ratio = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[int, Field(gt=0)]


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
    accounts: Positive = Field(500, description="Distinct `account_id` label values.")
    known_accounts: Positive = Field(
        50_000, description="Group accounts remembered at all; past it, new ones are refused."
    )
    streams: Positive = Field(50, description="Distinct `stream` label values of messages.")
    message_kinds: Positive = Field(20, description="Distinct `kind` label values of messages.")
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
    stream_days: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(
        {},
        description="Days that messages of a stream are kept, by its name (`chat`: the exporter's own), if fewer.",
    )
    retention_interval_seconds: Annotated[float, Field(gt=0)] = Field(
        60.0, description="How often retention looks."
    )


class Thresholds(Section):
    """What the alert rules compare with; exported as `fleetpulse_threshold`."""

    error_rate: Ratio = Field(0.10, description="Failed share of requests.")
    error_rate_min_requests: Positive = Field(
        20, description="Requests it takes to judge an error rate: one failure of one request is no trend."
    )
    account_error_rate: Ratio = Field(0.50, description="Errors among all that one account did.")
    account_error_min_activities: Positive = Field(
        20, description="Activities it takes to judge an account's error rate."
    )
    account_idle_seconds: Positive = Field(
        3_600, description="An account that is online and did nothing for longer is idle."
    )
    live_delivery_seconds: Annotated[float, Field(gt=0)] = Field(
        0.25, description="From publishing to the clients' sockets, for 99 % of flushes. Judged up to 5 s."
    )
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


class Accounts(Section):
    """Group accounts' state."""

    offline_after_seconds: Positive = Field(
        86_400, description="An account that was not heard for this long is offline."
    )
    forget_after_seconds: Positive = Field(
        30 * 86_400,
        description="An account that was not heard for this long is forgotten. Its counters stay; heard again, its "
        "state begins anew.",
    )


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
    max_topics: Positive = Field(20_000, description="Topics in use; unheard ones make room for new ones.")
    max_message_bytes: Positive = Field(64 * 2**10, description="Largest message a client may send.")
    messages_per_second: Positive = Field(50, description="Messages a client may send a second, on average.")
    compression: Literal["asked", "offered", "never"] = Field(
        "asked",
        description="When messages are deflated for a client that offers permessage-deflate: where the address "
        "says `compress=1`, always, never.",
    )
    ping_seconds: Annotated[float, Field(gt=0)] = Field(30.0, description="Ping interval.")
    dead_seconds: Annotated[float, Field(gt=0)] = Field(60.0, description="No sign of life for this long: closed.")
    stats_seconds: Annotated[float, Field(gt=0)] = Field(
        10.0, description="How often the topic `stats` tells how the live feed does, while someone listens."
    )


class Plugins(Section):
    """Plug-ins: packages that are installed beside Fleetpulse and take part in it."""

    enabled: tuple[str, ...] = Field(
        (), description="Names of the plug-ins to load, in this order; others do nothing."
    )
    on_error: Literal["stop", "skip"] = Field(
        "stop", description="A plug-in that cannot be loaded stops the start, or is left out and logged."
    )
    settings: Annotated[dict[str, dict[str, Any]], Field(repr=False)] = Field(
        {}, description="What each plug-in gets as settings of its own, by its name."
    )


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
