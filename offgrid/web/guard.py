"""Guard: who may talk to this server through a browser.

Covered: DNS rebinding (a foreign name that resolves to us is answered 421), cross-site writes (a page of another origin
that posts to us is answered 403), and CORS (which pages may read our answers).
Not covered: programs, which can send any header; they are for keys and roles. Cross-site GETs are answered, as they
change nothing, but without CORS headers, so that the page cannot read them. A request without Host (HTTP/1.0) is no
browser's.
"""

import ipaddress
import re
import socket
from collections.abc import Iterable

from offgrid.errors import Misdirected, PermissionDenied
from offgrid.web.message import Request, Response, split_host

SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_PREFLIGHT_AGE_S = 600
_ANY = "*"
_EXPOSED = "x-request-id, retry-after, " + ", ".join(
    f"x-ratelimit-{what}-{of}" for of in ("requests", "tokens") for what in ("limit", "remaining", "reset")
)


class Guard:
    """The rules, from two settings. `"*"` in either stands for every name or origin."""

    def __init__(self, allowed_hosts: Iterable[str] = (), cors_origins: Iterable[str] = ()):
        machine = socket.gethostname().lower()
        short = machine.partition(".")[0]
        self._hosts = {"localhost", machine, short, f"{short}.local", *(host.lower() for host in allowed_hosts)}
        self._origins = {origin.lower().rstrip("/") for origin in cors_origins}

    def check(self, request: Request) -> None:
        """Raises Misdirected for a foreign Host, PermissionDenied for a browser's cross-site write."""
        host = request.headers.get("host")
        if host is not None:
            self._check_host(host)
        if request.method not in SAFE_METHODS:
            self._check_site(request)

    def cors_headers(self, request: Request) -> dict[str, str]:
        """What lets the page read this answer; empty unless its origin is allowed. Credentials are never allowed."""
        origin = request.headers.get("origin")
        if origin is None or not self._is_allowed(origin):
            return {}
        return {
            "Access-Control-Allow-Origin": _ANY if _ANY in self._origins else origin,
            "Access-Control-Expose-Headers": _EXPOSED,
            "Vary": "Origin",
        }

    def preflight(self, request: Request, methods: list[str]) -> Response:
        """The answer to OPTIONS on a path that answers `methods`."""
        headers = {"Allow": ", ".join(methods)}
        if cors := self.cors_headers(request):
            headers |= cors
            headers["Access-Control-Allow-Methods"] = ", ".join(methods)
            headers["Access-Control-Max-Age"] = str(_PREFLIGHT_AGE_S)
            # Any field name: SDKs send x-stainless-*, anthropic-* and more of their own with each release.
            wanted = [name.strip() for name in request.headers.get("access-control-request-headers", "").split(",")]
            if names := [name for name in wanted if _TOKEN.fullmatch(name)]:
                headers["Access-Control-Allow-Headers"] = ", ".join(names)
            if request.headers.get("access-control-request-private-network") == "true":
                headers["Access-Control-Allow-Private-Network"] = "true"
        return Response(204, headers=headers)

    def _check_host(self, value: str) -> None:
        name = split_host(value)[0].rstrip(".")
        if _ANY in self._hosts or name in self._hosts or _is_ip_literal(name):
            return
        raise Misdirected(
            f"This server does not answer to the name {name!r}. If it should, add the name to the setting "
            f"allowed_hosts (OFFGRID_ALLOWED_HOSTS={name})."
        )

    @staticmethod
    def is_own_page(request: Request) -> bool:
        """Whether a browser says that this request comes from a page of this very server."""
        origin = request.headers.get("origin")
        if origin is None:
            return request.headers.get("sec-fetch-site") == "same-origin"
        own = f"{'https' if request.is_tls else 'http'}://{request.headers.get('host', '')}"
        return origin.lower() == own.lower()

    def _check_site(self, request: Request) -> None:
        origin = request.headers.get("origin")
        if origin is None:
            # same-site, too: another port of this machine is the same site and may be anybody's program.
            site = request.headers.get("sec-fetch-site", "none")
            if site not in ("none", "same-origin"):
                raise PermissionDenied(
                    f"A page of another origin (Sec-Fetch-Site: {site}) may not change anything here."
                )
            return
        if not self.is_own_page(request) and not self._is_allowed(origin):
            raise PermissionDenied(
                f"A page from {origin} may not change anything here. If it should, add the origin to the setting "
                f"cors_origins (OFFGRID_CORS_ORIGINS={origin})."
            )

    def _is_allowed(self, origin: str) -> bool:
        return _ANY in self._origins or origin.lower() in self._origins


def _is_ip_literal(name: str) -> bool:
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
