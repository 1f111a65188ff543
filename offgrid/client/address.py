"""Where the server is: what a person writes as host, taken apart."""

from dataclasses import dataclass
from urllib.parse import urlsplit

DEFAULT_PORT = 11611


@dataclass(frozen=True, slots=True)
class Address:
    is_tls: bool
    host: str  # IPv6 without brackets
    port: int
    prefix: str  # "" or "/path", put before every path

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.is_tls else 'http'}://{host}:{self.port}{self.prefix}"


def parse(text: str) -> Address:
    """Takes "192.168.1.100", "box.local:8080", "::1", or a URL, also with a path in front of the API's own paths.

    Without a scheme it is http on port 11611; a URL without a port has its scheme's (80, 443), as everywhere.
    A final /v1 is dropped, for it is what OpenAI clients are given. An address to listen on, such as 0.0.0.0, is no
    address to call: it means this machine.

    Raises ValueError.
    """
    given = text.strip()
    has_scheme = "://" in given
    if not has_scheme:
        is_bare_ipv6 = given.count(":") > 1 and not given.startswith("[")
        given = f"http://[{given}]" if is_bare_ipv6 else f"http://{given}"
    try:
        parts = urlsplit(given)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{text!r} is not the address of a server: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ValueError(f"{text!r} is not the address of a server; one is http://192.168.1.100:{DEFAULT_PORT}")
    is_tls = parts.scheme == "https"
    if port is None:
        port = (443 if is_tls else 80) if has_scheme else DEFAULT_PORT
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(parts.hostname, parts.hostname)
    return Address(is_tls, host, port, parts.path.rstrip("/").removesuffix("/v1"))
