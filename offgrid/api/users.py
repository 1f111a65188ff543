"""/v1/users: accounts. An admin sees and changes all of them, everybody else only their own: another's is a 404."""

from offgrid.api import access
from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked, Field, required
from offgrid.api.passwords import confirm_password
from offgrid.api.shapes import Choice, Text, wrong
from offgrid.api.times import rfc3339
from offgrid.errors import BadRequest
from offgrid.store.logins import hash_of
from offgrid.store.users import User, unknown_user
from offgrid.types import ROLES
from offgrid.web.message import Request, Response

FIRST_KEY = "default"  # the key that comes with an account, and that regenerate-key replaces

USER = {
    "id": str,
    "username": str,
    "role": ROLES,
    "created_at": str,
    "must_change_password": bool,
    "email?": str,
    "last_login_at?": str,
}
USERNAME = required("username", Text(1), "1 to 64 letters, digits or . _ - @", "ada")
PASSWORD = required("password", Text(1), "At least 6 characters, at most 72 bytes.", "open-sesame")
ROLE = Field("role", Choice(ROLES), "What they may do.", "user")
EMAIL = Field("email", Text(), "An address, for people to see.")
NEW_ROLE = required("role", Choice(ROLES), "What they may do from now on.", "viewer")
CURRENT_PASSWORD = Field("current_password", Text(), "One's own, where it is one's own that changes.")


@endpoint(answer={"users": [USER]})
def list_users(_request: Request, app) -> Response:
    """Every account."""
    return Response.json({"users": [user_body(user) for user in app.accounts.users.all()]})


@endpoint(body=(USERNAME, PASSWORD, ROLE, EMAIL), answer={"user": USER, "api_key": str}, errors=(409,))
def create_user(request: Request, app, asked: Asked) -> Response:
    """The account and its first API key, which is shown this once."""
    user = app.accounts.users.create(
        asked["username"], asked["password"], asked["role"], asked["email"], turn_of=request.peer
    )
    request.remarks |= {"user_id": user.id, "username": user.username, "role": user.role}
    _, key = app.accounts.keys.create(user.id, FIRST_KEY)
    return Response.json({"user": user_body(user), "api_key": key})


@endpoint(answer={"user": (USER, None), "authenticated": bool, "guest?": bool}, errors=(401,))
def get_me(request: Request, app) -> Response:
    """Who asks; wrong credentials are an error, none are not."""
    who = request.who
    if who is None or who.user_id is None:
        return Response.json({"user": None, "authenticated": False, "guest": who is not None})
    return Response.json({"user": user_body(app.accounts.users.get(who.user_id)), "authenticated": True})


@endpoint(answer=USER)
def get_user(request: Request, app, id: str) -> Response:
    """An account."""
    return Response.json(user_body(account_of(request, app, id)))


@endpoint(answer={"status": "deleted"}, errors=(409,))
def delete_user(_request: Request, app, id: str) -> Response:
    """Delete an account with its keys, its logins and everything it owns."""
    stores = app.knowledge.stores.list(id, "")
    app.accounts.users.delete(id)
    app.knowledge.forget([store for store in stores if store.owner == id])
    app.workspaces.delete(id)
    return Response.json({"status": "deleted"})


@endpoint(body=(NEW_ROLE,), answer={"status": "role updated"}, errors=(409,))
def set_role(request: Request, app, asked: Asked, id: str) -> Response:
    """Give an account another role."""
    role = asked["role"]
    app.accounts.users.set_role(id, role)
    request.remarks["role"] = role
    return Response.json({"status": "role updated"})


@endpoint(body=(PASSWORD, CURRENT_PASSWORD), answer={"status": "password updated"}, errors=(429,))
def set_password(request: Request, app, asked: Asked, id: str) -> Response:
    """Change a password, and end the logins made with the old one.

    One's own needs the current one, and keeps the login that asks; an admin's reset of another's ends all of them.
    """
    user = account_of(request, app, id)
    password, current = asked["password"], asked["current_password"]
    kept_login = b""
    if request.who.user_id == user.id:
        if current is None:
            raise wrong("current_password", "your current password", None)
        confirm_password(request, app, user, current)
        if user.must_change_password and password == current:
            raise BadRequest("password must be another one than the current one.", param="password")
        kept_login = hash_of(access.login_token(request))
    app.accounts.users.set_password(user.id, password, kept_login=kept_login, turn_of=request.peer)
    return Response.json({"status": "password updated"})


@endpoint(body=(), answer={"api_key": str, "id": int, "prefix": str})
def regenerate_key(request: Request, app, _asked: Asked, id: str) -> Response:
    """A new key in the place of the one that came with the account; keys made by name stay."""
    user = account_of(request, app, id)
    key, text = app.accounts.keys.create(user.id, FIRST_KEY, replaces=FIRST_KEY)
    return Response.json({"api_key": text, "id": key.id, "prefix": key.prefix})


def account_of(request: Request, app, user_id: str) -> User:
    """The account that a path names, if it is the caller's own or the caller is an admin. Raises NotFound."""
    if request.who.role != "admin" and request.who.user_id != user_id:
        raise unknown_user(user_id)
    return app.accounts.users.get(user_id)


def user_body(user: User) -> dict:
    """A user as everybody may see their own: nothing of the password."""
    body = {
        "id": user.id,
        "username": user.username,
        "role": user.role,
        "created_at": rfc3339(user.created_at),
        "must_change_password": user.must_change_password,
    }
    if user.email is not None:
        body["email"] = user.email
    if user.last_login_at is not None:
        body["last_login_at"] = rfc3339(user.last_login_at)
    return body
