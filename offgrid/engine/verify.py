"""The SHA-256 of a model's files: what tells a damaged copy from a whole one."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

CHUNK_BYTES = 1 << 20  # hashing one takes a few ms, outside the interpreter's lock


class FileChanged(OSError):
    """A file was written to while it was read."""


@dataclass(frozen=True, slots=True)
class FileHash:
    name: str
    n_bytes: int
    sha256: str  # hexadecimal


def hash_files(paths: Sequence[Path], report: Callable[[float], None]) -> list[FileHash]:
    """The hash of each file; reads gigabytes, on the caller's thread.

    `report` is called with the percentage read, many times; what it raises ends the reading. Raises OSError.
    """
    n_total = max(sum(os.path.getsize(path) for path in paths), 1)
    n_read = 0
    hashes = []
    for path in paths:
        digest, n_bytes = hashlib.sha256(), 0
        with open(path, "rb", buffering=0) as file:
            before = os.fstat(file.fileno())
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                n_bytes += len(chunk)
                report(min(100 * (n_read + n_bytes) / n_total, 100))
            after = os.fstat(file.fileno())
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise FileChanged(f"{path.name} changed while it was read. Try again when it is complete.")
        n_read += n_bytes
        hashes.append(FileHash(path.name, n_bytes, digest.hexdigest()))
    return hashes
