"""The data folder belongs to one server at a time: its tasks, counters and caches assume that nobody else writes.

A lock of the system's on a file in it, which ends with the process, however that ends. Programs that only use the
database (a backup, `offgrid.py users`) do not need it: SQLite has locks of its own.
"""

import fcntl
import os
from pathlib import Path

from offgrid.errors import SetupError

LOCK_NAME = "offgrid.lock"


class FolderLock:
    """Held from the making on until `release`."""

    def __init__(self, folder: Path):
        """Raises SetupError, naming the process that holds it."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = open(folder / LOCK_NAME, "a+", encoding="ascii")  # noqa: SIM115 - open as long as it is held
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            holder = self._file.read()
            self._file.close()
            raise SetupError(
                f"The data folder {folder} is in use by an OffGrid server (process {holder or 'unknown'}): "
                "stop it first, or name another folder with --data-dir."
            ) from None
        except OSError as error:
            raise SetupError(
                f"The data folder {folder} cannot be used: {error.strerror}. Name another one with --data-dir."
            ) from error
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def release(self) -> None:
        """The file stays: removing it would race with the next one who opens it."""
        self._file.truncate(0)
        self._file.close()
