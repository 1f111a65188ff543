"""Accounts: names, roles, passwords.

Must stay true: two names that look alike in another case are one account; once there is an admin there always is one;
who loses a password, a role or the account loses it for the next request, as nothing is remembered outside the
database. Deleting a user takes their keys and logins (by the tables' references) and what they own along.
"""

import secrets
import sqlite3
import time
import unicodedata
from dataclasses import dataclass, field

from offgrid.errors import BadRequest, Conflict, NotFound
from offgrid.store.db import Database
from offgrid.store.owners import adopt, delete_owned
from offgrid.store.passwords import Passwords
from offgrid.types import LOCAL_OWNER, ROLES

MAX_NAME_CHARS = 64
# As somebody may type it: letters and their marks apart. Unicode's normal forms take a time that grows with the square
# of a text's marks, and everybody else waits meanwhile, so a longer text is nobody's name without being looked at.
MAX_TYPED_CHARS = 4 * MAX_NAME_CHARS
MAX_EMAIL_CHARS = 254  # RFC 5321's longest path


@dataclass(frozen=True, slots=True)
class User:
    """`id` is 32 hex digits; times are unix seconds."""

    id: str
    username: str
    role: str
    email: str | None
    created_at: float
    last_login_at: float | None
    must_change_password: bool
    password_hash: str = field(repr=False)

    @classmethod
    def of(cls, row: sqlite3.Row) -> "User":
        """From a row with all columns of the table."""
        return cls(
            row["id"],
            row["username"],
            row["role"],
            row["email"],
            row["created_at"],
            row["last_login_at"],
            bool(row["must_change_password"]),
            row["password_hash"],
        )


class Users:
    """From any thread. `turn_of` is whose turn a hash takes: see `Passwords`."""

    def __init__(self, db: Database, passwords: Passwords):
        self._db = db
        self._passwords = passwords

    def create(
        self,
        username: str,
        password: str,
        role: str = "user",
        email: str | None = None,
        *,
        must_change_password: bool = False,
        turn_of: str = "",
    ) -> User:
        """A new account; the first admin also gets what was kept without accounts. Raises BadRequest, Conflict."""
        check_username(username)
        check_role(role)
        check_email(email)
        if self.named(username):
            raise _taken(username)
        hashed = self._passwords.hash(password, turn_of)
        user = User(secrets.token_hex(16), username, role, email, time.time(), None, must_change_password, hashed)
        try:
            with self._db.write() as sql:
                if role == "admin" and not _n_admins(sql):
                    adopt(sql, LOCAL_OWNER, user.id)
                sql.execute(
                    "INSERT INTO users (id, username, folded, role, email, created_at, must_change_password, "
                    "password_hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (user.id, username, folded(username), role, email, user.created_at, must_change_password, hashed),
                )
        except sqlite3.IntegrityError:  # made in the time its password took
            raise _taken(username) from None
        return user

    def all(self) -> list[User]:
        """All of them, by name."""
        return [User.of(row) for row in self._db.read("SELECT * FROM users ORDER BY folded")]

    def get(self, user_id: str) -> User:
        """Raises NotFound."""
        if row := self._db.row("SELECT * FROM users WHERE id = ?", (user_id,)):
            return User.of(row)
        raise unknown_user(user_id)

    def count(self, role: str | None = None) -> int:
        """How many there are, of one role or of all."""
        return self._db.row("SELECT count(*) FROM users WHERE ?1 IS NULL OR role = ?1", (role,))[0]

    def has(self, user_id: str) -> bool:
        return self._db.row("SELECT 1 FROM users WHERE id = ?", (user_id,)) is not None

    def named(self, username: str) -> User | None:
        if len(username) > MAX_TYPED_CHARS:
            return None
        row = self._db.row("SELECT * FROM users WHERE folded = ?", (folded(username),))
        return User.of(row) if row else None

    def has_admin(self) -> bool:
        return self._db.row("SELECT 1 FROM users WHERE role = 'admin'") is not None

    def first_admin(self) -> User:
        """The admin whose account is the oldest; there is one."""
        return User.of(self._db.row("SELECT * FROM users WHERE role = 'admin' ORDER BY created_at LIMIT 1"))

    def knows_password(self, user: User | None, password: str, turn_of: str = "") -> bool:
        """Whether it is this user's password; for None no, after as much work."""
        return self._passwords.matches(password, user.password_hash if user else None, turn_of)

    def set_role(self, user_id: str, role: str) -> None:
        """Raises BadRequest, NotFound, and Conflict for the last admin."""
        check_role(role)
        with self._db.write() as sql:
            if role != "admin":
                _keep_an_admin(sql, user_id)
            if sql.execute("UPDATE users SET role = ? WHERE id = ?", (role, user_id)).rowcount == 0:
                raise unknown_user(user_id)

    def set_password(self, user_id: str, password: str, *, kept_login: bytes = b"", turn_of: str = "") -> None:
        """Change it and end every login of the user but the one with the hash `kept_login`.

        Raises BadRequest, NotFound.
        """
        hashed = self._passwords.hash(password, turn_of)
        with self._db.write() as sql:
            changed = sql.execute(
                "UPDATE users SET password_hash = ?, must_change_password = 0 WHERE id = ?", (hashed, user_id)
            )
            if changed.rowcount == 0:
                raise unknown_user(user_id)
            sql.execute("DELETE FROM logins WHERE user_id = ? AND hash != ?", (user_id, kept_login))

    def delete(self, user_id: str) -> None:
        """Raises NotFound, and Conflict for the last admin."""
        with self._db.write() as sql:
            _keep_an_admin(sql, user_id)
            if sql.execute("DELETE FROM users WHERE id = ?", (user_id,)).rowcount == 0:
                raise unknown_user(user_id)
            delete_owned(sql, user_id)


