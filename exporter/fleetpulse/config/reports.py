"""The section about reports: when they are sent, to whom, and through which mail server."""

import re
from email.headerregistry import AddressHeader, HeaderRegistry
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, StringConstraints, model_validator

from fleetpulse.config.environment import is_loopback
from fleetpulse.config.sections import Section

PLAIN_ADDRESS = re.compile(r"[^@\s<>]+@[^@\s<>]+")
MINUTES_A_DAY = 1_440


def _clock_time(value: Any) -> Any:
    """YAML reads an unquoted 18:00 as a number of sixtieths."""
    return f"{value // 60:02}:{value % 60:02}" if type(value) is int and 0 <= value < MINUTES_A_DAY else value


def _mail_address(value: str) -> str:
    """One address, with a name or without; nothing that could become a header of its own."""
    if not value.isprintable():
        raise ValueError("holds characters that no address has")
    parsed = HeaderRegistry()("To", value)
    assert isinstance(parsed, AddressHeader)  # noqa: S101 - what a To is
    if len(parsed.addresses) != 1 or parsed.defects or not PLAIN_ADDRESS.fullmatch(parsed.addresses[0].addr_spec):
        raise ValueError("is not an e-mail address such as ops@example.com or Ops <ops@example.com>")
    return value


ClockTime = Annotated[str, BeforeValidator(_clock_time), StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
MailAddress = Annotated[str, AfterValidator(_mail_address)]


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
        has_password = self.smtp_password is not None or self.smtp_password_file is not None
        if (self.smtp_user is not None) != has_password:
            raise ValueError("smtp_user goes with smtp_password or smtp_password_file")
        if self.smtp_user and self.smtp_security == "none" and not is_loopback(self.smtp_host or ""):
            raise ValueError("smtp_security none would send the password in the clear; use starttls or tls")
        return self
