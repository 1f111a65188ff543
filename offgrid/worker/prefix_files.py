"""Prefixes that survive a restart: a folder with a file for each, bounded in bytes, the least recently used go first.

At the start only the heads are read. A state is read when a prompt begins with its tokens, checked, and handed on;
until then it costs no memory. Files of another model or other settings are left to their own workers, and count.
The folder may be shared by several workers: a file appears complete under its name or not at all, and whoever finds one
gone does without. What the disk refuses costs a line in the log and never an answer.

Two threads, started by their first work: one reads, one writes at the lowest priority. `find` and `read` belong to the
thread that takes requests in, `save` to the model's.
"""

import fcntl
import hashlib
import os
import queue
import re
import secrets
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from offgrid.worker import prefix_format
from offgrid.worker.kv_cache import Bytes
from offgrid.worker.prefix_format import Broken, NotOurs
from offgrid.worker.prefix_tree import PrefixTree

MIN_GAIN = 64  # tokens, and a quarter of the file: for fewer, reading it from a slow disk could take longer
MOST_WAITING = 2  # states that wait to be written; each is held in memory meanwhile
DISK_PART = 20  # never more than one part in so many of what is free
TOUCH_EVERY_S = 600  # SD cards wear out: a file in constant use is marked so this often
RETRY_S = 600  # after the disk refused a file
WRITE_BYTES = 4 << 20
NAME = re.compile(r"[0-9a-f]{16}-[0-9a-f]{32}\.prefix")
PART = re.compile(r"\.[0-9a-f]{16}-[0-9a-f]{32}\.prefix\.[0-9a-f]{8}\.part")


@dataclass(eq=False, slots=True)
class StoredPrefix:
    """A prefix on disk. `is_loaded`: its state is in memory too, or on its way there, and need not be read."""

    tokens: list[int]
    path: Path
    is_loaded: bool = False
    touched_at: float = 0.0  # monotonic seconds


