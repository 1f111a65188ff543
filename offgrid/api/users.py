"""/v1/users: accounts. An admin sees and changes all of them, everybody else only their own: another's is a 404."""

from offgrid.api import access
from offgrid.api.fields import Fields
from offgrid.api.passwords import confirm_password
from offgrid.api.times import rfc3339
from offgrid.errors import BadRequest
from offgrid.store.logins import hash_of
from offgrid.store.users import User, unknown_user
from offgrid.types import ROLES
from offgrid.web.message import Request, Response

FIRST_KEY = "default"  # the key that comes with an account, and that regenerate-key replaces


def list_users(_request: Request, app) -> Response:
    return Response.json({"users": [user_body(user) for user in app.accounts.users.all()]})


def create_user(request: Request, app) -> Response:
    """The account and its first API key, which is shown this once."""
    fields = Fields(request.json())
    username, password = required(fields, "username"), required(fields, "password")
    role, email = fields.string("role", "user"), fields.string("email")
    fields.finish()
    user = app.accounts.users.create(username, password, role, email, turn_of=request.peer)
    request.remarks |= {"user_id": user.id, "username": user.username, "role": user.role}
    _, key = app.accounts.keys.create(user.id, FIRST_KEY)
    return Response.json({"user": user_body(user), "api_key": key})


def get_me(request: Request, app) -> Response:
    who = request.who
    if who is None or who.user_id is None:
        return Response.json({"user": None, "authenticated": False, "guest": who is not None})
    return Response.json({"user": user_body(app.accounts.users.get(who.user_id)), "authenticated": True})


def get_user(request: Request, app, id: str) -> Response:
    return Response.json(user_body(account_of(request, app, id)))


def delete_user(_request: Request, app, id: str) -> Response:
    """With their keys, logins and everything they own."""
    app.accounts.users.delete(id)
    return Response.json({"status": "deleted"})


def set_role(request: Request, app, id: str) -> Response:
    fields = Fields(request.json())
    role = fields.string("role")
    fields.finish()
    if role is None:
        raise fields.refuse("role", f"one of {', '.join(ROLES)}", None)
    app.accounts.users.set_role(id, role)
    request.remarks["role"] = role
    return Response.json({"status": "role updated"})


def set_password(request: Request, app, id: str) -> Response:
    """One's own needs the current one, and ends one's other logins; an admin's reset of another's ends all of them."""
    user = account_of(request, app, id)
    fields = Fields(request.json())
    password, current = required(fields, "password"), fields.string("current_password")
    fields.finish()
    kept_login = b""
    if request.who.user_id == user.id:
        if current is None:
            raise fields.refuse("current_password", "your current password", None)
        confirm_password(request, app, user, current)
        if user.must_change_password and password == current:
            raise BadRequest("password must be another one than the current one.", param="password")
        kept_login = hash_of(access.login_token(request))
    app.accounts.users.set_password(user.id, password, kept_login=kept_login, turn_of=request.peer)
    return Response.json({"status": "password updated"})


def regenerate_key(request: Request, app, id: str) -> Response:
    """A new key in the place of the one that came with the account; keys made by name stay."""
    if request.body:
        Fields(request.json()).finish()
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


def required(fields: Fields, name: str) -> str:
    value = fields.string(name)
    if not value:
        raise fields.refuse(name, "a string that is not empty", value)
    return value
