"""What this machine has: memory that can be taken, memory that a process holds. Knows nothing of models.

All figures are bytes. Numbers are read afresh at every call, because other programs come and go.
"""

import os
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
UNKNOWN_MACHINE_BYTES = 2 << 30  # where the system does not tell, as on Windows: the smallest that is worth trying


def total_bytes(proc: Path = Path("/proc")) -> int:
    """All the memory of the machine, whoever uses it."""
    total = _field(proc / "meminfo", "MemTotal:", unit=1024)
    return _from_sysconf("SC_PHYS_PAGES") if total is None else total


def resident_bytes(pid: int, proc: Path = Path("/proc")) -> int:
    """What a process has in RAM, pages of files that it maps included; 0 when it is gone or nobody tells."""
    return _statm(pid, proc)[0]


def private_bytes(pid: int, proc: Path = Path("/proc")) -> int:
    """What a process has in RAM apart from files: what its end gives back. 0 when it is gone or nobody tells."""
    resident, shared = _statm(pid, proc)
    return resident - shared


def _statm(pid: int, proc: Path) -> tuple[int, int]:
    """(resident, of that files and shared memory) of a process."""
    try:
        words = (proc / str(pid) / "statm").read_text().split()
        return int(words[1]) * PAGE_BYTES, int(words[2]) * PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0, 0


def available_bytes(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """What can be taken without swapping: of the machine, and of the container or service that we are in."""
    machine = _field(proc / "meminfo", "MemAvailable:", unit=1024)
    if machine is None:
        machine = _from_sysconf("SC_AVPHYS_PAGES")
    return max(min([machine, *(left for _, left in _cgroup_limits(proc, cgroups))]), 0)


def limit_bytes(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """The most that we could ever have: of the machine, and of the container or service that we are in."""
    return min([total_bytes(proc), *(limit for limit, _ in _cgroup_limits(proc, cgroups))])


def _from_sysconf(name: str) -> int:
    try:
        return os.sysconf(name) * PAGE_BYTES
    except (AttributeError, ValueError, OSError):
        pass
    try:  # macOS tells only the whole
        return os.sysconf("SC_PHYS_PAGES") * PAGE_BYTES // 2
    except (AttributeError, ValueError, OSError):
        return UNKNOWN_MACHINE_BYTES


def _cgroup_limits(proc: Path, cgroups: Path) -> list[tuple[int, int]]:
    """Each limit and what it leaves, ours and our ancestors', in cgroup version 2 and 1.

    File pages count as used there, although the kernel gives them up when asked: they are added, as MemAvailable has
    them. Pages that a model needs all the same are the business of whoever counts models (`budget.py`).
    In a container our path may be that of the host, which does not exist in here; then the root is our own group.
    """
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return []
    limits = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, limit, used, files = cgroups, "memory.max", "memory.current", ("inactive_file", "active_file")
        elif "memory" in controllers.split(","):
            root, limit, used = cgroups / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            files = "total_inactive_file", "total_active_file"
        else:
            continue
        own = root / path.strip("/")
        for group in (own, *own.parents):
            if group != root and root not in group.parents:
                break
            max_bytes, used_bytes = _field(group / limit), _field(group / used)
            if max_bytes is not None and used_bytes is not None:
                cached = sum(_field(group / "memory.stat", name) or 0 for name in files)
                limits.append((max_bytes, max_bytes - used_bytes + cached))
    return limits


def _field(path: Path, name: str | None = None, unit: int = 1) -> int | None:
    """The number in a file of the kernel, or on its line that begins with `name`; None without one ("max")."""
    try:
        words = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return None
    for line in words:
        value = line[0] if name is None and line else line[1] if len(line) > 1 and line[0] == name else ""
        if value.isdigit():
            return int(value) * unit
    return None
