"""The two files beside the audit log: its key, and the head that the key has signed.

`audit.key` (32 random bytes) is made at the first use; `audit.head` says how far the log went. Both are the server's
own user's. Must stay true: audit.head is whole, old or new, whenever the power goes.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from offgrid.store.audit_chain import START, Mark

N_KEY_BYTES = 32


class Seal:
    def __init__(self, folder: Path):
        self._key_path, self._head_path = folder / "audit.key", folder / "audit.head"

    @contextmanager
    def hold(self) -> Iterator[bytes]:
        """The key, made if there is none, while no other thread or process holds it. Raises OSError."""
        file = os.open(self._key_path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            key = os.read(file, 1024)
            yield key or self._make_key(file)
        finally:
            os.close(file)

    def _make_key(self, file: int) -> bytes:
        """A new key in its file, and before it the head of an empty log: a key without a head is a head removed."""
        key = secrets.token_bytes(N_KEY_BYTES)
        head = self.head()
        if head.seq == 0 if head else not self._head_path.exists():
            self.write_head(Mark.sign(key, "head", 0, START))
        os.write(file, key)
        os.fsync(file)
        self._give_to_owner(file)
        return key

    @contextmanager
    def look(self) -> Iterator[bytes | None]:
        """The key, or None when there is none, while nobody writes. Nothing is made. Raises OSError."""
        try:
            file = os.open(self._key_path, os.O_RDONLY)
        except FileNotFoundError:
            yield None
            return
        try:
            fcntl.flock(file, fcntl.LOCK_SH)
            yield os.read(file, 1024) or None
        finally:
            os.close(file)

    def head(self) -> Mark | None:
        """What audit.head says, signed or not; None when it is missing or says nothing."""
        try:
            return Mark.from_json(self._head_path.read_bytes(), "head")
        except (FileNotFoundError, ValueError):
            return None

    def write_head(self, head: Mark) -> None:
        """Replace audit.head. Raises OSError, and then the old one is still there."""
        part = self._head_path.with_name("audit.head.part")
        file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(file, head.to_json().encode() + b"\n")
            # The folder is not synced: an older head after a power cut is expected, an empty one is not.
            os.fsync(file)
            self._give_to_owner(file)
        finally:
            os.close(file)
        os.replace(part, self._head_path)

    def _give_to_owner(self, file: int) -> None:
        """What root writes (`sudo … users passwd`) must stay readable for the server's user."""
        if os.geteuid() == 0:
            owner = self._key_path.parent.stat()
            os.fchown(file, owner.st_uid, owner.st_gid)
