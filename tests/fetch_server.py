"""A web server that answers what a test tells it, byte for byte, and says what it was asked."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

BOUND_S = 10


class Told:
    """One listening socket; `answers` maps paths to the bytes of a whole answer, or to a function of the socket.

    `greet` does what is done instead of listening to what is asked.
    """

    def __init__(self, answers: dict[str, bytes | Callable[[socket.socket], None]], host: str, tls, greet):
        self.answers, self.asked, self._tls, self._greet = answers, [], tls, greet
        self.socket = socket.create_server((host, 0))
        self.port = self.socket.getsockname()[1]
        self.threads = [threading.Thread(target=self._serve)]
        self.threads[0].start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            self.threads.append(threading.Thread(target=self._answer, args=(client,)))
            self.threads[-1].start()

    def _answer(self, client: socket.socket) -> None:
        client.settimeout(BOUND_S)
        with contextlib.suppress(OSError):
            client = self._tls.wrap_socket(client, server_side=True) if self._tls else client
            (self._greet or self._hear)(client)
        client.close()

    def _hear(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head and (piece := client.recv(65536)):
            head += piece
        self.asked.append(head.decode("latin-1"))
        answer = self.answers[head.split(b" ")[1].decode()]
        if callable(answer):
            answer(client)
        else:
            client.sendall(answer)

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        for thread in self.threads:
            thread.join(BOUND_S)


@contextmanager
def told(answers: dict, host: str = "127.0.0.1", tls=None, greet=None) -> Iterator[Told]:
    server = Told(answers, host, tls, greet)
    try:
        yield server
    finally:
        server.close()


def answer(body: bytes = b"", *fields: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """The bytes of an answer; `length` is what it claims."""
    said = [f"Content-Length: {len(body) if length is None else length}", *fields]
    return f"HTTP/1.1 {status}\r\n{''.join(f'{field}{chr(13)}{chr(10)}' for field in said)}\r\n".encode() + body


def redirect(location: str, status: str = "302 Found") -> bytes:
    return answer(b"", f"Location: {location}", status=status)
