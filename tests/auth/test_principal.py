import pytest

from fleetpulse.auth import ANONYMOUS, Credentials, Principal, Role

MATRIX = {
    Role.VIEWER: {Role.VIEWER},
    Role.REPORTER: {Role.REPORTER},
    Role.OPERATOR: {Role.VIEWER, Role.REPORTER, Role.OPERATOR},
    Role.ADMIN: {Role.VIEWER, Role.REPORTER, Role.OPERATOR, Role.ADMIN},
}


@pytest.mark.parametrize("own", Role)
@pytest.mark.parametrize("needed", Role)
def test_what_each_role_may(own: Role, needed: Role) -> None:
    assert Principal("x", frozenset({own})).may(needed) == (needed in MATRIX[own])


def test_roles_add_up_and_none_may_nothing() -> None:
    both = Principal("x", frozenset({Role.VIEWER, Role.REPORTER}))
    assert both.may(Role.VIEWER)
    assert both.may(Role.REPORTER)
    assert not both.may(Role.OPERATOR)
    assert not any(Principal("x", frozenset()).may(role) for role in Role)
    assert all(ANONYMOUS.may(role) for role in Role)


def test_credentials_show_nothing() -> None:
    assert "hidden" not in repr(Credentials("hidden", "hidden", "hidden"))