def folded(username: str) -> str:
    """The same for two names that differ in case or in width only; of at most MAX_TYPED_CHARS."""
    username = username[:MAX_TYPED_CHARS]
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", username).casefold())


def check_username(username: str) -> None:
    """Raises BadRequest. Letters of any script, with the marks that many of them are written with."""
    is_right = 1 <= len(username) <= MAX_NAME_CHARS
    if not (is_right and all(c in "._-@" or unicodedata.category(c)[0] in "LM" or c.isdecimal() for c in username)):
        raise BadRequest(
            f"username must have 1 to {MAX_NAME_CHARS} characters, each of them a letter, a digit or one of . _ - @; "
            f"it is {username[:80]!r}.",
            param="username",
        )


def check_role(role: str) -> None:
    """Raises BadRequest."""
    if role not in ROLES:
        raise BadRequest(f"role must be one of {', '.join(ROLES)}; it is {role[:40]!r}.", param="role")


def check_email(email: str | None) -> None:
    """Raises BadRequest for what cannot be an address; nothing is ever sent to it."""
    if email is None:
        return
    name, _, host = email.rpartition("@")
    if not (name and host and email.isprintable() and " " not in email and len(email) <= MAX_EMAIL_CHARS):
        raise BadRequest("email must be an address such as ada@school.example, or left out.", param="email")


def unknown_user(user_id: str) -> NotFound:
    return NotFound(f"There is no user {user_id[:64]!r}.", code="user_not_found")


def _taken(username: str) -> Conflict:
    return Conflict(f"There is a user {username!r} already.", code="user_exists", param="username")


def _n_admins(sql: sqlite3.Connection) -> int:
    return sql.execute("SELECT count(*) FROM users WHERE role = 'admin'").fetchone()[0]


def _keep_an_admin(sql: sqlite3.Connection, user_id: str) -> None:
    row = sql.execute("SELECT role FROM users WHERE id = ?", (user_id,)).fetchone()
    if row and row["role"] == "admin" and _n_admins(sql) == 1:
        raise Conflict("This is the last admin. Make another user an admin first.", code="last_admin")
