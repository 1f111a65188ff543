"""Ending a child process within a bound, with whatever it started: the ladder of the MCP specification.

The child leads a process group of its own. Until it is reaped, the kernel gives the number of that group to nobody
else, so everything here looks at a child without reaping it, and reaps it last.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

STEP_S = 2.0  # between two rungs: the MCP specification's order and timing


def has_ended(process: subprocess.Popen) -> bool:
    if process.returncode is not None:
        return True
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def end(process: subprocess.Popen, ended_within: Callable[[float], bool], grace_s: float = STEP_S) -> None:
    """After its stdin was closed: SIGTERM to its group, SIGKILL, and reap it. Returns within grace_s + 6 s.

    `ended_within(seconds)` waits for its end, and says whether it came.
    """
    for patience_s, number in ((grace_s, signal.SIGTERM), (STEP_S, signal.SIGKILL), (STEP_S, signal.SIGKILL)):
        if ended_within(patience_s):
            break
        os.killpg(process.pid, number)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)  # grandchildren that outlived it
    with contextlib.suppress(subprocess.TimeoutExpired):  # in uninterruptible sleep: the kernel's to reap
        process.wait(STEP_S)


def how_it_ended(process: subprocess.Popen) -> str:
    """A phrase for a message, once it was reaped: "was killed by SIGKILL", "ended with status 3"."""
    code = process.returncode
    if code is None:
        return "is still running"
    if code < 0:
        names = {s.value: s.name for s in signal.Signals}
        return f"was killed by {names.get(-code, f'signal {-code}')}"
    return f"ended with status {code}"


def end_marked(variable: str, is_meant: Callable[[str], bool]) -> int:
    """SIGKILL to every process of ours with this variable in its environment, if its value is meant; how many it was.

    For those that left the group of the child that started them. Linux only; who starts a process with another
    environment keeps it.
    """
    if not hasattr(os, "pidfd_open"):
        return 0
    n = 0
    for path in Path("/proc").glob("[0-9]*/environ"):
        # A handle on the process first: its number may be another's by the time of the signal.
        with contextlib.suppress(OSError):
            handle = os.pidfd_open(int(path.parent.name))
            try:
                value = _value(path.read_bytes(), variable)
                if value is not None and is_meant(value):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                    n += 1
            finally:
                os.close(handle)
    return n


def _value(environ: bytes, variable: str) -> str | None:
    start = f"{variable}=".encode()
    found = next((pair for pair in environ.split(b"\0") if pair.startswith(start)), None)
    return None if found is None else os.fsdecode(found[len(start) :])
