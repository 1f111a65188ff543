"""The seam between one engine thread that writes every stream and the handler threads that wait for their ends.

Knows sockets (always non-blocking), threads and chunked framing; nothing of requests, routes or models.
Must stay true: `StreamWriter.write` never blocks, whatever the client does; bytes leave in the order they were written;
an SSL object is used by one thread at a time.
"""

import logging
import os
import select
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

from offgrid.errors import ClientGone, SetupError

_log = logging.getLogger("offgrid.web")

MAX_PENDING_BYTES = 1024 * 1024
_PIECE_BYTES = 64 * 1024
_HUNG_UP = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR
_PEEK_EVERY_S = 0.1
_ONE = (1).to_bytes(8, sys.byteorder)  # what an eventfd takes; a pipe takes anything


class Wakeup:
    """A flag that one thread sets and another waits for together with sockets. Costs one fd (eventfd) or two (pipe)."""

    def __init__(self):
        if hasattr(os, "eventfd"):  # Linux
            self.read_fd = self._write_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        else:
            self.read_fd, self._write_fd = os.pipe()
        self._lock = threading.Lock()
        self._is_set = False
        self._is_closed = False

    def set(self) -> None:
        """Wake the waiter. From any thread; harmless when set already or closed."""
        with self._lock:  # else the fd could be closed, and be another client's socket, before the write
            if not self._is_set and not self._is_closed:
                self._is_set = True
                os.write(self._write_fd, _ONE)

    def clear(self) -> None:
        with self._lock:
            if self._is_set and not self._is_closed:
                self._is_set = False
                os.read(self.read_fd, len(_ONE))

    def wait(self, timeout_s: float | None = None) -> bool:
        """Whether it was set before the time-out. Stays set until `clear`."""
        return bool(_poll({self.read_fd: select.POLLIN}, timeout_s))

    def close(self) -> None:
        """Only by the thread that waits."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                for fd in {self.read_fd, self._write_fd}:
                    os.close(fd)

    def __enter__(self) -> "Wakeup":
        return self

    def __exit__(self, *exc_info) -> None:
        self.close()


def wait_for_client(
    sock: socket.socket,
    wakeup: Wakeup,
    timeout_s: float | None = None,
    *,
    has_rdhup: bool = hasattr(select, "POLLRDHUP"),
) -> bool:
    """Wait until `wakeup` is set (True) or the time is over (False); a set wakeup wins over a client that left.

    Sleeps in poll() and costs nothing meanwhile. Bytes of a pipelined request stay where they are and wake nobody.
    A client that closes only its sending side counts as gone, as with nginx: the kernel tells no difference.
    Without POLLRDHUP (not Linux) the socket is peeked at every 100 ms, and a hang-up behind unread bytes is seen later.
    Raises ClientGone when the client hung up.
    """
    if has_rdhup:
        return _woken(sock, wakeup, timeout_s)
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        left_s = _PEEK_EVERY_S if deadline is None else min(_PEEK_EVERY_S, max(0.0, deadline - time.monotonic()))
        if _woken(sock, wakeup, left_s):
            return True
        try:
            # The plain socket's recv, as an SSLSocket's refuses flags.
            if socket.socket.recv(sock, 1, socket.MSG_PEEK) == b"":
                raise ClientGone("hung up")
        except BlockingIOError:
            pass
        except OSError as error:
            raise ClientGone(str(error)) from None
        if deadline is not None and time.monotonic() >= deadline:
            return False


def _woken(sock: socket.socket, wakeup: Wakeup, timeout_s: float | None) -> bool:
    ready = _poll({wakeup.read_fd: select.POLLIN, sock.fileno(): _HUNG_UP}, timeout_s)
    if ready and wakeup.read_fd not in ready:
        raise ClientGone("hung up")
    return bool(ready)


def wait_readable(sockets: Iterable[socket.socket], wakeup: Wakeup) -> list[socket.socket]:
    """Sleep until some of `sockets` have something to read (or accept), which are returned; none: `wakeup` is set."""
    by_fd = {sock.fileno(): sock for sock in sockets}
    ready = _poll(dict.fromkeys([*by_fd, wakeup.read_fd], select.POLLIN), None)
    return [] if wakeup.read_fd in ready else [by_fd[fd] for fd in ready]


def receive(sock: socket.socket, timeout_s: float) -> bytes:
    """Some bytes, at most 64 KiB; empty at the end. Raises TimeoutError, ClientGone."""
    return _when_ready(sock, partial(sock.recv, _PIECE_BYTES), select.POLLIN, timeout_s)


def discard(sock: socket.socket, timeout_s: float) -> bool:
    """Drop some received bytes, undecrypted; False at the end. Raises TimeoutError, ClientGone."""
    return bool(_when_ready(sock, partial(socket.socket.recv, sock, _PIECE_BYTES), select.POLLIN, timeout_s))


def send_all(sock: socket.socket, data: bytes, stall_s: float) -> None:
    """Send everything, waiting as needed. Raises ClientGone, also after `stall_s` in which the client took nothing."""
    view = memoryview(data)
    while view:
        try:
            view = view[_when_ready(sock, partial(sock.send, view), select.POLLOUT, stall_s) :]
        except TimeoutError:
            raise ClientGone(f"took no byte in {stall_s:g} s") from None


def tls_context(cert: str, key: str) -> ssl.SSLContext:
    """The server's side of TLS, from PEM files. Raises SetupError."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # With a password given, an encrypted key is an error instead of a question on the terminal.
        context.load_cert_chain(cert, key, password="")
    except OSError as error:
        raise SetupError(f"Cannot use the TLS certificate {cert} with the key {key}: {error}.") from None
    return context


