"""Targets: a URL read strictly, so that what is checked is what is asked.

Pure. Where two programs could read a URL in two ways it is refused: user names, backslashes, white space, IPv4
addresses in any form but four decimal numbers, IPv6 zones, letters that a browser would turn into others.
"""

import ipaddress
import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit

from offgrid.errors import BadRequest

MAX_URL_CHARS = 8192
PORTS = {"http": 80, "https": 443}

_NOT_IN_URLS = re.compile(r"[\x00-\x20\x7f-\xa0\\]|\s")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(?::([0-9]{1,5}))?")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
# What IDNA of 2003, which Python has, reads otherwise than today's browsers do; and a dot that is none.
_AMBIGUOUS = frozenset("ßς\u200c\u200d\u3002")


@dataclass(frozen=True, slots=True)
class Target:
    """Where one request goes. `host` is ASCII, in lower case; an IPv6 address is without brackets."""

    scheme: str
    host: str
    port: int
    path: str  # with the query

    @property
    def authority(self) -> str:
        """What the Host header holds."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def shown(self) -> str:
        """The URL for messages, which need not hold all of a long one."""
        return self.url if len(self.url) <= 200 else f"{self.url[:200]}…"

    @property
    def address(self) -> str | None:
        """The host, where it is an address and no name."""
        try:
            return str(ipaddress.ip_address(self.host))
        except ValueError:
            return None

    def follow(self, location: str) -> "Target":
        """Where a redirect from here leads. Raises BadRequest."""
        return read_url(urljoin(self.url, location))


def read_url(url: str) -> Target:
    """Raises BadRequest, which says what is wrong with it."""
    if not isinstance(url, str) or len(url) > MAX_URL_CHARS:
        raise _wrong(f"it must be a text of at most {MAX_URL_CHARS} characters")
    if _NOT_IN_URLS.search(url):
        raise _wrong("it holds white space, a backslash or a control character")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _wrong("its host cannot be read") from None
    if parts.scheme not in PORTS:
        raise _wrong("it must begin with http:// or https://")
    if "@" in parts.netloc:
        raise _wrong("a user name or password (something before an @) is not accepted")
    found = _AUTHORITY.fullmatch(parts.netloc)
    if not found:
        raise _wrong("its host cannot be read")
    port = int(found[2]) if found[2] else PORTS[parts.scheme]
    if not 1 <= port <= 65535:
        raise _wrong(f"there is no port {port}")
    return Target(parts.scheme, _host(found[1]), port, _path(parts.path or "/", parts.query))


def _host(text: str) -> str:
    if text.startswith("["):
        try:
            return str(ipaddress.IPv6Address(text[1:-1]))
        except ValueError:
            raise _wrong(f"{text[:60]} is no IPv6 address") from None
    name = _ascii(text).removesuffix(".")
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise _wrong(f"{text[:60]!r} is no host name")
    if not _NUMBER.fullmatch(labels[-1]):
        return name
    try:
        return str(ipaddress.IPv4Address(name))
    except ValueError:
        raise _wrong(f"{text[:60]} is no host: write an IPv4 address as four decimal numbers") from None


def _ascii(host: str) -> str:
    """A name in lower case and ASCII, where there is one reading of it."""
    if host.isascii():
        return host.lower()
    if unicodedata.normalize("NFKC", host) != host or _AMBIGUOUS & set(host):
        raise _wrong("its host holds letters that stand for others: write it in ASCII (xn--…)")
    try:
        return host.lower().encode("idna").decode()
    except UnicodeError:
        raise _wrong("its host is no host name") from None


def _path(path: str, query: str) -> str:
    kept = "/?:@!$&'()*+,;=-._~%"
    try:
        return quote(path, safe=kept) + (f"?{quote(query, safe=kept)}" if query else "")
    except UnicodeEncodeError:
        raise _wrong("it holds half of a surrogate pair") from None


def _wrong(why: str) -> BadRequest:
    return BadRequest(f"This URL is not fetched: {why}.", code="invalid_url", param="url")
