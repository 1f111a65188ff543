"""Listening: the sockets at which clients reach the server. Knows addresses; nothing of connections or requests."""

import socket

from offgrid.errors import SetupError

# 1024, not the stdlib's 5: with 5, a burst of clients is lost.
BACKLOG = 1024


def listen_all(host: str, port: int, extra_ports: tuple[int, ...]) -> list[socket.socket]:
    """Sockets that accept at `host`, the first on `port`; all of them, or SetupError and none."""
    listeners = []
    try:
        for index, one in enumerate((port, *extra_ports)):
            listeners.append(_listen(host, one, "server.extra_ports" if index else "server.port"))
    except SetupError:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _listen(host: str, port: int, setting: str) -> socket.socket:
    """A socket that accepts without ever blocking; `setting` is what says the port."""
    listener = None
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        # IPv4 first: "localhost" may be both, and clients try 127.0.0.1.
        family, *_, address = min(found, key=lambda info: info[0] != socket.AF_INET)
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # "::" answers IPv4 too
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)  # a client that leaves before it is accepted must not block accept()
    except (OSError, OverflowError, UnicodeError) as error:
        if listener:
            listener.close()
        raise SetupError(f"Cannot listen on {host}, port {port} ({setting}): {error}.") from None
    return listener
