"""Whom a notification is for: recipients as they are asked for, made to targets of deliveries."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fleetpulse.auth import Principal, Role
from fleetpulse.config import Member
from fleetpulse.journal.notices import Target
from fleetpulse.live.presence import Presence
from fleetpulse.notices.model import Channel, Recipients

USER, SESSION, ALL = "user", "session", "all"
EVERYONE = Target(ALL, "")


class Audience:
    """Finds the targets of recipients."""

    def __init__(self, presence: Presence, members: Sequence[Member]) -> None:
        self._presence = presence
        self._members = members

    def targets(self, recipients: Recipients, channel: Channel) -> list[Target]:
        """The targets over a channel, each once.

        A session's members are told over their connections to it. Over the other channels they are users as any
        others, those who are in it now.
        """
        if recipients.everyone:
            return [EVERYONE]
        users = [*recipients.users, *self._with_roles(recipients.roles)]
        found = [Target(USER, user) for user in users]
        for session in recipients.sessions:
            found += [Target(SESSION, session)] if channel is Channel.WEBSOCKET else self._inside(session)
        return list(dict.fromkeys(found))

    def _inside(self, session: str) -> Iterable[Target]:
        return (Target(USER, each.user_id) for each in self._presence.of_session(session))

    def _with_roles(self, roles: Sequence[Role]) -> list[str]:
        if not roles:
            return []
        fits = _fitting(roles)
        configured = [each.user_id for each in self._members if fits([each.role])]
        there = [each.user_id for each in self._presence.connections() if fits(_roles(each.metadata))]
        return [*configured, *there]


def _fitting(wanted: Sequence[Role]) -> Callable[[Iterable[str]], bool]:
    """Whether one who has some roles has one of those that are wanted: administrators are operators, too."""

    def fits(held: Iterable[str]) -> bool:
        known = frozenset(Role(each) for each in held if each in set(Role))
        principal = Principal("", known)
        return any(principal.may(role) for role in wanted)

    return fits


def _roles(metadata: Mapping[str, Any]) -> list[str]:
    held = metadata.get("roles", metadata.get("role", ()))
    return [held] if isinstance(held, str) else [str(each) for each in held]
