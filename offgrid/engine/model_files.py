"""Files of models that come and go: taken into the models' folder, and deleted from it.

A file that comes is written under a hidden name, checked, and only then renamed, so that no half a model is ever one.
Must stay true: nothing outside of the folder is written or deleted. What a power cut left half-written is removed at
the next start, and when the next file comes; what another process writes is not, because it is locked.
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from offgrid.engine.catalog import PART as SPLIT
from offgrid.engine.catalog import ModelFile
from offgrid.engine.verify import CHUNK_BYTES, hash_files
from offgrid.errors import BadRequest, Conflict, InternalError, PermissionDenied, StorageFull

PART = ".part"
SPARE_BYTES = 32 << 20  # a disk filled to the last byte stops the log and the database too


class ModelFolder:
    """`models_dir`, as a place that files come into. Every method may be called from any thread."""

    def __init__(self, models_dir: Path):
        self.path = models_dir

    def target(self, name: str) -> Path:
        """Where a file of that name would be."""
        return self.path / name

    @contextmanager
    def arriving(self, name: str, n_bytes: int) -> Iterator["Arrival"]:
        """A new file of this folder while it is written. Raises Conflict when it is on its way already, StorageFull."""
        part = self.path / f".{name}{PART}"
        with written_to(self.path), open(part, "ab") as file:
            if not _lock(file) or not part.exists():  # somebody else's sweep may have been quicker
                raise Conflict(f"{name} is being copied already.")
            try:
                self.sweep()
                require_room(self.path, n_bytes)
                file.truncate(0)
                yield Arrival(part, self.path / name, file)
            finally:
                part.unlink(missing_ok=True)

    def take(self, source: Path, name: str, sha256: str) -> None:
        """Make a checked file, such as a blob, one of this folder, in the place of one of that name. Raises
        StorageFull."""
        with written_to(self.path):
            try:
                os.replace(source, self.path / name)
                sync_folder(self.path)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                with self.arriving(name, source.stat().st_size) as arrival:
                    arrival.copy(source, lambda n_bytes: None)
                    arrival.settle(sha256)
                source.unlink()

    def name_also(self, model: ModelFile, stem: str) -> str:
        """Give a model's files a further name, beside the one that they have; returns its id. Raises PermissionDenied
        as `delete` does, Conflict when the name is taken, or the file system gives a file one name only."""
        self._require_ours(model)
        names = [SPLIT.fullmatch(path.stem) for path in model.paths]
        tails = [f"-{part['number']}-of-{part['count']}" if part and len(names) > 1 else "" for part in names]
        made: list[Path] = []
        try:
            for path, tail in zip(model.paths, tails, strict=True):
                further = path.with_name(f"{stem}{tail}{path.suffix}")
                os.link(path, further, follow_symlinks=False)
                made.append(further)
        except OSError as error:
            for further in made:
                further.unlink(missing_ok=True)
            raise Conflict(f"The file of {model.id} cannot be called {stem} as well: {error.strerror}.") from None
        sync_folder(model.path.parent)
        return model.id.rpartition("/")[0] + ("/" if "/" in model.id else "") + stem

    def delete(self, model: ModelFile) -> None:
        """Delete a model's files. Raises PermissionDenied when they are not in this folder."""
        self._require_ours(model)
        for path in model.paths:
            path.unlink(missing_ok=True)
            sync_folder(path.parent)

    def sweep(self) -> None:
        """Remove what was left half-written."""
        for part in self.path.glob(f".*{PART}"):
            try:
                with open(part, "ab") as file:
                    if _lock(file):
                        part.unlink(missing_ok=True)
            except OSError:  # not ours to open
                continue

    def _require_ours(self, model: ModelFile) -> None:
        folder = self.path.resolve()
        for path in model.paths:
            if not path.parent.resolve().is_relative_to(folder):
                raise PermissionDenied(
                    f"{model.id} is in {path.parent}, which is only read from. Only models below {self.path} can be "
                    "deleted here."
                )


class Arrival:
    """One file that is being written; `settle` makes it a file of the folder."""

    def __init__(self, part: Path, target: Path, file: BinaryIO):
        self.part = part
        self.target = target
        self._file = file

    def copy(self, source: Path, report: Callable[[int], None]) -> None:
        """Copy a whole file; `report` is told the bytes so far, and what it raises ends it."""
        n_bytes = 0
        with open(source, "rb", buffering=0) as read:
            while piece := read.read(CHUNK_BYTES):
                self._file.write(piece)
                n_bytes += len(piece)
                report(n_bytes)

    def settle(self, sha256: str, report: Callable[[float], None] = lambda percent: None) -> None:
        """Give the file its name, once it is on the disk and its bytes are right. Raises InternalError."""
        self._file.flush()
        os.fsync(self._file.fileno())
        [found] = hash_files([self.part], report)
        if found.sha256 != sha256:
            raise InternalError(
                f"{self.target.name} did not arrive as it was sent: its SHA-256 is {found.sha256}, not {sha256}. Check "
                "the disk and the stick it came from."
            )
        os.replace(self.part, self.target)
        sync_folder(self.target.parent)


def model_sources(path: Path) -> list[Path]:
    """The model files that a path on this machine stands for: itself, or all of a folder. Raises BadRequest."""
    try:
        if path.is_dir():
            found = sorted(one for one in path.iterdir() if one.suffix.lower() == ".gguf" and one.is_file())
        else:
            found = [path] if path.suffix.lower() == ".gguf" and path.is_file() else []
    except OSError as error:
        raise BadRequest(f"{path} cannot be read: {error.strerror}.", param="model") from None
    if not found:
        raise BadRequest(f"{path} is no .gguf file on this machine, and no folder with one.", param="model")
    return found


def require_room(folder: Path, n_bytes: int) -> None:
    """Raises StorageFull, naming both numbers, unless so much more fits, with a little to spare."""
    n_free = shutil.disk_usage(folder).free
    if n_free < n_bytes + SPARE_BYTES:
        raise StorageFull(
            f"There is not enough room on the disk: {(n_bytes + SPARE_BYTES) / 1e6:.0f} MB are needed, and "
            f"{n_free / 1e6:.0f} MB are free."
        )


@contextmanager
def written_to(folder: Path) -> Iterator[None]:
    """The folder is made, and what is wrong with it or its disk is told as an ApiError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull("The disk is full: nothing was kept. Make room on it and try again.") from None
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise PermissionDenied(f"The server may not write to {folder}: {error.strerror}.") from None
        raise


def sync_folder(folder: Path) -> None:
    """Names are a part of the folder: without this, a power cut may keep the bytes and lose the name."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lock(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
