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
    close then; None means the credential does not expire by itself. `sessions` are the chat sessions it may enter;
    None means all of them. `name` is for people.
    """

    subject: str
    roles: frozenset[Role]
    pool_id: str | None = None
    expires_at: float | None = None
    sessions: frozenset[str] | None = frozenset()
    name: str | None = None

    def may_enter(self, session_id: str) -> bool:
        """Whether the caller may read and write in a chat session; administrators may in every one."""
        return self.sessions is None or session_id in self.sessions or self.may(Role.ADMIN)

    def may(self, role: Role) -> bool:
        """Whether one of the caller's roles includes `role`."""
        return any(role in _GRANTS[own] for own in self.roles)


ANONYMOUS = Principal("anonymous", frozenset({Role.ADMIN}), sessions=None)
"""Everyone, where no credential is configured."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a caller presented, unchecked; absent parts are None. The repr tells nothing."""

    app_key: str | None = field(default=None, repr=False)
    app_secret: str | None = field(default=None, repr=False)
    bearer: str | None = field(default=None, repr=False)