def shake_hands(sock: ssl.SSLSocket, timeout_s: float) -> None:
    """The TLS handshake. Raises TimeoutError, ClientGone (also for a client that does not speak TLS)."""
    _when_ready(sock, sock.do_handshake, select.POLLIN, timeout_s)


def shut(sock: socket.socket) -> None:
    """End both directions, from any thread: every poll on the socket wakes. It stays open for its owner to close."""
    with suppress(OSError):
        # The plain socket's shutdown: an SSLSocket's would take the SSL object away from the thread that uses it.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _when_ready(sock: socket.socket, operation: Callable, default_event: int, timeout_s: float):
    """Try `operation` until it needs no waiting. Raises TimeoutError, ClientGone."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return operation()
        except ssl.SSLWantReadError:
            event = select.POLLIN
        except ssl.SSLWantWriteError:
            event = select.POLLOUT
        except BlockingIOError:
            event = default_event
        except OSError as error:
            raise ClientGone(str(error)) from None
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not _poll({sock.fileno(): event}, left_s):
            raise TimeoutError


def _poll(wanted: dict[int, int], timeout_s: float | None) -> set[int]:
    """The fds of `wanted` (fd → events) on which something happened; hang-ups and errors always count."""
    poller = select.poll()
    for fd, events in wanted.items():
        poller.register(fd, events)
    # poll() rounds up, so a short wait never spins, and takes what is below 0 for "no time-out".
    return {fd for fd, _ in poller.poll(None if timeout_s is None else max(0.0, timeout_s) * 1000)}


class StreamWriter:
    """Writes one streamed answer. `write` is for any thread and never blocks; the rest is the handler thread's.

    Bytes go straight to the socket. What it does not take waits in a buffer (1 MiB and one write) that a thread of its
    own empties; a client too slow for that, or one that takes nothing for `stall_s`, is hung up on. TLS always goes by
    the buffer and its thread, because an SSL object can neither send without waiting nor be shared by threads.
    """

    def __init__(
        self,
        sock: socket.socket,
        head: bytes,
        *,
        is_chunked: bool = True,
        is_head_only: bool = False,
        stall_s: float = 30,
    ):
        """`is_chunked` False: the end of the connection ends the body (HTTP/1.0). `is_head_only`: answers HEAD."""
        self.started = False  # the head is on its way: the status can no longer change
        self.is_complete = False  # everything was sent, the end of the body too
        self.is_aborted = False
        self._sock = sock
        self._head = head
        self._is_chunked = is_chunked
        self._is_head_only = is_head_only
        self._stall_s = stall_s
        self._is_direct = not isinstance(sock, ssl.SSLSocket)
        self._pending = bytearray()  # sent by the pump; while it holds bytes nobody else sends
        self._max_pending_bytes = MAX_PENDING_BYTES
        self._is_over = False  # nothing more is accepted
        self._is_gone = False
        self._changed = threading.Condition(threading.Lock())
        self._pump_thread: threading.Thread | None = None

    def write(self, data: bytes) -> None:
        """Send `data`, with the answer's head if it is the first. Dropped in silence when the client is gone."""
        with self._changed:
            if self._is_over or not data:
                return
            if self._is_head_only:
                data = b""
            elif self._is_chunked:
                data = b"%x\r\n%b\r\n" % (len(data), data)
            self._put(data)

    def close(self, timeout_s: float = 30.0) -> None:
        """End the answer properly and wait until all of it is sent. Raises ClientGone when it could not be."""
        if self.is_complete:
            return
        with self._changed:
            if not self._is_over:
                self._put(b"0\r\n\r\n" if self._is_chunked and not self._is_head_only else b"")
        self._finish(timeout_s)
        if self._is_gone:
            raise ClientGone("left before the end of the stream")
        self.is_complete = True

    def abort(self, timeout_s: float = 5.0) -> None:
        """Drop the connection after what was written, without the end, so that the answer does not look complete.

        HTTP/1.0 marks no end: such a client sees an ordinary one. Harmless after `close`.
        """
        if not self.is_complete:
            self.is_aborted = True
            self._finish(timeout_s)
            with self._changed:
                self._hang_up()

    def retract(self) -> bool:
        """Take the stream back so that an ordinary answer can be sent; False when it has started already."""
        with self._changed:
            if self.started:
                return False
            self._is_over = True
            return True

    def _put(self, data: bytes) -> None:
        """Send or buffer; the lock is held."""
        if not self.started:
            self.started = True
            data = self._head + data  # one send, so one packet: the first token arrives with the head
        n_sent = 0
        if self._is_direct and not self._pending:
            try:
                n_sent = self._sock.send(data) if data else 0
            except BlockingIOError:
                pass
            except OSError:
                self._hang_up()
                return
        if n_sent == len(data):
            return
        # The largest write is let off: an image must not look like a slow client, nor what is written right after it.
        self._max_pending_bytes = max(self._max_pending_bytes, MAX_PENDING_BYTES + len(data))
        if len(self._pending) + len(data) > self._max_pending_bytes:
            self._hang_up()
            return
        self._pending += memoryview(data)[n_sent:]
        if self._pump_thread is None:
            pump_thread = threading.Thread(target=self._pump, name="offgrid-web-stream", daemon=True)
            try:
                pump_thread.start()
            except RuntimeError:  # no more threads: better one client lost than an exception in the engine's thread
                _log.error("a slow client was hung up on, because no thread could be started for it")
                self._hang_up()
                return
            self._pump_thread = pump_thread
        self._changed.notify_all()

    def _pump(self) -> None:
        """Thread: send what is pending, in order, until the stream is over."""
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._pending or self._is_over)
                    if not self._pending:
                        return
                    piece = bytes(self._pending[:_PIECE_BYTES])
                send_all(self._sock, piece, self._stall_s)
                with self._changed:
                    del self._pending[: len(piece)]  # only now: until it is sent, write() must not overtake it
                    self._changed.notify_all()
        except Exception as error:
            if not isinstance(error, ClientGone):
                _log.exception("a stream ended because of a fault in its thread")
            with self._changed:
                self._hang_up()

    def _finish(self, timeout_s: float) -> None:
        """Accept nothing more, wait until all is sent or hang up, and end the thread."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: not self._pending, timeout_s):
                self._hang_up()
        if self._pump_thread:
            self._pump_thread.join()  # it ends at once: nothing is pending, or the socket is shut

    def _hang_up(self) -> None:
        """Give the client up; the lock is held. Shutting the socket wakes the handler's wait_for with ClientGone."""
        self._is_gone = self._is_over = True
        self._pending.clear()
        shut(self._sock)
        self._changed.notify_all()
