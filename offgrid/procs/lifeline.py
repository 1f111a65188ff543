"""The child's side of the bargain: no orphan is ever left behind, and nothing but frames goes up the pipe.

`tied` strikes it for programs that are not ours.
"""

import ctypes
import os
import signal
import sys
from typing import BinaryIO

PR_SET_PDEATHSIG = 1
# Run by a Python of its own for a moment: the wish outlives the exec, and Popen's preexec_fn is not safe with threads.
# The signals are what Python ignores, and what ignores them hands that on.
_TIE = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit(0)
for number in (signal.SIGPIPE, signal.SIGXFSZ):
    signal.signal(number, signal.SIG_DFL)
try:
    os.execvp(sys.argv[2], sys.argv[2:])
except OSError as error:
    sys.exit(f"{sys.argv[2]}: {error.strerror}")
"""


def tied(command: list[str]) -> list[str]:
    """The argv that runs a program which is not ours so that it is killed when the thread that starts it ends (Linux).

    What that program starts itself is not; it has to see the end of its stdin.
    """
    if not sys.platform.startswith("linux"):
        return command
    # -I and -S: nothing of the environment, which is the program's, has a say in how this Python starts.
    return [sys.executable, "-I", "-S", "-c", _TIE, str(os.getpid()), *command]


def take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """This process's (frames in, frames out), with file descriptor 1 pointed at stderr from now on.

    A C library prints to descriptor 1 whatever Python thinks of it; one such line inside the pipe would break it.
    """
    frames_in = os.fdopen(os.dup(0), "rb")
    frames_out = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return frames_in, frames_out


def die_with_parent(parent_pid: int) -> None:
    """Ask the kernel for SIGKILL when the parent's starting thread ends (Linux; elsewhere end of stdin must do)."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before we asked
        sys.exit(0)