class PrefixFiles:
    def __init__(
        self,
        folder: Path,
        fingerprint: bytes,
        *,
        max_bytes: int,
        max_state_bytes: int,
        max_tokens: int,
        shortest_cut: Callable[[int], int],
    ):
        """Files for the model and settings of `fingerprint` (32 bytes), which say that a state of n tokens can be cut
        to `shortest_cut(n)`. Longer ones than `max_tokens` or `max_state_bytes` are not used. Raises OSError."""
        self.folder = folder
        self.max_bytes = max_bytes
        self._fingerprint = fingerprint
        self._max_state_bytes = max_state_bytes
        self._max_tokens = max_tokens
        self._shortest_cut = shortest_cut
        self._lock = threading.Lock()  # guards the next two
        self._tree = PrefixTree()
        self._stored: dict[str, StoredPrefix] = {}  # file name → what is known of it
        self._reads = _Errands("prefix-reader")
        self._writes = _Errands("prefix-writer", is_background=True)
        self._has_complained = False
        self._no_writes_before = 0.0  # monotonic seconds
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._look_around()

    # --- the thread that takes requests in ---

    def find(self, tokens: list[int]) -> StoredPrefix | None:
        """The file that a prompt should wait for; None when there is none, or its state is in memory already."""
        with self._lock:
            for stored, n_common in self._tree.matches(tokens[:-1]):
                if n_common < MIN_GAIN:
                    return None
                n = len(stored.tokens)
                if 4 * n_common >= n and n_common >= self._shortest_cut(n):
                    self._touch(stored)
                    return None if stored.is_loaded else stored
        return None

    def read(self, stored: StoredPrefix, then: Callable[[Bytes | None], None]) -> None:
        """Call `then`, from another thread, with the state; with None when it is no longer needed or cannot be read."""

        def errand() -> None:
            state = None
            try:
                state = self._read(stored)
            finally:
                then(state)  # whatever happened: somebody waits

        self._reads.put(errand)

    # --- the model's thread ---

    def save(self, tokens: list[int], state: Bytes) -> StoredPrefix | None:
        """Begin to write a prefix whose state stays in memory; None when it is not, and may be offered again later."""
        name = self._name(tokens)
        with self._lock:
            if (stored := self._stored.get(name)) is None:
                if self._writes.n_waiting >= MOST_WAITING or time.monotonic() < self._no_writes_before:
                    return None
                if len(state) > self._max_state_bytes or len(tokens) > self._max_tokens:
                    return None
                stored = self._add(name, tokens)
                self._writes.put(lambda: self._write(stored, state))
            stored.is_loaded = True
            return stored

    # --- the index; the lock is held, but by __init__ ---

    def _name(self, tokens: list[int]) -> str:
        digest = hashlib.sha256(np.asarray(tokens, "<i4").tobytes()).hexdigest()
        return f"{self._fingerprint.hex()[:16]}-{digest[:32]}.prefix"

    def _add(self, name: str, tokens: list[int]) -> StoredPrefix:
        stored = self._stored[name] = StoredPrefix(tokens, self.folder / name)
        self._tree.add(tokens, stored)
        return stored

    def _forget(self, stored: StoredPrefix) -> None:
        if self._stored.pop(stored.path.name, None) is not None:
            self._tree.remove(stored)

    def _touch(self, stored: StoredPrefix) -> None:
        now = time.monotonic()
        if now - stored.touched_at > TOUCH_EVERY_S or not stored.touched_at:
            stored.touched_at = now
            try:
                os.utime(stored.path)
            except OSError:  # gone, or a disk that is only read
                pass

    # --- the disk ---

    def _look_around(self) -> None:
        """Take in the files that are ours, remove those that are broken and what killed workers left half written."""
        for entry in os.scandir(self.folder):
            if PART.fullmatch(entry.name):
                _remove_if_left(Path(entry.path))
            elif NAME.fullmatch(entry.name):
                try:
                    with prefix_format.open_regular(entry.path) as file:
                        head = prefix_format.read_head(file)
                except Broken:
                    _remove(Path(entry.path))
                except (NotOurs, OSError):
                    pass
                else:
                    self._take_in(entry.name, head)

    def _take_in(self, name: str, head: prefix_format.Head) -> None:
        is_small = head.n_state_bytes <= self._max_state_bytes and len(head.tokens) <= self._max_tokens
        if head.fingerprint == self._fingerprint and is_small and name == self._name(head.tokens):
            self._add(name, head.tokens)

    def _read(self, stored: StoredPrefix) -> Bytes | None:
        if stored.is_loaded:  # somebody else's prompt, just before
            return None
        try:
            with prefix_format.open_regular(stored.path) as file:
                head = prefix_format.read_head(file)
                if (head.fingerprint, head.tokens) != (self._fingerprint, stored.tokens):
                    raise NotOurs(stored.path)
                state = prefix_format.read_state(file, head)
        except (Broken, NotOurs, OSError, MemoryError) as error:
            if isinstance(error, Broken):
                _remove(stored.path)
            with self._lock:
                self._forget(stored)
            return None
        stored.is_loaded = True
        return state

    def _write(self, stored: StoredPrefix, state: Bytes) -> None:
        try:
            head = prefix_format.pack_head(self._fingerprint, stored.tokens, state)
            if self._make_room(len(head) + len(state)):
                _write_file(stored.path, head, state)
                return
        except OSError as error:
            self._complain(error)
        with self._lock:
            self._forget(stored)

    def _make_room(self, n_bytes: int) -> bool:
        """Remove the files that nobody has used for longest until `n_bytes` more are within the bounds."""
        files = []
        for entry in os.scandir(self.folder):
            if NAME.fullmatch(entry.name) and prefix_format.is_ours(entry.path):
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:  # another worker removed it
                    continue
                files.append((status.st_mtime, status.st_size, entry.name))
        n_used = sum(size for _, size, _ in files)
        most = min(self.max_bytes, (shutil.disk_usage(self.folder).free + n_used) // DISK_PART)
        if n_bytes > most:
            return False
        for _, size, name in sorted(files):
            if n_used + n_bytes <= most:
                break
            _remove(self.folder / name)
            n_used -= size
            with self._lock:
                if name in self._stored:
                    self._forget(self._stored[name])
        return True

    def _complain(self, error: OSError) -> None:
        self._no_writes_before = time.monotonic() + RETRY_S
        if not self._has_complained:
            self._has_complained = True
            print(f"Prompts are not saved in {self.folder}: {error.strerror or error}.", file=sys.stderr, flush=True)


class _Errands:
    """A thread that does one thing after the other; it is started by the first."""

    def __init__(self, name: str, *, is_background: bool = False):
        self._queue: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, args=(is_background,), name=name, daemon=True)

    @property
    def n_waiting(self) -> int:
        return self._queue.qsize()

    def put(self, errand: Callable[[], None]) -> None:
        self._queue.put(errand)
        if not self._thread.ident:
            self._thread.start()

    def _run(self, is_background: bool) -> None:
        if is_background and sys.platform.startswith("linux"):  # elsewhere it would be the whole process
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        while True:
            try:
                self._queue.get()()
            except Exception:
                traceback.print_exc()


def _write_file(target: Path, head: bytes, state: Bytes) -> None:
    """Write under another name, locked as long as its writer lives, and give it its own when all is on disk."""
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for data in (head, state):
                view, n = memoryview(data).cast("B"), 0
                while n < len(view):
                    n += file.write(view[n : n + WRITE_BYTES])
            os.fsync(file.fileno())
            os.replace(part, target)
    except BaseException:
        _remove(part)
        raise
    # The new name is part of the folder: without this, a power cut may keep the bytes and lose the name.
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _remove_if_left(part: Path) -> None:
    """Remove a half written file whose writer is gone; a living one holds its lock."""
    try:
        with prefix_format.open_regular(part) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(part)
    except (NotOurs, OSError):
        pass


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except OSError:
        pass
