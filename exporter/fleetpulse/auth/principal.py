"""Roles, and the caller a credential stands for."""

from dataclasses import dataclass, field
from enum import StrEnum


class Role(StrEnum):
    """What a credential is for. Admin may do all an operator may, an operator all a viewer or reporter may."""

    VIEWER = "viewer"
    REPORTER = "reporter"
    OPERATOR = "operator"
    ADMIN = "admin"


_GRANTS: dict[Role, frozenset[Role]] = {
    Role.VIEWER: frozenset({Role.VIEWER}),
    Role.REPORTER: frozenset({Role.REPORTER}),
    Role.OPERATOR: frozenset({Role.VIEWER, Role.REPORTER, Role.OPERATOR}),
    Role.ADMIN: frozenset(Role),
}


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller.

    `pool_id` is the agent pool an app key was made for. `expires_at` is in unix seconds: long-lived connections
    close then; None means the credential does not expire by itself.
    """

    subject: str
    roles: frozenset[Role]
    pool_id: str | None = None
    expires_at: float | None = None

    def may(self, role: Role) -> bool:
        """Whether one of the caller's roles includes `role`."""
        return any(role in _GRANTS[own] for own in self.roles)


ANONYMOUS = Principal("anonymous", frozenset({Role.ADMIN}))
"""Everyone, where no credential is configured."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a caller presented, unchecked; absent parts are None. The repr tells nothing."""

    app_key: str | None = field(default=None, repr=False)
    app_secret: str | None = field(default=None, repr=False)
    bearer: str | None = field(default=None, repr=False)
