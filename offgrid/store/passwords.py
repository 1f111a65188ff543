"""Passwords: what one may be, its hash, and checking it at a cost that others do not feel. The only user of bcrypt.

Covered: a stolen database (bcrypt with a salt each), telling unknown names by the time an answer takes (`dummy` work),
hashing as a way to stop the server (few at once, in turns by address). Not covered here: guessing, which is
`api/login_throttle.py`'s. bcrypt is imported with the first hash: a server without accounts never needs it.
"""

import os
import unicodedata

from offgrid.errors import BadRequest
from offgrid.store.turns import Turns

MIN_CHARS = 6
MAX_BYTES = 72  # bcrypt looks at no more
# Of a text that may come to so few bytes when its letters and their marks are put together. A longer one is not put
# together: that takes a time that grows with the square of its marks, and everybody else waits meanwhile.
_MAX_TYPED_CHARS = 4 * MAX_BYTES
# 0.07 s on a laptop's core, some 0.3 s on a Raspberry Pi 4's: two logins at once still take less than a second there,
# and a class of thirty is in after five. 10 is also the least that OWASP advises; one more doubles all these times.
COST = 10
_DUMMY_HASH = f"$2b${COST}${'.' * 53}"  # of no password, and as dear to check as a real one
_MOST_WAITING, _MOST_WAITING_EACH = 128, 48  # threads; each has a connection of its own


class Passwords:
    """Hashes and checks, half of the cores at most at a time. `turn_of` is whose turn it takes, such as an address."""

    def __init__(self, cost: int = COST):
        self._cost = cost
        n_at_once = max(1, (os.cpu_count() or 1) // 2)
        self._turns = Turns(n_at_once, _MOST_WAITING, _MOST_WAITING_EACH, "Too many passwords are being checked.")

    def hash(self, password: str, turn_of: str) -> str:
        """The text to keep. Raises BadRequest for a password that may not be one, Unavailable."""
        import bcrypt

        check_password(password)
        with self._turns.turn(turn_of):
            return bcrypt.hashpw(_encoded(password), bcrypt.gensalt(self._cost)).decode()

    def matches(self, password: str, hashed: str | None, turn_of: str) -> bool:
        """Whether it is the password; None (nobody's hash) takes as long as a wrong one. Raises Unavailable."""
        import bcrypt

        try:
            check_password(password)
        except BadRequest:
            password, hashed = "", None
        with self._turns.turn(turn_of):
            return bcrypt.checkpw(_encoded(password), (hashed or _DUMMY_HASH).encode()) and hashed is not None


def check_password(password: str) -> None:
    """Raises BadRequest for a password that is too short, too long for bcrypt, or no text."""
    try:
        n_bytes = len(_encoded(password))
    except UnicodeEncodeError:
        raise BadRequest("password holds half a character (a lone surrogate).", param="password") from None
    if len(password) < MIN_CHARS or n_bytes > MAX_BYTES or "\0" in password:
        raise BadRequest(
            f"password must have at least {MIN_CHARS} characters and at most {MAX_BYTES} bytes (letters beyond ASCII "
            f"have 2 to 4 bytes), none of them NUL; it has {len(password)} characters and {n_bytes} bytes.",
            param="password",
        )


def _encoded(password: str) -> bytes:
    if len(password) > _MAX_TYPED_CHARS:
        return password.encode()
    return unicodedata.normalize("NFC", password).encode()  # ä may be one character or two, by the keyboard's system
