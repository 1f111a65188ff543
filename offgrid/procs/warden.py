"""The warden: the process between the router and one program that is run with little, for its whole life.

It starts the program within limits that the program cannot lift, and leaves only when the program and everything that
the program started has ended: as a subreaper it inherits what tries to outlive its parents, in whatever session. The
router ends it all by closing the warden's stdin; the router's own end does the same.

What confines the program: a session and an environment of its own, no stdin, a low priority, limits for processor time,
memory, files and processes, no new privileges (setuid programs give none), the first to go when memory is short; under
root it is nobody; and `landlock.py`, where the kernel has it. Not covered: the network. Without Landlock it may read
whatever its user may read, and end its warden, if that is not root; then a grandchild could outlive it.
"""

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import sys
from collections.abc import Iterator

from offgrid.procs.landlock import Fence

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 36, 38
NICENESS = 15
MAX_OPEN_FILES = 256
NOT_FOUND, NOT_STARTED = 127, 126  # as a shell has it


def main(words: list[str]) -> int:
    """`words`: as JSON the fields of `confined.Limits`, `folder` and `nobody`; then the program and its arguments.

    Returns the program's exit status, 128 and the signal's number where one ended it.
    """
    limits, argv = json.loads(words[0]), words[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    uid = limits["nobody"] if os.geteuid() == 0 else os.getuid()
    n_tasks = sum(n for _, _, owner, n in _processes() if owner == uid)
    program = os.fork()  # this process has one thread
    if program == 0:
        try:
            _become(argv, limits, uid, n_tasks + limits["n_processes"], libc)
        except BaseException as error:
            os.write(2, f"{argv[0]}: {getattr(error, 'strerror', None) or error}\n".encode("utf-8", "replace"))
            os._exit(NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_STARTED)
    try:
        if not _ended_first(program):
            return 0
        code = os.waitstatus_to_exitcode(os.waitpid(program, 0)[1])
        return code if code >= 0 else 128 - code
    finally:
        _end_all()


def _become(argv: list[str], limits: dict, uid: int, n_tasks: int, libc: ctypes.CDLL) -> None:
    """Turn this process into the program. Raises OSError."""
    os.setsid()
    folder = limits["folder"]
    os.chdir(folder)
    fence = Fence(folder, libc)  # now: under root, nobody may not even get to the folder
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")
    os.nice(NICENESS)
    for name, most in (
        (resource.RLIMIT_CPU, max(1, round(limits["wall_s"]))),
        (resource.RLIMIT_AS, limits["memory_bytes"]),
        (resource.RLIMIT_FSIZE, limits["file_bytes"]),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
        (resource.RLIMIT_NPROC, n_tasks),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(name)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(name, (most, most))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    for option, value in ((PR_SET_NO_NEW_PRIVS, 1), (PR_SET_PDEATHSIG, signal.SIGKILL)):
        if libc.prctl(option, value, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "the system cannot confine a program")
    fence.close_behind()
    os.umask(0o077)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores, and its children would
        signal.signal(number, signal.SIG_DFL)
    # The whole path of the folder may not be nobody's to walk: temporary files go to wherever the program is.
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": folder, "TMPDIR": "."}
    os.execvpe(argv[0], argv, environment | {"LANG": "C.UTF-8", "TERM": "dumb"})


def _ended_first(program: int) -> bool:
    """Wait until the program has ended by itself (True) or the router wants its end."""
    poll = select.poll()
    with open(os.pidfd_open(program), "rb", buffering=0) as end:
        poll.register(end, select.POLLIN)
        poll.register(sys.stdin, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll()}
        return end.fileno() in ready


def _end_all() -> None:
    """End everything below this process. Stopped first, so that none of them makes another one meanwhile."""
    while found := set(_descendants()):
        stopped: set[int] = set()
        while new := found - stopped:
            _signal(new, signal.SIGSTOP)
            stopped |= new
            found = set(_descendants())
        _signal(stopped, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, 0)
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _signal(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _descendants() -> Iterator[int]:
    """Everything that this process started, or that something that it started did."""
    below: dict[int, list[int]] = {}
    for pid, parent, _, _ in _processes():
        below.setdefault(parent, []).append(pid)
    waiting = [os.getpid()]
    while waiting:
        children = below.get(waiting.pop(), [])
        yield from children
        waiting += children


def _processes() -> Iterator[tuple[int, int, int, int]]:
    """Of each process: its id, its parent's, its user and how many threads it has."""
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            with open(f"/proc/{name}/status", "rb") as file:
                lines = file.read().split(b"\n")
        except OSError:  # it has ended
            continue
        about = {key: rest.split() for key, _, rest in (line.partition(b":") for line in lines)}
        if b"Threads" in about:  # the last of them to go when it ends
            yield int(name), int(about[b"PPid"][0]), int(about[b"Uid"][0]), int(about[b"Threads"][0])
