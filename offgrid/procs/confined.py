"""Confined: one program, run with little and to its end; the router's side of `warden.py`. Linux only.

Must stay true: when `run_confined` returns, nothing that the program started is left, except where the kernel itself
cannot end it; no more than so many bytes of what it wrote were kept, whatever it wrote.
"""

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from offgrid.procs.command import self_command, self_environment

SLICE_S = 0.1
END_S = 5.0  # for the warden to end everything
FLOOD_BYTES = 16 * 1024 * 1024
PIECE_BYTES = 64 * 1024
NOBODY = 65534  # as whom a program runs where the server runs as root


@dataclass(frozen=True, slots=True)
class Limits:
    """For one program. Each of its processes has the memory and the processor time; all share the wall time."""

    wall_s: float
    file_bytes: int  # of one file
    memory_bytes: int = 1024**3
    n_processes: int = 64  # and threads, all together


@dataclass(frozen=True, slots=True)
class Outcome:
    """`ended_by` is "" where the program ended by itself, else "time", "flood" or what `why_end` said."""

    status: int  # as a shell has it: 128 and more is a signal, 127 is a program that there is not
    output: bytes  # the beginning of stdout and stderr, as they came
    n_bytes: int  # of all that it wrote
    ended_by: str

    @property
    def is_cut(self) -> bool:
        return self.n_bytes > len(self.output)


def run_confined(
    argv: list[str], folder: Path, limits: Limits, max_output_bytes: int, why_end: Callable[[], str]
) -> Outcome:
    """Run a program in `folder` and wait for it; at most `limits.wall_s` and END_S.

    `why_end` is asked every SLICE_S: a word, and the program is ended. Raises OSError when nothing can be started.
    """
    words = [json.dumps(asdict(limits) | {"folder": str(folder.resolve()), "nobody": NOBODY}), *argv]
    process = subprocess.Popen(
        self_command("_confine", *words),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=self_environment(),
        process_group=0,  # a Ctrl-C in the terminal is for the router alone
    )
    kept, n_bytes, ended_by = b"", 0, ""
    deadline = time.monotonic() + limits.wall_s
    poll = select.poll()
    poll.register(process.stdout, select.POLLIN)
    try:
        while not ended_by:
            if poll.poll(SLICE_S * 1000):
                piece = os.read(process.stdout.fileno(), PIECE_BYTES)
                if not piece:  # the warden has ended, which is the last to close the pipe
                    break
                kept += piece[: max_output_bytes - len(kept)]
                n_bytes += len(piece)
            is_late = time.monotonic() > deadline
            ended_by = why_end() or ("time" if is_late else "flood" if n_bytes > FLOOD_BYTES else "")
    finally:
        status = _end(process)
    return Outcome(status, kept, n_bytes, ended_by)


def _end(process: subprocess.Popen) -> int:
    process.stdin.close()
    process.stdout.close()
    try:
        return process.wait(END_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait()
