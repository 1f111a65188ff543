"""Logging in and out: /v1/auth/login and /logout, and LoLLMs' /api/auth/token."""

import time

from offgrid.api import access
from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked, Field, required
from offgrid.api.passwords import password_holder
from offgrid.api.shapes import Choice, Text
from offgrid.api.times import rfc3339
from offgrid.api.users import USER, user_body
from offgrid.errors import Unauthenticated
from offgrid.store.users import MAX_NAME_CHARS, User
from offgrid.web.message import Request, Response

NOT_KEPT = {"Cache-Control": "no-store"}  # of an answer with a token: no proxy or browser keeps it

USERNAME = required("username", Text(1), "Whose login it is to be.", "ada")
PASSWORD = required("password", Text(1), "Their password.", "open-sesame")
GRANT_TYPE = Field("grant_type", Choice(("password",)), "The only one there is.", "password")
LOGIN = {"user": USER, "token": str, "expires_at": str, "auth_method": "local"}


@endpoint(body=(USERNAME, PASSWORD), answer=LOGIN, errors=(401, 429))
def log_in(request: Request, app, asked: Asked) -> Response:
    """Log in: a token, good as a Bearer, and the same as a cookie for the pages of this server."""
    user, token = _new_login(request, app, asked, "The user name or the password is wrong.")
    lifetime_s = app.accounts.logins.lifetime_s
    answer = {
        "user": user_body(user),
        "token": token,
        "expires_at": rfc3339(time.time() + lifetime_s),
        "auth_method": "local",
    }
    return Response.json(answer, headers={"Set-Cookie": _cookie(request, token, lifetime_s), **NOT_KEPT})


@endpoint(answer={"status": "logged out"})
def log_out(request: Request, app) -> Response:
    """End the login that the request came with; the answer is the same when there was none."""
    if token := access.login_token(request):
        if user := app.accounts.by_login(token):
            request.who = access.principal_of(user, request)
        app.accounts.logins.revoke(token)
    return Response.json({"status": "logged out"}, headers={"Set-Cookie": _cookie(request, "", 0)})


@endpoint(
    form=(USERNAME, PASSWORD, GRANT_TYPE), answer={"access_token": str, "token_type": "bearer"}, errors=(401, 429)
)
def create_token(request: Request, app, asked: Asked) -> Response:
    """A token for the OAuth2 password form (RFC 6749, 4.3) of LoLLMs' clients; further fields are passed over."""
    _, token = _new_login(request, app, asked, "Incorrect username or password")
    return Response.json({"access_token": token, "token_type": "bearer"}, headers=NOT_KEPT)


def _new_login(request: Request, app, asked: Asked, refusal: str) -> tuple[User, str]:
    """Raises Unauthenticated with the words of `refusal`, whatever was wrong."""
    username, password = asked["username"], asked["password"]
    if known := app.accounts.users.named(username[:MAX_NAME_CHARS]):
        request.remarks["username"] = known.username  # not what was typed: it may be a password in the wrong field
    user = password_holder(request, app, username, password)
    token = app.accounts.logins.create(user) if user else None
    if token is None:
        raise Unauthenticated(refusal, code="invalid_credentials")
    request.who = access.principal_of(user, request)
    return app.accounts.users.get(user.id), token


def _cookie(request: Request, token: str, max_age_s: float) -> str:
    secure = "; Secure" if request.is_tls else ""
    return f"{access.COOKIE}={token}; Path=/; Max-Age={int(max_age_s)}; HttpOnly; SameSite=Strict{secure}"
