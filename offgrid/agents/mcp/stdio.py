"""One MCP server as a child process: its lines, its stderr, its end.

One thread, `mcp:<name>`, starts the process, reads, writes what did not go at once, and ends and reaps it: nothing else
touches its pipes, so nothing can wait for a server that does not read, and a grandchild that keeps the pipes open keeps
nobody here. On Linux the process is killed when that thread ends (`procs/lifeline.py`), so also with the router.

Must stay true: what comes in unasked (garbage, notifications, stderr) is read at a bounded rate, so that a flood fills
the server's own pipe and not our time; no more is held than a line, the outbox and the last words.
Not covered: a process that the server started with another environment, in a session of its own.
"""

import contextlib
import logging
import os
import select
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from offgrid.agents.mcp.lines import Cut, Lines
from offgrid.agents.mcp.rpc import McpError, NotSent
from offgrid.procs import ending, lifeline

log = logging.getLogger(__name__)

# What a server is told of our environment, besides its own. Everything else may hold somebody's keys.
INHERITED = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER")
MARK = "MCP_SERVER_OF_OFFGRID"  # in its environment, so that what it leaves behind can be found
MAX_OUTBOX_BYTES = 8 << 20  # of messages that the server does not take
READ_BYTES = 64 * 1024
ENDING_LOOK_S = 0.02
CLOSING_S = 0.5  # between the end of its output and its own, where the two belong together
N_LAST_READS = 16  # of what is still in the pipe of a server that has ended: a pipe's most
N_LAST_WORDS, MAX_STDERR_LINE_BYTES = 20, 2000
# What comes unasked costs 1 for a message, and 1 for every 4 KiB; who spends more is not read for the rest of a second.
MOST_UNASKED, UNASKED_WINDOW_S = 500, 1.0


@dataclass(frozen=True, slots=True)
class Program:
    """What is started: `mark` is its own among all servers of this machine."""

    command: tuple[str, ...]
    env: dict[str, str]
    cwd: str | None
    mark: str


