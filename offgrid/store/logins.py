"""Logins: who has shown their password lately.

A login is a token of 256 random bits, kept as SHA-256 (which is also how it is found: of a random text nothing can be
learned from the time that takes). It ends by the session clock, by logging out, with a change of the password, and
with the user.
"""

import hashlib
import re
import secrets
import time

from offgrid.store.db import Database
from offgrid.store.session_clock import SessionClock
from offgrid.store.users import User

MAX_LOGINS_EACH = 100  # of one user; the oldest one ends
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


class Logins:
    """From any thread."""

    def __init__(self, db: Database, clock: SessionClock, lifetime_s: float):
        self._db = db
        self._clock = clock
        self.lifetime_s = lifetime_s

    def create(self, user: User) -> str | None:
        """A new login's token; None when the password that was checked is no longer this user's."""
        token, now_s = secrets.token_urlsafe(32), self._clock.now_s()
        with self._db.write() as sql:
            made = sql.execute(
                "INSERT INTO logins (hash, user_id, expires_s) SELECT ?, id, ? FROM users "
                "WHERE id = ? AND password_hash = ?",
                (hash_of(token), now_s + self.lifetime_s, user.id, user.password_hash),
            )
            if made.rowcount == 0:
                return None
            sql.execute("DELETE FROM logins WHERE expires_s <= ?", (now_s,))
            sql.execute(
                "DELETE FROM logins WHERE hash IN (SELECT hash FROM logins WHERE user_id = ? "
                "ORDER BY expires_s DESC LIMIT -1 OFFSET ?)",
                (user.id, MAX_LOGINS_EACH),
            )
            sql.execute("UPDATE users SET last_login_at = ? WHERE id = ?", (time.time(), user.id))
        return token

    def find(self, token: str) -> User | None:
        """Whose login this is; None for one that never was or has ended."""
        row = self._db.row(
            "SELECT users.*, logins.expires_s FROM logins JOIN users ON users.id = logins.user_id WHERE hash = ?",
            (hash_of(token),),
        )
        return User.of(row) if row and row["expires_s"] > self._clock.now_s() else None

    def has_any(self) -> bool:
        return self._db.row("SELECT 1 FROM logins LIMIT 1") is not None

    def revoke(self, token: str) -> None:
        """End it, if it has not ended yet."""
        with self._db.write() as sql:
            sql.execute("DELETE FROM logins WHERE hash = ?", (hash_of(token),))


def is_token(text: str) -> bool:
    """Whether it is spelled like a login's token: another program's cookie of the same name is not."""
    return _TOKEN.fullmatch(text) is not None


def hash_of(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
