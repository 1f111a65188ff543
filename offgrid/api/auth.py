"""Logging in and out: /v1/auth/login and /logout, and LoLLMs' /api/auth/token."""

import time
from urllib.parse import parse_qsl

from offgrid.api import access
from offgrid.api.fields import Fields
from offgrid.api.passwords import password_holder
from offgrid.api.times import rfc3339
from offgrid.api.users import required, user_body
from offgrid.errors import BadRequest, Unauthenticated
from offgrid.store.users import MAX_NAME_CHARS, User
from offgrid.web.message import Request, Response

FORM = "application/x-www-form-urlencoded"
NOT_KEPT = {"Cache-Control": "no-store"}  # of an answer with a token: no proxy or browser keeps it


def log_in(request: Request, app) -> Response:
    """A token, good as a Bearer, and the same as a cookie for the pages of this server."""
    fields = Fields(request.json())
    username, password = required(fields, "username"), required(fields, "password")
    fields.finish()
    user, token = _new_login(request, app, username, password, "The user name or the password is wrong.")
    lifetime_s = app.accounts.logins.lifetime_s
    answer = {
        "user": user_body(user),
        "token": token,
        "expires_at": rfc3339(time.time() + lifetime_s),
        "auth_method": "local",
    }
    return Response.json(answer, headers={"Set-Cookie": _cookie(request, token, lifetime_s), **NOT_KEPT})


def log_out(request: Request, app) -> Response:
    """End the login that the request came with; the answer is the same when there was none."""
    if token := access.login_token(request):
        if user := app.accounts.by_login(token):
            request.who = access.principal_of(user, request)
        app.accounts.logins.revoke(token)
    return Response.json({"status": "logged out"}, headers={"Set-Cookie": _cookie(request, "", 0)})


def create_token(request: Request, app) -> Response:
    """The OAuth2 password form (RFC 6749, 4.3), as LoLLMs' clients send it; it has us pass over further fields."""
    form = _form(request)
    if form.get("grant_type", "password") not in ("", "password"):
        raise BadRequest("grant_type must be password, or left out.", param="grant_type")
    for name in ("username", "password"):
        if not form.get(name):
            raise BadRequest(f"{name} must be given in the form.", param=name)
    _, token = _new_login(request, app, form["username"], form["password"], "Incorrect username or password")
    return Response.json({"access_token": token, "token_type": "bearer"}, headers=NOT_KEPT)


def _new_login(request: Request, app, username: str, password: str, refusal: str) -> tuple[User, str]:
    """Raises Unauthenticated with the words of `refusal`, whatever was wrong."""
    if known := app.accounts.users.named(username[:MAX_NAME_CHARS]):
        request.remarks["username"] = known.username  # not what was typed: it may be a password in the wrong field
    user = password_holder(request, app, username, password)
    token = app.accounts.logins.create(user) if user else None
    if token is None:
        raise Unauthenticated(refusal, code="invalid_credentials")
    request.who = access.principal_of(user, request)
    return app.accounts.users.get(user.id), token


def _form(request: Request) -> dict[str, str]:
    try:
        pairs = parse_qsl(request.body.decode(), keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError:
        raise BadRequest(f"The body is not a form: send {FORM} in UTF-8.") from None
    return dict(pairs)


def _cookie(request: Request, token: str, max_age_s: float) -> str:
    secure = "; Secure" if request.is_tls else ""
    return f"{access.COOKIE}={token}; Path=/; Max-Age={int(max_age_s)}; HttpOnly; SameSite=Strict{secure}"
