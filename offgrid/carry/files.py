"""New files: made in a hidden folder beside their target, checked, and only then given their name.

What must stay true: a name without a leading dot always belongs to a complete and checked file, whenever the
power goes; and two runs on one folder take turns.
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from offgrid.errors import SetupError

LOCK_NAME = ".fetch.lock"
WORK_PREFIX = ".fetch-"
SPARE_BYTES = 32 << 20  # a disk filled to the last byte stops the log and the database too


class BrokenFile(SetupError):
    """A file arrived, but it is not the expected one."""


@contextmanager
def work_folder(folder: Path, on_wait: Callable[[], None]) -> Iterator[Path]:
    """An empty hidden folder inside `folder`, on the same file system, removed at the end.

    One at a time: while another process has one here, `on_wait` is called once and this waits for its end. What a
    killed process left behind is removed first; the lock file stays, since removing it would race.
    Raises OSError when `folder` cannot be made or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK_NAME, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(lock, fcntl.LOCK_EX)
        for stale in folder.glob(f"{WORK_PREFIX}*"):
            shutil.rmtree(stale, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=WORK_PREFIX, dir=folder))
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


def require_space(folder: Path, n_bytes: int, what: str) -> None:
    """Raises SetupError, naming both numbers, when `folder` has no room for `n_bytes` more and a little to spare."""
    n_free = shutil.disk_usage(folder).free
    if n_free < n_bytes + SPARE_BYTES:
        raise SetupError(
            f"Not enough disk space for {what}: it needs {mb(n_bytes + SPARE_BYTES)} for a while, "
            f"and {folder} has {mb(n_free)} free."
        )


def put_in_place(part: Path, target: Path, sha256: str) -> None:
    """Give the finished file `part` the name `target`, replacing what had it, once its bytes are right and on the disk.

    Both must be on one file system. Raises BrokenFile when the SHA-256 differs; `target` is untouched then.
    """
    with part.open("rb") as file:
        os.fsync(file.fileno())
        require_sha256(hashlib.file_digest(file, "sha256").hexdigest(), sha256, target.name)
    os.replace(part, target)
    # The new name is part of the folder: without this, a power cut may keep the bytes and lose the name.
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def require_sha256(actual: str, expected: str, name: str) -> None:
    """Raises BrokenFile when the two hexadecimal digests differ."""
    if actual != expected:
        raise BrokenFile(f"{name} has the SHA-256 {actual} instead of {expected}")


def mb(n_bytes: int) -> str:
    """A size for people, in megabytes of 1,000,000 bytes, as disks and pip count."""
    return f"{n_bytes / 1e6:.0f} MB"
