"""All settings as one object, and how it is read: arguments, then the environment, then the file."""

from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    YamlConfigSettingsSource,
)

from fleetpulse.config import legacy
from fleetpulse.config.alerting import Alerting
from fleetpulse.config.backup import Backup
from fleetpulse.config.chat import Chat
from fleetpulse.config.cluster import Cluster
from fleetpulse.config.environment import config_path
from fleetpulse.config.money import Budget, LocalPrice
from fleetpulse.config.notifications import Notifications
from fleetpulse.config.reports import Reports
from fleetpulse.config.sections import (
    Accounts,
    Agents,
    Auth,
    Journal,
    Limits,
    Live,
    OtlpIn,
    OtlpOut,
    Plugins,
    Search,
    Stack,
    Thresholds,
)
from fleetpulse.config.tap import Tap
from fleetpulse.errors import ConfigError


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
    accounts: Accounts = Accounts()
    live: Live = Live()
    chat: Chat = Chat()
    search: Search = Search()
    otlp_in: OtlpIn = OtlpIn()
    otlp_out: OtlpOut = OtlpOut()
    plugins: Plugins = Plugins()
    reports: Reports = Reports()
    alerting: Alerting = Alerting()
    notifications: Notifications = Notifications()
    cluster: Cluster = Cluster()
    tap: Tap = Tap()
    backup: Backup = Backup()
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
        if path is None:
            return sources
        if legacy.is_legacy(path):
            return (*sources, InitSettingsSource(settings_cls, legacy.convert(path).settings))
        return (*sources, YamlConfigSettingsSource(settings_cls, path, yaml_file_encoding="utf-8"))

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
    def message_search_path(self) -> Path:
        """The database file of the messages' search index."""
        return self.data_dir / "search-messages.db"

    @property
    def backup_folder(self) -> Path:
        """Where backups of the journal are put."""
        return self.backup.folder or self.data_dir / "backups"

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


def notes() -> tuple[str, ...]:
    """What is to be said about the configuration file in use; nothing about one of Fleetpulse's own."""
    path = config_path()
    return legacy.convert(path).notes if path and legacy.is_legacy(path) else ()


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