class Stdio:
    """A `Transport`. `start` once; `send`, `forget` and `close` are for any thread.

    By the thread that reads: `take(line)` is given each line and says whether somebody waited for it;
    `ended(why, is_crash)` is called once, when nothing is left of it; `may_rest()` is asked when nothing was sent or
    awaited for `idle_s` (0: never).
    """

    def __init__(
        self,
        program: Program,
        name: str,
        *,
        take: Callable[[bytes | Cut], bool],
        ended: Callable[[str, bool], None],
        may_rest: Callable[[], bool],
        idle_s: float,
        log_line: Callable[[str], None],
    ):
        self.last_words: deque[str] = deque(maxlen=N_LAST_WORDS)
        self._program = program
        self._take, self._ended, self._may_rest = take, ended, may_rest
        self._idle_s = idle_s
        self._log_line = log_line
        self._lock = threading.Lock()  # of the outbox
        self._outbox = bytearray()
        self._is_open = False  # it takes messages
        self._is_asked_to_end = False
        self._is_deaf = False
        self._used_at = time.monotonic()
        self._process: subprocess.Popen | None = None
        self._out = self._err = self._ends = self._wake_in = self._wake_out = None  # file descriptors
        self._out_lines, self._err_lines = Lines(), Lines(MAX_STDERR_LINE_BYTES)
        self._window_ends_at, self._n_unasked = 0.0, 0
        self._started = threading.Event()
        self._start_error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name=f"mcp:{name}", daemon=True)

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> None:
        """Raises McpError."""
        self._thread.start()
        self._started.wait()
        if self._start_error is not None:
            raise McpError(f"{self._program.command[0]} cannot be started: {self._start_error}.")

    def send(self, message: bytes, id: int | None = None) -> None:
        with self._lock:
            if not self._is_open:
                raise NotSent("It has ended.")
            if len(self._outbox) + len(message) > MAX_OUTBOX_BYTES:
                raise McpError("It does not read what it is sent.")
            self._used_at = time.monotonic()
            self._outbox += message + b"\n"
            self._flush()
            if self._outbox:
                self._wake()

    def forget(self, id: int) -> None:
        self._used_at = time.monotonic()

    def close(self) -> None:
        """Begin to end it; returns at once."""
        with self._lock:
            self._is_asked_to_end = True
            if self._is_open:
                self._wake()

    def join(self, timeout_s: float) -> None:
        """Wait until nothing of it is left."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    # --- the thread ---

    def _run(self) -> None:
        try:
            self._start()
        except OSError as error:
            self._start_error = error
            self._end()
            return
        finally:
            self._started.set()
        why, is_crash = "Reading from it failed here.", True
        try:
            why, is_crash = self._pump()
        except Exception:
            log.exception("%s", self._thread.name)
        with self._lock:
            self._is_open = False
        self._end()
        self._ended(why or f"It {ending.how_it_ended(self._process)}.", is_crash)

    def _start(self) -> None:
        program = self._program
        self._wake_out, self._wake_in = os.pipe()
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        self._process = subprocess.Popen(
            lifeline.tied(list(program.command)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env={**inherited, **program.env, MARK: program.mark},
            cwd=program.cwd,
            process_group=0,  # a Ctrl-C in the terminal is for the router alone
        )
        # Readable when the process ends, which its pipes need not tell: a grandchild may hold them (Linux only).
        self._ends = os.pidfd_open(self._process.pid) if hasattr(os, "pidfd_open") else None
        self._in, self._out, self._err = (pipe.fileno() for pipe in self._pipes)
        for fd in (self._in, self._out, self._err, self._wake_in, self._wake_out):
            os.set_blocking(fd, False)
        self._is_open = True

    @property
    def _pipes(self):
        return (self._process.stdin, self._process.stdout, self._process.stderr)

    def _pump(self) -> tuple[str, bool]:
        """Read and write until it is over; says why it is, and whether that was its own doing. "": it has ended."""
        while True:
            ready = self._poll()
            if self._is_asked_to_end:
                return "It was stopped.", False
            if self._wake_out in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_out, READ_BYTES)
            if self._in in ready:
                with self._lock:
                    self._flush()
            if self._err in ready:
                self._read_stderr()
            if self._out in ready and not self._read_stdout():
                return "" if self._ended_within(CLOSING_S) else "It closed its output.", True
            if self._ends in ready:
                self._drain()
                return "", True
            if not ready and self._rests():
                return "It was idle, and was stopped.", False
            if self._is_deaf:
                return "" if self._ended_within(CLOSING_S) else "It closed its input.", True

    def _poll(self) -> set[int]:
        now = time.monotonic()
        if now >= self._window_ends_at:
            self._window_ends_at, self._n_unasked = now + UNASKED_WINDOW_S, 0
        is_flood = self._n_unasked > MOST_UNASKED
        timeout_s = self._window_ends_at - now if is_flood else self._until_idle(now)
        poller = select.poll()
        poller.register(self._wake_out, select.POLLIN)
        if self._ends is not None:
            poller.register(self._ends, select.POLLIN)
        if self._outbox:
            poller.register(self._in, select.POLLOUT)
        for fd in () if is_flood else (self._out, self._err):
            if fd is not None:
                poller.register(fd, select.POLLIN)
        return {fd for fd, _ in poller.poll(None if timeout_s is None else 1000 * timeout_s + 1)}

    def _until_idle(self, now: float) -> float | None:
        return max(0.0, self._used_at + self._idle_s - now) if self._idle_s else None

    def _rests(self) -> bool:
        """Whether it is idle; from then on it takes no more messages, so that none is lost."""
        with self._lock:
            if self._until_idle(time.monotonic()) != 0:
                return False
            if not self._may_rest():
                self._used_at = time.monotonic()
                return False
            self._is_open = False
            return True

    def _read_stdout(self) -> bool:
        """False when there is nothing: at its end, and else only when nobody said that there is something."""
        data = _read(self._out)
        for line in self._out_lines.take(data or b""):
            if not self._take(line):
                self._count_unasked(line.n_bytes if isinstance(line, Cut) else len(line))
        return bool(data)

    def _read_stderr(self) -> None:
        data = _read(self._err)
        if data == b"":
            self._err = None
            return
        for line in self._err_lines.take(data or b""):
            self._count_unasked(0)
            text = (line.head if isinstance(line, Cut) else line).decode("utf-8", "replace").rstrip()
            self.last_words.append(text)
            self._log_line(text)

    def _count_unasked(self, n_bytes: int) -> None:
        self._n_unasked += 1 + n_bytes // 4096

    def _drain(self) -> None:
        """What it wrote before its end."""
        for _ in range(N_LAST_READS):
            if self._err is not None:
                self._read_stderr()
            if not self._read_stdout():
                return

    def _flush(self) -> None:
        """Write what the pipe takes; the lock is held."""
        try:
            while self._outbox:
                del self._outbox[: os.write(self._in, self._outbox)]
        except BlockingIOError:
            pass
        except OSError:  # it has closed its stdin: it can be asked nothing more
            self._outbox.clear()
            self._is_open = False
            self._is_deaf = True
            self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # the pipe is full: it is awake
            os.write(self._wake_in, b"!")

    def _end(self) -> None:
        """Climb the ladder, and leave nothing behind."""
        for fd in (self._wake_in, self._wake_out):
            if fd is not None:
                os.close(fd)
        if self._process is None:
            return
        self._process.stdin.close()
        ending.end(self._process, self._ended_within)
        ending.end_marked(MARK, lambda mark: mark == self._program.mark)
        for pipe in self._pipes:
            pipe.close()
        if self._ends is not None:
            os.close(self._ends)

    def _ended_within(self, timeout_s: float) -> bool:
        """Wait for its end, reading on meanwhile: a server that cannot write its last words might not end."""
        deadline = time.monotonic() + timeout_s
        while not ending.has_ended(self._process):
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            if self._err is not None:
                self._read_stderr()
            for _ in range(N_LAST_READS):
                if not _read(self._out):
                    break
            poller = select.poll()
            if self._ends is not None:
                poller.register(self._ends, select.POLLIN)
            poller.poll(1000 * min(left_s, ENDING_LOOK_S))
        return True


def _read(fd: int | None) -> bytes | None:
    """Some bytes; b"" at the end, and of a pipe that was never opened; None when there are none now."""
    if fd is None:
        return b""
    try:
        return os.read(fd, READ_BYTES)
    except BlockingIOError:
        return None
    except OSError:
        return b""
