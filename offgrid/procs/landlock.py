"""Landlock: the kernel's own fence around a process and all that it starts (Linux 5.13 and newer, where it is enabled).

For `warden.py`. Inside it is only what programs need of a system, to be read, and one folder, to be written; nothing
outside can be traced or, from Linux 6.12 on, be sent a signal. Not covered: the network.
The interface: linux/landlock.h; its system calls have the same numbers on every processor.
"""

import contextlib
import ctypes
import os
import struct

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1  # flag: only ask which version there is
_PATH_BENEATH = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = (1 << n for n in range(4))
_ALL_SCOPES = 0b11  # abstract sockets and signals
# version of the interface → how many kinds of access to files it knows
_N_KINDS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/opt", "/nix", "/proc", "/sys")
SYSTEM_FILES = ("/dev/random", "/dev/urandom", "/run/systemd/resolve")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full")


class Fence:
    """Made first, put up once everything else is done: `close_behind` cannot be undone."""

    def __init__(self, folder: str, libc: ctypes.CDLL):
        """Without effect where the kernel has no Landlock. Raises OSError."""
        self._libc = libc
        self._ruleset = -1
        version = libc.syscall(_CREATE_RULESET, None, 0, _VERSION)
        if version < 1:
            return
        everything = (1 << _N_KINDS.get(version, 16)) - 1
        parts = [everything] + [0] * (version >= 4) + [_ALL_SCOPES] * (version >= 6)
        about = struct.pack(f"={len(parts)}Q", *parts)
        self._ruleset = self._checked(libc.syscall(_CREATE_RULESET, about, len(about), 0))
        for path in SYSTEM:
            self._allow(path, _EXECUTE | _READ_FILE | _READ_DIR)
        for path in SYSTEM_FILES:
            self._allow(path, _READ_FILE)
        for path in DEVICES:
            self._allow(path, _READ_FILE | _WRITE_FILE)
        self._allow(folder, everything)

    def close_behind(self) -> None:
        """Leave this process inside, for good; it must have no new privileges. Raises OSError."""
        if self._ruleset >= 0:
            self._checked(self._libc.syscall(_RESTRICT_SELF, self._ruleset, 0))

    def _allow(self, path: str, access: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            rule = struct.pack("=Qi", access, place)
            self._checked(self._libc.syscall(_ADD_RULE, self._ruleset, _PATH_BENEATH, rule, 0))
            os.close(place)

    @staticmethod
    def _checked(result: int) -> int:
        if result < 0:
            raise OSError(ctypes.get_errno(), f"the system cannot confine a program: {os.strerror(ctypes.get_errno())}")
        return result
