"""API keys: 256 random bits, shown once, kept as SHA-256.

Found by a prefix that need not be secret, then compared in constant time; what is wrong with a key makes no difference
in the work or the answer. When a key was last used is noted in memory and written by `save_uses`: an SD card is not
written to for every request. A key that ends at a date ends by the machine's clock, so only where that goes right.
"""

import hashlib
import hmac
import secrets
import sqlite3
import string
import threading
import time
from dataclasses import dataclass

from offgrid.errors import BadRequest, Conflict, NotFound
from offgrid.store.db import Database
from offgrid.store.users import User, unknown_user

OFFGRID, LOLLMS = "og", "lollms"  # who issues the key; every key is good everywhere
MAX_NAME_CHARS = 100
MAX_KEYS_EACH = 100
_N_PREFIX_CHARS = 8
_N_SECRET_CHARS = 43  # of 32 random bytes in url-safe base64
_LETTERS = string.ascii_letters + string.digits  # a LoLLMs prefix has no "_", which ends it
_NO_HASH = bytes(32)


@dataclass(frozen=True, slots=True)
class Key:
    """Times are unix seconds; `prefix` is how the key begins, for people to tell keys apart."""

    id: int
    name: str
    prefix: str
    created_at: float
    last_used_at: float | None
    expires_at: float | None


class Keys:
    """From any thread."""

    def __init__(self, db: Database):
        self._db = db
        self._uses: dict[int, float] = {}  # key id → when, not yet written
        self._lock = threading.Lock()

    def create(
        self, user_id: str, name: str, *, issuer: str = OFFGRID, expires_at: float | None = None, replaces: str = ""
    ) -> tuple[Key, str]:
        """A new key and its text, which is kept nowhere; the user's keys named `replaces` end with that.

        Raises BadRequest for a name, NotFound for a user, Conflict when the user has too many keys.
        """
        if not (1 <= len(name) <= MAX_NAME_CHARS and name.isprintable()):
            raise BadRequest(f"The name of a key must have 1 to {MAX_NAME_CHARS} visible characters.", param="name")
        prefix, text = _new_text(issuer)
        now = time.time()
        try:
            with self._db.write() as sql:
                if replaces:
                    sql.execute("DELETE FROM keys WHERE user_id = ? AND name = ?", (user_id, replaces))
                [n] = sql.execute("SELECT count(*) FROM keys WHERE user_id = ?", (user_id,)).fetchone()
                if n >= MAX_KEYS_EACH:
                    raise Conflict(f"This user has {n} keys already; revoke one first.", code="too_many_keys")
                row = sql.execute(
                    "INSERT INTO keys (user_id, name, prefix, hash, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)",
                    (user_id, name, prefix, _hash(text), now, expires_at),
                )
        except sqlite3.IntegrityError:  # deleted meanwhile
            raise unknown_user(user_id) from None
        return Key(row.lastrowid, name, prefix, now, None, expires_at), text

    def of(self, user_id: str) -> list[Key]:
        """The user's keys, oldest first."""
        rows = self._db.read("SELECT * FROM keys WHERE user_id = ? ORDER BY id", (user_id,))
        return [self._key(row) for row in rows]

    def has(self, key_id: str) -> bool:
        """`key_id` as it stands in a path."""
        # At most as many digits as SQLite counts with, and none too many: limits are found by this very spelling.
        is_number = key_id.isascii() and key_id.isdigit() and len(key_id) < 19 and not key_id.startswith("0")
        return is_number and self._db.row("SELECT 1 FROM keys WHERE id = ?", (int(key_id),)) is not None

    def revoke(self, user_id: str, key_ids: list[int]) -> None:
        """End these keys of the user, all or none. Raises NotFound."""
        with self._db.write() as sql:
            for key_id in key_ids:
                if sql.execute("DELETE FROM keys WHERE user_id = ? AND id = ?", (user_id, key_id)).rowcount == 0:
                    raise unknown_key(key_id)

    def find(self, text: str) -> tuple[User, int] | None:
        """Whose key this is and the key's id; None for a wrong, revoked or expired one. Notes the use."""
        row = self._db.row(
            "SELECT users.*, keys.id AS key_id, keys.hash, keys.expires_at FROM keys "
            "JOIN users ON users.id = keys.user_id WHERE keys.prefix = ?",
            (_prefix_of(text),),
        )
        now = time.time()
        is_right = hmac.compare_digest(_hash(text), row["hash"] if row else _NO_HASH)
        if not is_right or (row["expires_at"] is not None and row["expires_at"] <= now):
            return None
        with self._lock:
            self._uses[row["key_id"]] = now
        return User.of(row), row["key_id"]

    def save_uses(self) -> None:
        """Write when keys were last used."""
        with self._lock:
            uses = list(self._uses.items())
        if not uses:
            return
        with self._db.write() as sql:
            sql.executemany("UPDATE keys SET last_used_at = ?2 WHERE id = ?1", uses)
        with self._lock:
            for key_id, at in uses:
                if self._uses.get(key_id) == at:
                    del self._uses[key_id]

    def _key(self, row: sqlite3.Row) -> Key:
        used = self._uses.get(row["id"], row["last_used_at"])
        return Key(row["id"], row["name"], row["prefix"], row["created_at"], used, row["expires_at"])


def unknown_key(key_id: object) -> NotFound:
    return NotFound(f"There is no key {str(key_id)[:40]} of this user.", code="key_not_found")


def _new_text(issuer: str) -> tuple[str, str]:
    secret = secrets.token_urlsafe(32)
    if issuer == LOLLMS:
        prefix = f"{LOLLMS}_{''.join(secrets.choice(_LETTERS) for _ in range(_N_PREFIX_CHARS))}"
        return prefix, f"{prefix}_{secret}"
    text = f"{OFFGRID}_{secret}"
    return text[: len(OFFGRID) + 1 + _N_PREFIX_CHARS], text


def _prefix_of(text: str) -> str:
    """The part that a key is found by; "" for what is spelled like no key."""
    issuer = text.partition("_")[0]
    if issuer not in (OFFGRID, LOLLMS):
        return ""
    n_prefix = len(issuer) + 1 + _N_PREFIX_CHARS
    n_chars = n_prefix + 1 + _N_SECRET_CHARS if issuer == LOLLMS else len(issuer) + 1 + _N_SECRET_CHARS
    return text[:n_prefix] if len(text) == n_chars and text.isascii() else ""


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()
