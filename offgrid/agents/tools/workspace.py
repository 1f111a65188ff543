"""Workspaces: one folder for each owner, the only place where the tools read and write files.

A path is walked one name at a time, each opened below the one before without following links (openat, O_NOFOLLOW), so
that nothing that is swapped meanwhile leads outside; the last is looked at once it is open. Must stay true: no file
outside is ever opened; what is no plain file, or has a second name (a hard link), is not either; a file is replaced as
a whole or not at all; the tools' writes keep a workspace within its size.
Not covered: what programs of the shell tool write, which is looked at only while they run. Under root everything here
is nobody's, as those programs are.
"""

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from offgrid.procs.confined import NOBODY

WORKSPACES = "workspaces"  # the folder of all, below the data folder
MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_FILES = 2000
MAX_DEPTH = 16
MAX_NAME_BYTES = 200
MAX_PATH_CHARS = 1000

_OWNER = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SHARED = ("lan", "guest")  # owners who are everybody without an account
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TEMPORARY = ".offgrid-"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Not blocking: opening a named pipe would wait for its other end.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class WorkspaceError(Exception):
    """What was asked of a workspace cannot be done; the message says why, and what could."""


@dataclass(frozen=True, slots=True)
class Entry:
    name: str
    kind: str  # "file", "folder" or "other", which is never opened
    n_bytes: int


class Workspaces:
    """The workspaces below one folder. From any thread."""

    def __init__(self, root: Path, max_bytes: int):
        self._root = root
        self._max_bytes = max_bytes
        # Of each owner, while they write: what a workspace holds is counted before it is written to.
        self._writing: dict[str, threading.Lock] = {}

    @staticmethod
    def has_own(owner: str) -> bool:
        """Whether an owner is one person, or one machine's people, and not everybody who comes along."""
        return owner not in _SHARED

    def of(self, owner: str) -> "Workspace":
        """The owner's workspace, made if there is none. Raises WorkspaceError."""
        if not _OWNER.fullmatch(owner) or not self.has_own(owner):
            raise WorkspaceError("There is no folder for files without an account.")
        return Workspace(self._root / owner, self._max_bytes, self._writing.setdefault(owner, threading.Lock()))

    def delete(self, owner: str) -> None:
        """Delete whatever an owner has here."""
        if _OWNER.fullmatch(owner):
            shutil.rmtree(self._root / owner, ignore_errors=True)

    def adopt(self, owner: str, new_owner: str) -> None:
        """Give what `owner` has to `new_owner`, who has nothing yet."""
        if (self._root / owner).is_dir() and not (self._root / new_owner).exists():
            (self._root / owner).rename(self._root / new_owner)


