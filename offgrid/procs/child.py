"""One child process: started, heard out, and ended within a bound.

The child leads a process group of its own, so a Ctrl-C in the terminal reaches only the router, and ending the
group ends whatever the child started. Its stdin and stdout carry frames; its stderr is read line by line into
the log, and the last lines are kept because they say why it died.

Threads: one `log:<name>` thread per child reads stderr. `send` and `stop` may be called from any thread; `frames`
belongs to one thread, which should be the one that made the Child: on Linux the child asks to be killed when the
*thread* that started it ends (PR_SET_PDEATHSIG), so that thread must live as long as the child.
"""

import os
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

from offgrid.procs import ending, frames
from offgrid.procs.ending import STEP_S

N_LAST_WORDS = 40
MAX_LINE_BYTES = 4096


class ChildGone(Exception):
    """The child has ended, or its pipe is closed: nothing more can be sent to it."""


class Child:
    def __init__(self, command: list[str], *, name: str, log: Callable[[str], None], env: dict[str, str] | None = None):
        """Start `command`; `log` gets each line of its stderr. Raises OSError.

        Its environment is ours without our settings, with `env` added.
        """
        self.name = name
        self.last_words: deque[str] = deque(maxlen=N_LAST_WORDS)
        self._log = log
        self._send_lock = threading.Lock()
        self._stop_lock = threading.Lock()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_without_our_settings() | (env or {}),
            process_group=0,  # a Ctrl-C in the terminal is for the router alone
        )
        self._log_thread = threading.Thread(target=self._read_stderr, name=f"log:{name}", daemon=True)
        self._log_thread.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return not ending.has_ended(self._process)

    def send(self, message: dict, blob: bytes = b"") -> None:
        """Queue one frame to the child; blocks while its pipe is full. Raises ChildGone."""
        frame = frames.encode(message, blob)
        with self._send_lock:
            try:
                self._process.stdin.write(frame)
                self._process.stdin.flush()
            except (OSError, ValueError) as error:  # ValueError: the pipe was closed by stop()
                raise ChildGone(f"{self.name} has ended") from error

    def frames(self) -> Iterator[tuple[dict, bytes]]:
        """Each (message, blob) that the child sends, until it closes its side or is stopped. Raises BrokenFrame."""
        while True:
            try:
                frame = frames.read(self._process.stdout)
            except ValueError:  # stop() closed the pipe, from another thread, while we had not heard all of it
                return
            if frame is None:
                return
            yield frame

    def stop(self, grace_s: float = STEP_S) -> None:
        """End the child: close its stdin, then SIGTERM, then SIGKILL to its group. Returns within grace_s + 6 s."""
        with self._stop_lock:
            if self._process.returncode is not None:
                return
            self._close_stdin()
            ending.end(self._process, self._ended_within, grace_s)
            self._log_thread.join(STEP_S)
            self._process.stdout.close()
            if not self._log_thread.is_alive():
                self._process.stderr.close()

    def how_it_ended(self) -> str:
        """A phrase for a message, once stop() has returned: "was killed by SIGKILL", "ended with status 3"."""
        return ending.how_it_ended(self._process)

    def _close_stdin(self) -> None:
        # A child that no longer reads can hold a sender inside the lock; then SIGTERM has to speak first.
        if not self._send_lock.acquire(timeout=STEP_S):
            return
        try:
            self._process.stdin.close()
        except OSError:  # what was still buffered for a child that is gone
            pass
        finally:
            self._send_lock.release()

    def _ended_within(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while self.is_running:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.01)
        return True

    def _read_stderr(self) -> None:
        for line in iter(lambda: self._process.stderr.readline(MAX_LINE_BYTES), b""):
            text = line.decode("utf-8", "replace").rstrip()
            if text:
                self.last_words.append(text)
                self._log(text)


def _without_our_settings() -> dict[str, str]:
    """Keys and passwords are among our settings, and a child reads files and texts that others have made."""
    return {name: value for name, value in os.environ.items() if not name.startswith("OFFGRID_")}
