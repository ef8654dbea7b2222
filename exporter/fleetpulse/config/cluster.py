"""The section about several replicas: the Redis they talk over, and how long they wait for each other."""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, StringConstraints, field_validator, model_validator

from fleetpulse.config.sections import Positive, Section

SCHEMES = ("redis", "rediss", "unix")
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=128, pattern=r"^[!-~]+$")]
Seconds = Annotated[float, Field(gt=0, le=600)]


class Cluster(Section):
    """Several replicas, which tell each other over Redis what is live. Without `redis_url` there is one only."""

    redis_url: SecretStr | None = Field(
        None,
        description="Redis that all replicas share: `redis://host:6379/0`, `rediss://…` with TLS, or "
        "`unix:///path/to/socket`; a user name may stand in it.",
    )
    redis_password: SecretStr | None = Field(None, description="Its password.")
    redis_password_file: Path | None = Field(
        None, description="File that holds the password; read anew at every connection."
    )
    replica: Name | None = Field(
        None, description="Name of this replica, for people; default: the host's name and the port."
    )
    channel_prefix: Name = Field(
        "fleetpulse", description="Begins every Redis channel and key: one Redis may serve several clusters."
    )
    connect_seconds: Seconds = Field(5.0, description="Redis has to accept a connection within this time.")
    silence_seconds: Seconds = Field(
        5.0, description="Redis that gives no sign of life for this long counts as lost."
    )
    retry_seconds: Seconds = Field(15.0, description="Longest pause between attempts to reach Redis.")
    claim_seconds: Seconds = Field(
        2.0, description="Longest wait for a user's seat; past it, this replica's own limit decides alone."
    )
    gone_seconds: Seconds = Field(
        10.0, description="A replica not heard of for this long is gone: its users are offline, its seats free."
    )
    queue_messages: Positive = Field(
        10_000, description="Messages that may wait for Redis; past it they are dropped. Rows are asked for again."
    )
    queue_bytes: Positive = Field(16 * 2**20, description="The same in bytes.")
    history_rows: Annotated[int, Field(ge=0, le=100_000)] = Field(
        2_048,
        description="How far back a replica asks another for rows when it meets it, for clients that come over.",
    )

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parts = urlsplit(value.get_secret_value())
            if parts.scheme not in SCHEMES or not (parts.path if parts.scheme == "unix" else parts.hostname):
                raise ValueError("is not an address such as redis://127.0.0.1:6379/0 or unix:///run/redis.sock")
        return value

    @model_validator(mode="after")
    def _one_password(self) -> "Cluster":
        given = (self.redis_password, self.redis_password_file)
        within = self.redis_url is not None and urlsplit(self.redis_url.get_secret_value()).password is not None
        if sum(each is not None for each in given) + within > 1:
            raise ValueError("redis_password, redis_password_file and a password in redis_url exclude each other")
        return self