class Workspace:
    """Paths are relative, their names separated by "/". Every method raises WorkspaceError."""

    def __init__(self, folder: Path, max_bytes: int, writing: threading.Lock):
        with _explained(""):
            folder.parent.mkdir(parents=True, exist_ok=True)
            _make_folder(folder)
        self.folder = folder
        self.max_bytes = max_bytes
        self._writing = writing

    def read(self, path: str) -> bytes:
        """A whole file."""
        with self._parent(path) as (parent, name), _explained(path):
            handle = os.open(name, _FILE, dir_fd=parent)
            with os.fdopen(handle, "rb") as file:
                about = os.fstat(handle)
                if stat.S_ISDIR(about.st_mode):
                    raise WorkspaceError(f"{path} is a folder.")
                if not _is_plain(about):
                    raise WorkspaceError(f"{path} is not a plain file, and is not read.")
                if about.st_size > MAX_FILE_BYTES:
                    raise WorkspaceError(f"{path} has {about.st_size} bytes; at most {MAX_FILE_BYTES} are read.")
                return file.read(MAX_FILE_BYTES)

    def write(self, path: str, data: bytes) -> None:
        """Write a whole file, with the folders that its path names."""
        if len(data) > MAX_FILE_BYTES:
            raise WorkspaceError(f"{path} would have {len(data)} bytes; a file has at most {MAX_FILE_BYTES}.")
        with self._writing, self._parent(path, make=True) as (parent, name), _explained(path):
            self._check_room(path, len(data), _size_of(parent, name))
            temporary = _TEMPORARY + secrets.token_hex(8)
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=parent)
            try:
                with os.fdopen(handle, "wb") as file:
                    _give_away(handle)
                    file.write(data)
                    file.flush()
                    os.fsync(handle)  # what was acknowledged survives a power cut
                os.replace(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
            except BaseException:
                os.unlink(temporary, dir_fd=parent)
                raise

    def entries(self, path: str) -> list[Entry]:
        """What a folder holds, by name; "" and "." are the workspace itself."""
        with self._folder(_names(path) if path not in ("", ".", "./") else []) as folder, _explained(path):
            return sorted(_entries(folder), key=lambda entry: entry.name)

    @property
    def n_bytes(self) -> int:
        """What all its files take together."""
        with self._folder([]) as folder, _explained(""):
            return _usage(folder, 0)[1]

    def _check_room(self, path: str, n_bytes: int, replaced: int) -> None:
        with self._folder([]) as folder:
            n_files, used = _usage(folder, 0)
        if used - replaced + n_bytes > self.max_bytes:
            raise WorkspaceError(
                f"{path} does not fit: {used} of {self.max_bytes} bytes are used. Make another file smaller first."
            )
        if n_files >= MAX_FILES:
            raise WorkspaceError(f"There are {n_files} files and folders already, and no more are made.")

    @contextmanager
    def _folder(self, names: list[str], *, make: bool = False) -> Iterator[int]:
        """A descriptor of a folder within the workspace."""
        with _explained(""):
            here = os.open(self.folder, _FOLDER)
        try:
            device = os.fstat(here).st_dev
            for i, name in enumerate(names):
                with _explained("/".join(names[: i + 1])):
                    below = _open_folder(here, name, make=make)
                os.close(here)
                here = below
                if os.fstat(here).st_dev != device:
                    raise WorkspaceError(f"{name} is on another file system.")
            yield here
        finally:
            os.close(here)

    @contextmanager
    def _parent(self, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        *folders, name = _names(path)
        with self._folder(folders, make=make) as parent:
            yield parent, name


def _names(path: str) -> list[str]:
    """The names of a path, each checked."""
    if not path or len(path) > MAX_PATH_CHARS:
        raise WorkspaceError(f"A path has 1 to {MAX_PATH_CHARS} characters.")
    if path.startswith("/") or "\\" in path or re.match(r"[A-Za-z]:", path):
        raise WorkspaceError(f"{path[:80]!r} is not a path here: write a relative one with /, such as notes/today.txt.")
    names = [name for name in path.split("/") if name not in ("", ".")]
    if not names or len(names) > MAX_DEPTH:
        raise WorkspaceError(f"A path names a file, at most {MAX_DEPTH - 1} folders deep.")
    for name in names:
        try:
            n_bytes = len(name.encode())
        except UnicodeEncodeError:
            raise WorkspaceError("A file name holds half of a surrogate pair.") from None
        if name == ".." or name.startswith(_TEMPORARY) or _CONTROL.search(name) or n_bytes > MAX_NAME_BYTES:
            raise WorkspaceError(
                f"{name[:80]!r} is not a name for a file here: not .., no control characters, "
                f"at most {MAX_NAME_BYTES} bytes."
            )
    return names


def _open_folder(parent: int, name: str, *, make: bool) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=parent)
    except FileNotFoundError:
        if not make:
            raise
    _make_folder(name, parent)
    return os.open(name, _FOLDER, dir_fd=parent)


def _make_folder(name: str | Path, parent: int | None = None) -> None:
    """Make a folder unless there is something of that name."""
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        return
    made = os.open(name, _FOLDER, dir_fd=parent)
    try:
        _give_away(made)
    finally:
        os.close(made)


def _give_away(made: int) -> None:
    """Under root, let what was just made be the user's as whom the programs of the shell tool run."""
    if os.geteuid() == 0:
        os.fchown(made, NOBODY, NOBODY)


def _entries(folder: int) -> Iterator[Entry]:
    with os.scandir(folder) as found:
        for entry in found:
            if entry.name.startswith(_TEMPORARY):
                continue
            about = entry.stat(follow_symlinks=False)
            kind = "folder" if stat.S_ISDIR(about.st_mode) else "file" if _is_plain(about) else "other"
            yield Entry(entry.name, kind, about.st_size if kind == "file" else 0)


def _usage(folder: int, depth: int) -> tuple[int, int]:
    """How many files and folders there are, and the bytes of all files. What a program deletes meanwhile is nothing."""
    n_files = n_bytes = 0
    with os.scandir(folder) as found:
        for entry in found:
            n_files += 1
            with contextlib.suppress(OSError):
                about = entry.stat(follow_symlinks=False)
                if not stat.S_ISDIR(about.st_mode):
                    n_bytes += about.st_size
                elif depth < MAX_DEPTH and n_files < MAX_FILES:
                    below = os.open(entry.name, _FOLDER, dir_fd=folder)
                    try:
                        more = _usage(below, depth + 1)
                    finally:
                        os.close(below)
                    n_files, n_bytes = n_files + more[0], n_bytes + more[1]
    return n_files, n_bytes


def _is_plain(about: os.stat_result) -> bool:
    return stat.S_ISREG(about.st_mode) and about.st_nlink == 1


def _size_of(parent: int, name: str) -> int:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0


@contextmanager
def _explained(path: str) -> Iterator[None]:
    """Makes a sentence of what the system says."""
    try:
        yield
    except FileNotFoundError:
        raise WorkspaceError(f"There is no {path or 'folder'} here. list_files shows what there is.") from None
    except IsADirectoryError:
        raise WorkspaceError(f"{path} is a folder.") from None
    except NotADirectoryError:
        raise WorkspaceError(f"{path} is not a folder, or is reached by a link, which is not followed.") from None
    except OSError as error:
        why = "it is a link, which is not followed" if error.errno == errno.ELOOP else error.strerror
        raise WorkspaceError(f"{path or 'The folder'} cannot be opened: {why}.") from None
