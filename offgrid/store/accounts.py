"""Accounts as a whole: users, their keys and their logins, and who comes with what."""

import secrets

from offgrid.errors import BadRequest, Conflict, SetupError
from offgrid.store.batch import Batch
from offgrid.store.db import Database
from offgrid.store.keys import Keys
from offgrid.store.logins import Logins
from offgrid.store.passwords import Passwords
from offgrid.store.session_clock import SessionClock
from offgrid.store.users import User, Users

SAVE_AFTER_S = 60
FIRST_ADMIN = "admin"
_EASY_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # none that looks like another one


class Accounts:
    """From any thread; nothing is written before somebody uses an account."""

    def __init__(self, db: Database, login_lifetime_s: float):
        self._clock = SessionClock(db)
        self.users = Users(db, Passwords())
        self.keys = Keys(db)
        self.logins = Logins(db, self._clock, login_lifetime_s)
        self._later = Batch(self._save, SAVE_AFTER_S, "store:accounts")

    def make_first_admin(self, given_password: str) -> str:
        """See to it that there is an admin; the password that was made up for one, "" when none was.

        Raises SetupError for a password that may not be one, or when the name is somebody else's.
        """
        if self.users.has_admin():
            return ""
        password = given_password or _make_up_password()
        try:
            self.users.create(FIRST_ADMIN, password, "admin", must_change_password=not given_password)
        except BadRequest as error:
            raise SetupError(f"access.admin_password (OFFGRID_ADMIN_PASSWORD): {error.message}") from None
        except Conflict:
            raise SetupError(
                f"There is no admin, and the user {FIRST_ADMIN} has another role. Make somebody an admin: "
                f"python offgrid.py users role {FIRST_ADMIN} admin"
            ) from None
        return "" if given_password else password

    def by_key(self, key: str) -> tuple[User, int] | None:
        """Whose key it is and the key's id; None for a key that is not, or no longer, good."""
        found = self.keys.find(key)
        if found:
            self._later.mark()
        return found

    def by_login(self, token: str) -> User | None:
        """Whose login it is; None for one that is not, or no longer, good."""
        user = self.logins.find(token)
        if user:
            self._later.mark()
        return user

    def close(self) -> None:
        """Write what is still to be written, and how far the logins' clock is. Before the database is closed."""
        if self.logins.has_any():
            self._later.mark()
        self._later.stop()

    def _save(self) -> None:
        self._clock.save()
        self.keys.save_uses()


def _make_up_password() -> str:
    """59 random bits that can be read aloud: k7mx-p3qa-9tfe."""
    return "-".join("".join(secrets.choice(_EASY_LETTERS) for _ in range(4)) for _ in range(3))
