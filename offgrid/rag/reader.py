"""Reader: documents of many formats become text, in a child process that a broken or hostile file may take with it.

Knows how long a file may take and what to say when the child dies of it; the formats are `readers/`'s.
Must stay true: `read` returns or raises within the file's time-out and some seconds, and no child is left after `stop`.
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from offgrid.errors import ApiError, BadRequest, InternalError, TooLarge, UnsupportedMediaType
from offgrid.procs.child import Child, ChildGone
from offgrid.procs.command import self_command, self_environment
from offgrid.procs.frames import BrokenFrame
from offgrid.rag.parsed import Parsed
from offgrid.rag.readers import wire
from offgrid.rag.readers.limits import Limits

log = logging.getLogger(__name__)

ERRORS: dict[str, type[ApiError]] = {error.__name__: error for error in (BadRequest, TooLarge, UnsupportedMediaType)}
SHOWN_NAME_CHARS = 100
CHECK_INTERVAL_S = 0.25


class ReadingStopped(Exception):
    """`stop` was called: by whoever no longer wants the text, so nobody is to be told."""


class Reader:
    """Reads one file at a time; a context manager.

    Its child starts with the first file and serves the others, until one of them breaks it. It also ends with the
    thread that read that first file; then the next file starts another. Threads: `read` from any, they take turns;
    `stop` from any.
    """

    def __init__(self, limits: Limits | None = None):
        self._limits = limits or Limits()
        self._turn = threading.Lock()  # held while a file is read
        self._lock = threading.Lock()  # guards what follows; held shortly
        self._child: Child | None = None
        self._is_stopped = False

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def read(self, path: Path, name: str, content_type: str = "", check: Callable[[], None] = lambda: None) -> Parsed:
        """The text of the file at `path`. `name` (its extension) and `content_type` say what it is thought to be.

        Raises UnsupportedMediaType (a kind that is not read, or not without a package that is missing), BadRequest
        (damaged, encrypted, empty, no file), TooLarge (beyond a limit, which is named): each names the file. And
        InternalError (no child can be started), ReadingStopped. And what `check` raises, which is called by a thread of
        its own now and then while the file is read: the child is ended then.
        """
        asked = {"path": os.path.abspath(path), "name": name, "content_type": content_type}
        with self._turn:
            child = self._ready_child()
            watch = _Watch(child, self._limits.timeout_s(_size_of(path)), check)
            try:
                child.send(asked)
                message, blob = next(child.frames())
            except (ChildGone, BrokenFrame, StopIteration):
                watch.end()
                child.stop(grace_s=0)
                raise watch.raised or self._why_it_ended(child, _shown(name), watch.gave_up_after_s) from None
            finally:
                watch.end()
            if message["is_last"]:
                child.stop()
            if (kind := message.get("error")) is not None:
                raise ERRORS[kind](f"{_shown(name)} {message['message']}.")
            return wire.unpack(message, blob)

    def stop(self) -> None:
        """End what is being read, and the child; nothing can be read afterwards. Returns within some 6 s."""
        with self._lock:
            self._is_stopped = True
            child, self._child = self._child, None
        if child is not None:
            child.stop(grace_s=0)

    def _ready_child(self) -> Child:
        """The child, if it still runs, else a new one. Raises ReadingStopped, InternalError."""
        with self._lock:
            if self._is_stopped:
                raise ReadingStopped
            old = self._child
            if old is not None and old.is_running:
                return old
            self._child = None
        if old is not None:
            old.stop(grace_s=0)
        try:
            child = Child(self_command("_read", str(os.getpid())), name="reader", log=log.debug, env=self_environment())
        except OSError as error:
            raise InternalError(f"The process that reads documents cannot be started: {error.strerror}.") from error
        with self._lock:
            self._child = child
            is_stopped = self._is_stopped
        if is_stopped:
            child.stop(grace_s=0)
            raise ReadingStopped
        with contextlib.suppress(ChildGone):  # the sending of the file will tell
            child.send(asdict(self._limits))
        return child

    def _why_it_ended(self, child: Child, name: str, timeout_s: float | None) -> Exception:
        """`timeout_s`: that it had and went beyond."""
        if self._is_stopped:
            return ReadingStopped()
        how = child.how_it_ended()
        log.warning("the process that reads documents %s", how)
        if timeout_s is not None:
            return TooLarge(f"{name} could not be read within {timeout_s:g} s, which is the limit for its size.")
        if how.endswith("SIGXCPU"):
            return TooLarge(f"{name} takes more time of computing than the limit for its size.")
        return BadRequest(f"{name} cannot be read: the process that read it {how}.")


class _Watch:
    """A thread that ends a child which reads for too long, or whose text nobody wants any more."""

    def __init__(self, child: Child, timeout_s: float, check: Callable[[], None]):
        self.raised: BaseException | None = None  # by `check`
        self.gave_up_after_s: float | None = None  # it took longer than that
        self._child, self._check = child, check
        self._ends_at, self._timeout_s = time.monotonic() + timeout_s, timeout_s
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch:reader", daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(CHECK_INTERVAL_S):
            try:
                self._check()
            except BaseException as error:
                self.raised = error
            if time.monotonic() >= self._ends_at:
                self.gave_up_after_s = self._timeout_s
            if self.raised or self.gave_up_after_s:
                self._child.stop(grace_s=0)
                return


def _size_of(path: Path) -> int:
    """0 for what is no file: the child will say so."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _shown(name: str) -> str:
    """A file's name for a message: on one line and not longer than a line."""
    return repr(name if len(name) <= SHOWN_NAME_CHARS else name[: SHOWN_NAME_CHARS - 1] + "…")
