"""Who asks, and what that lets them do. With `routes.py`, which names one permission a route, this is all of it.

Without accounts: this machine is the admin, other machines have `lan_role`, any key is passed over; with `api_key`
everybody must send it. With accounts: an API key or a login says who it is, a wrong one is refused (never a guest in
silence), and none at all is a guest, where guests are let in. Routes of a service that is switched off are nobody's.
Not covered: a reverse proxy on this machine makes everybody look local, so such a server needs a key or accounts.
"""

import hmac
import ipaddress

from offgrid.errors import PermissionDenied, Unauthenticated
from offgrid.sections import AccessSettings, ServiceSettings
from offgrid.store import logins
from offgrid.store.users import User
from offgrid.types import LOCAL_OWNER, Principal
from offgrid.web.guard import SAFE_METHODS, Guard
from offgrid.web.message import Request
from offgrid.web.router import Route

PUBLIC = "public"  # for everybody: credentials are not even looked at
ANYONE = "anyone"  # for everybody, but who sends credentials must send good ones
PASSWORD = "account:password"  # changing one's own, which who must change it may do
_GUEST = frozenset({"chat", "responses"})
_VIEWER = _GUEST | {"models", "stats", "account", "documents", PASSWORD}
_USER = _VIEWER | {"embeddings", "models:load", "sessions", "tasks", "documents:write", "agents", "agents:run"}
_ADMIN = _USER | {"models:manage", "documents:local", "users", "audit", "limits", "mcp", "agents:manage", "admin"}
PERMISSIONS = {"guest": _GUEST, "viewer": _VIEWER, "user": _USER, "admin": _ADMIN}

COOKIE = "session"
# What people call the services that can be switched off.
SERVICE_NAMES = {"openai": "OpenAI API", "ollama": "Ollama API", "lollms": "LoLLMs API", "anthropic": "Anthropic API"}


def require_service(route: Route, services: ServiceSettings) -> None:
    """Raise PermissionDenied where the administrator has switched off what the route belongs to."""
    if not services.is_on(route.service):
        name = SERVICE_NAMES[route.service]
        message = f"The {name} service is not enabled by the administrator (services.{route.service})."
        raise PermissionDenied(message, code="service_disabled")


def identify(request: Request, app, route: Route) -> Principal | None:
    """Who asks; None for a public route, and for somebody who sent no credentials where some are wanted.

    Raises Unauthenticated for wrong credentials, PermissionDenied for a cookie that another site's page may have sent.
    """
    if route.permission == PUBLIC:
        return None
    if app.config.access.multi_user:
        is_guest_welcome = app.config.access.lets_guests_in and route.service not in app.config.services.require_key
        return _person(request, app, is_guest_welcome=is_guest_welcome)
    if api_key := app.config.server.api_key:
        given = _sent_credential(request) or _sent_key(request)
        if not given:
            return None
        if not hmac.compare_digest(given.encode("utf-8", "replace"), api_key.encode()):
            raise Unauthenticated("This API key is not the one that the server was started with.")
    # Without accounts, only somebody at this very machine administers it.
    if _is_loopback(request.peer):
        return Principal("admin", LOCAL_OWNER, "local", request.peer)
    return Principal(app.config.access.lan_role, "lan", "lan", request.peer)


def require(who: Principal | None, route: Route, access: AccessSettings) -> None:
    """Raise Unauthenticated or PermissionDenied unless `who` may use the route; an unknown permission is nobody's."""
    is_open = route.permission in (PUBLIC, ANYONE)
    if who is None and not is_open:
        raise Unauthenticated(
            "This server asks for credentials. Send an API key as 'Authorization: Bearer KEY'.", code="missing_api_key"
        )
    if route.needs_accounts and not access.multi_user:
        raise PermissionDenied(
            "This server has no accounts. Start it with OFFGRID_MULTI_USER=true to have some.",
            code="multi_user_disabled",
        )
    if is_open or who is None:
        return
    if who.must_change_password and route.permission != PASSWORD:
        raise PermissionDenied(
            f"Change the password first: PUT /v1/users/{who.user_id}/password with password and current_password.",
            code="password_change_required",
        )
    if route.permission not in PERMISSIONS[who.role]:
        raise PermissionDenied(f"The role {who.role} does not have the permission {route.permission}.")


def login_token(request: Request) -> str:
    """The token of a login that came with the request, as a header or as a cookie; "" without one."""
    token = _sent_credential(request) or _sent_cookie(request)
    return token if logins.is_token(token) else ""


def _person(request: Request, app, *, is_guest_welcome: bool) -> Principal | None:
    credential = _sent_credential(request)
    if not credential and not (key := _sent_key(request)):
        if cookie := _sent_cookie(request):
            return _owner_of_cookie(request, app, cookie)
        return Principal("guest", "guest", "guest", request.peer) if is_guest_welcome else None
    if not credential:
        found = app.accounts.by_key(key)
    elif logins.is_token(credential):
        user = app.accounts.by_login(credential)
        found = (user, None) if user else None
    else:
        found = app.accounts.by_key(credential)
    if found is None:
        raise _refused()
    return principal_of(found[0], request, key_id=found[1])


def _owner_of_cookie(request: Request, app, token: str) -> Principal:
    # A browser sends a cookie whoever made the page: only its own word for that makes the cookie a credential.
    if request.method not in SAFE_METHODS and not Guard.is_own_page(request):
        raise PermissionDenied(
            "A cookie lets only pages of this server change something: send Origin or Sec-Fetch-Site, or send the "
            "token as 'Authorization: Bearer TOKEN'.",
            code="csrf",
        )
    user = app.accounts.by_login(token)
    if user is None:
        raise _refused()
    return principal_of(user, request)


def principal_of(user: User, request: Request, key_id: int | None = None) -> Principal:
    """Somebody with an account, however they have shown that it is theirs."""
    return Principal(user.role, user.id, user.username, request.peer, user.id, key_id, user.must_change_password)


def _refused() -> Unauthenticated:
    return Unauthenticated("This API key or login is not good: it is wrong, has expired or was revoked.")


def _sent_credential(request: Request) -> str:
    """What Authorization holds, with or without "Bearer". Never the URL: that ends up in logs."""
    header = request.headers.get("authorization", "").strip()
    scheme, _, rest = header.partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else header


def _sent_key(request: Request) -> str:
    return request.headers.get("x-api-key", "")


def _sent_cookie(request: Request) -> str:
    """The token of our cookie; another program's on this host, of the same name but spelled otherwise, is not ours."""
    for part in request.headers.get("cookie", "").split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE and logins.is_token(value):
            return value
    return ""


def _is_loopback(peer: str) -> bool:
    try:
        return ipaddress.ip_address(peer).is_loopback
    except ValueError:
        return False
