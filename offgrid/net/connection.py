"""Connection: one socket to one address, with TLS where wanted, on which no wait outlasts the deadline.

`http.client` reads from it as from a socket. Must stay true: everything waits in slices and looks at the deadline, so
that the end of the time and a cancellation are noticed whatever the other side does; no more than `max_bytes` come in,
whatever `http.client` makes of them (a chunk of length -1, say, is all that there will ever be).
"""

import errno
import functools
import io
import os
import select
import socket
import ssl
import time
from collections.abc import Callable

from offgrid.errors import BadGateway, TooLarge
from offgrid.net.targets import Target

SLICE_S = 0.1
BUFFER_BYTES = 64 * 1024


class Cancelled(Exception):
    """What was being fetched is no longer wanted."""


class Deadline:
    """The time that a fetch has left, however many hosts it asks."""

    def __init__(self, timeout_s: float, is_cancelled: Callable[[], bool]):
        self._timeout_s = timeout_s
        self._ends = time.monotonic() + timeout_s
        self._is_cancelled = is_cancelled

    def left_s(self) -> float:
        """Above 0. Raises BadGateway when the time is over, Cancelled when nobody wants it any more."""
        if self._is_cancelled():
            raise Cancelled
        left = self._ends - time.monotonic()
        if left <= 0:
            raise BadGateway(f"It took longer than {self._timeout_s:g} s.", code="fetch_timeout", param="url")
        return left

    def wait(self, is_over: Callable[[float], bool]) -> None:
        """Until `is_over`, which waits the seconds it is given at most, says so. Raises as `left_s` does."""
        while not is_over(min(self.left_s(), SLICE_S)):
            pass


class Connection:
    """For one thread. Every method raises OSError, and BadGateway and Cancelled as `Deadline` does."""

    def __init__(self, target: Target, address: str, deadline: Deadline, *, max_bytes: int, n_left: int):
        """Connect. `n_left` addresses are still to be tried, this one included: it gets its share of the time.

        `max_bytes`: of everything that comes in; beyond it TooLarge is raised.
        """
        self._deadline = deadline
        self._max_bytes = max_bytes
        self._sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        try:
            self._sock.setblocking(False)
            self._connect((address, target.port), time.monotonic() + deadline.left_s() / n_left)
            if target.scheme == "https":
                self._sock = _tls().wrap_socket(self._sock, server_hostname=target.host, do_handshake_on_connect=False)
                self._retry(self._sock.do_handshake, select.POLLIN)
        except BaseException:
            self._sock.close()
            raise

    def sendall(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._retry(functools.partial(self._sock.send, rest), select.POLLOUT) :]

    def recv_into(self, buffer: memoryview) -> int:
        n_bytes = self._retry(functools.partial(self._sock.recv_into, buffer), select.POLLIN)
        self._max_bytes -= n_bytes
        if self._max_bytes < 0:
            raise TooLarge("More came than was expected.", code="fetch_too_large", param="url")
        return n_bytes

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Incoming(self), BUFFER_BYTES)

    def close(self) -> None:
        self._sock.close()

    def _connect(self, address: tuple[str, int], ends: float) -> None:
        code = self._sock.connect_ex(address)
        while code == errno.EINPROGRESS:
            if time.monotonic() > ends:
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
            if self._is_ready(select.POLLOUT, min(self._deadline.left_s(), SLICE_S)):
                code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))

    def _retry(self, act: Callable[[], int], event: int) -> int:
        """Do it when the socket is ready for it; `event` is what to wait for."""
        while True:
            self._deadline.left_s()  # also where data never stops to come
            try:
                return act()
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
                wants = {ssl.SSLWantReadError: select.POLLIN, ssl.SSLWantWriteError: select.POLLOUT}
                self._deadline.wait(functools.partial(self._is_ready, wants.get(type(error), event)))

    def _is_ready(self, event: int, timeout_s: float) -> bool:
        poll = select.poll()
        poll.register(self._sock, event)
        return bool(poll.poll(timeout_s * 1000))


class _Incoming(io.RawIOBase):
    """What comes in, for a buffered reader."""

    def __init__(self, connection: Connection):
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        return self._connection.recv_into(buffer)


@functools.cache
def _tls() -> ssl.SSLContext:
    # Made once: reading the system's certificates takes 20 ms and more.
    return ssl.create_default_context()
