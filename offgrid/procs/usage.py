"""What this program's processes take of the machine: memory, processor time, threads, open files.

Read from /proc at each question, nothing is sampled in between; where the system does not tell, the answer is None.
Memory is in bytes, time in seconds. Safe for any thread.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from offgrid.procs import machine

TICK_S = 1 / os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0.01
SHORTEST_S = 1.0  # over less than this a share of processor time is chance


@dataclass(frozen=True, slots=True)
class ProcessUse:
    resident_bytes: int  # in RAM, with the pages of files and what it shares with others
    private_bytes: int  # in RAM, apart from files
    data_bytes: int  # address space that is neither file nor code
    virtual_bytes: int
    cpu_s: float  # its own, without its children's
    reaped_cpu_s: float  # of its children that have ended
    n_threads: int
    started_at: float  # unix seconds, by the machine's present idea of the time
    proportional_bytes: int | None = None  # the same with a share of what is shared: such figures may be added
    n_fds: int | None = None


@dataclass(frozen=True, slots=True)
class CpuShares:
    """Percent of all cores together, over the time since the last look that was at least SHORTEST_S ago."""

    machine: float
    ours: float  # this process and its children


class Usage:
    def __init__(self, children: Callable[[], dict[str, int]], proc: Path = Path("/proc")):
        """`children` gives the pid of each child that is to be looked at, by name."""
        self._children = children
        self._proc = proc
        self._lock = threading.Lock()
        self._base = self._cpu_ticks()
        self._base_at = time.monotonic()
        self._shares: CpuShares | None = None

    def own(self) -> ProcessUse | None:
        return process_use(os.getpid(), self._proc)

    def children(self) -> dict[str, ProcessUse]:
        """Those that still live, by name."""
        uses = {name: process_use(pid, self._proc) for name, pid in self._children().items()}
        return {name: use for name, use in uses.items() if use is not None}

    def memory(self) -> tuple[int, int]:
        """(all, what can still be taken without swapping) of the machine, or of the container that we are in."""
        total = machine.limit_bytes(self._proc)
        return total, min(machine.available_bytes(self._proc), total)

    def cpu_seconds(self) -> tuple[float, float] | None:
        """(busy, idle) of all cores together since the machine's start."""
        try:
            words = (self._proc / "stat").read_text().split("\n", 1)[0].split()[1:9]
            ticks = [int(word) for word in words]
            idle = ticks[3] + ticks[4]  # and waiting for a disk
            return (sum(ticks) - idle) * TICK_S, idle * TICK_S
        except (OSError, ValueError, IndexError):
            return None

    def cpu_shares(self) -> CpuShares | None:
        """How busy the machine is, and how busy we keep it; None where nobody tells."""
        with self._lock:
            at = time.monotonic()
            if self._base is not None and (self._shares is None or at - self._base_at >= SHORTEST_S):
                if (now := self._cpu_ticks()) is None:
                    return None
                busy, idle, ours = (max(new - old, 0) for new, old in zip(now, self._base, strict=True))
                whole = busy + idle
                if whole <= 0:  # no tick has passed
                    return self._shares
                self._shares = CpuShares(100 * busy / whole, min(100 * ours / whole, 100.0))
                self._base, self._base_at = now, at
            return self._shares

    def _cpu_ticks(self) -> tuple[float, float, float] | None:
        """(busy, idle, ours), each in seconds; a child's time moves to our own account when it has ended."""
        seconds, own = self.cpu_seconds(), process_use(os.getpid(), self._proc, has_details=False)
        if seconds is None or own is None:
            return None
        children = (process_use(pid, self._proc, has_details=False) for pid in self._children().values())
        return (*seconds, sum(use.cpu_s + use.reaped_cpu_s for use in (own, *children) if use is not None))


def process_use(pid: int, proc: Path = Path("/proc"), *, has_details: bool = True) -> ProcessUse | None:
    """What one process takes; None when it is gone. Without details: not its proportional memory and open files."""
    folder = proc / str(pid)
    try:
        # The name stands in brackets, and may hold brackets and spaces itself.
        words = (folder / "stat").read_text().rpartition(")")[2].split()
        pages = [int(word) for word in (folder / "statm").read_text().split()]
        booted_at = _number(_lines(proc / "stat"), "btime")
        return ProcessUse(
            resident_bytes=pages[1] * machine.PAGE_BYTES,
            virtual_bytes=int(words[20]),
            cpu_s=(int(words[11]) + int(words[12])) * TICK_S,
            reaped_cpu_s=(int(words[13]) + int(words[14])) * TICK_S,
            n_threads=int(words[17]),
            started_at=(booted_at or 0) + int(words[19]) * TICK_S,
            proportional_bytes=_proportional_bytes(folder) if has_details else None,
            n_fds=_n_fds(folder) if has_details else None,
            private_bytes=(pages[1] - pages[2]) * machine.PAGE_BYTES,
            data_bytes=pages[5] * machine.PAGE_BYTES,
        )
    except (OSError, ValueError, IndexError):
        return None


def _proportional_bytes(folder: Path) -> int | None:
    try:
        n_kb = _number(_lines(folder / "smaps_rollup"), "Pss:")
    except OSError:  # another user's, or an old kernel
        return None
    return None if n_kb is None else n_kb * 1024


def _n_fds(folder: Path) -> int | None:
    try:
        return len(os.listdir(folder / "fd"))
    except OSError:
        return None


def _lines(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines()]


def _number(lines: Iterable[list[str]], name: str) -> int | None:
    return next((int(line[1]) for line in lines if len(line) > 1 and line[0] == name), None)
