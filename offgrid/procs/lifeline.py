"""The child's side of the bargain: no orphan is ever left behind, and nothing but frames goes up the pipe."""

import ctypes
import os
import signal
import sys
from typing import BinaryIO

PR_SET_PDEATHSIG = 1


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
