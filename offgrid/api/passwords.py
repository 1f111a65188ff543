"""Checking a password that came with a request: as often as the throttle allows, and saying no in one way only."""

import math

from offgrid.errors import PermissionDenied, RateLimited
from offgrid.store.networks import network_of
from offgrid.store.users import User, folded
from offgrid.web.message import Request


def password_holder(request: Request, app, username: str, password: str) -> User | None:
    """The user of this name if it is their password; None for a wrong name or password, after the same work.

    Raises RateLimited before any work for who has failed too often, Unavailable.
    """
    network, account = network_of(request.peer), folded(username)
    if wait_s := app.login_throttle.begin(account, network):
        wait = max(1, math.ceil(wait_s))
        raise RateLimited(
            f"Too many failed attempts. Try again in {wait} s.", code="too_many_attempts", retry_after_s=wait
        )
    user = app.accounts.users.named(username)
    if not app.accounts.users.knows_password(user, password, turn_of=network):
        return None
    app.login_throttle.succeed(account, network)
    return user


def confirm_password(request: Request, app, user: User, password: str) -> None:
    """Raises PermissionDenied unless it is this user's password: a stolen login must not be enough to change it."""
    if password_holder(request, app, user.username, password) is None:
        raise PermissionDenied("current_password is not your password.", code="wrong_password")
