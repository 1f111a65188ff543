"""/v1/users/{id}/api-keys: keys for programs, made by name, shown once."""

import re
import time

from offgrid.api.answers import JSON
from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked, Field, required
from offgrid.api.shapes import Text, wrong
from offgrid.api.times import Time, rfc3339
from offgrid.api.users import account_of
from offgrid.store.keys import MAX_NAME_CHARS, Key, unknown_key
from offgrid.web.message import Request, Response

_ID = re.compile(r"[0-9]{1,18}", re.ASCII)  # SQLite counts to 2**63

NAME = required("name", Text(1), f"What the key is called: 1 to {MAX_NAME_CHARS} visible characters.", "backup")
EXPIRES_AT = Field("expires_at", Time(), "When it stops being good; never when left out.")
KEY = {
    "id": int,
    "name": str,
    "prefix": str,
    "created_at": str,
    "last_used_at": (str, None),
    "expires_at": (str, None),
}


@endpoint(body=(NAME, EXPIRES_AT), answers={201: {JSON: {**KEY, "api_key": str, "key": str}}}, errors=(409,))
def create_key(request: Request, app, asked: Asked, id: str) -> Response:
    """Make an API key, which is shown this once."""
    user = account_of(request, app, id)
    expires_at = asked["expires_at"]
    if expires_at is not None and expires_at <= time.time():
        raise wrong("expires_at", "a time to come, or left out", rfc3339(expires_at))
    key, text = app.accounts.keys.create(user.id, asked["name"], expires_at=expires_at)
    request.remarks |= {"key_id": key.id, "name": key.name}
    return Response.json({**_body(key), "api_key": text, "key": text}, status=201)


@endpoint(answer={"api_keys": [KEY]})
def list_keys(request: Request, app, id: str) -> Response:
    """The keys of an account, without what is secret of them."""
    user = account_of(request, app, id)
    return Response.json({"api_keys": [_body(key) for key in app.accounts.keys.of(user.id)]})


@endpoint(answer={"status": "revoked"})
def revoke_key(request: Request, app, id: str, key_id: str) -> Response:
    """End a key at once."""
    user = account_of(request, app, id)
    app.accounts.keys.revoke(user.id, [read_key_id(key_id)])
    return Response.json({"status": "revoked"})


def read_key_id(text: str) -> int:
    """A key's id from a path. Raises NotFound for what cannot be one."""
    if not _ID.fullmatch(text):
        raise unknown_key(text)
    return int(text)


def _body(key: Key) -> dict:
    return {
        "id": key.id,
        "name": key.name,
        "prefix": key.prefix,
        "created_at": rfc3339(key.created_at),
        "last_used_at": rfc3339(key.last_used_at),
        "expires_at": rfc3339(key.expires_at),
    }
