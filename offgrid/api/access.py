"""Who asks, and what that lets them do.

Covered: one shared key, and the roles of a server without accounts. Not covered here: a reverse proxy on this machine
makes everybody look local, so such a server needs a key.
"""

import hmac
import ipaddress

from offgrid.errors import PermissionDenied, Unauthenticated
from offgrid.types import Principal
from offgrid.web.message import Request

PUBLIC = "public"  # the permission of routes that anybody may use, key or not
PERMISSIONS = {
    "admin": {PUBLIC, "models", "chat", "embeddings", "admin"},
    "user": {PUBLIC, "models", "chat", "embeddings"},
}


def principal(request: Request, api_key: str) -> Principal | None:
    """Who asks; None for somebody who should have sent the key and did not. Raises Unauthenticated for a wrong key."""
    if api_key:
        given = _key_of(request)
        if not given:
            return None
        if not hmac.compare_digest(given.encode("utf-8", "replace"), api_key.encode()):
            raise Unauthenticated("This API key is not the one that the server was started with.")
    # Without accounts, only somebody at this very machine administers it.
    if _is_loopback(request.peer):
        return Principal("admin", "local", "local", request.peer)
    return Principal("user", "lan", "lan", request.peer)


def require(who: Principal | None, permission: str) -> None:
    """Raise Unauthenticated or PermissionDenied unless `who` has the permission; unknown permissions are nobody's."""
    if permission == PUBLIC:
        return
    if who is None:
        raise Unauthenticated(
            "This server asks for an API key. Send it as 'Authorization: Bearer KEY'.", code="missing_api_key"
        )
    if permission not in PERMISSIONS[who.role]:
        raise PermissionDenied(f"The role {who.role} does not have the permission {permission}.")


def _key_of(request: Request) -> str:
    """The key in Authorization (with or without "Bearer") or x-api-key, never in the URL, which ends up in logs."""
    header = request.headers.get("authorization", "").strip()
    scheme, _, rest = header.partition(" ")
    return (rest.strip() if scheme.lower() == "bearer" else header) or request.headers.get("x-api-key", "")


def _is_loopback(peer: str) -> bool:
    try:
        return ipaddress.ip_address(peer).is_loopback
    except ValueError:
        return False
