"""/v1/users/{id}/api-keys: keys for programs, made by name, shown once."""

import re
import time

from offgrid.api.fields import Fields
from offgrid.api.times import read_time, rfc3339
from offgrid.api.users import account_of, required
from offgrid.store.keys import Key, unknown_key
from offgrid.web.message import Request, Response

_ID = re.compile(r"[0-9]{1,18}", re.ASCII)  # SQLite counts to 2**63


def create_key(request: Request, app, id: str) -> Response:
    user = account_of(request, app, id)
    fields = Fields(request.json())
    name, expires_at = required(fields, "name"), read_time(fields, "expires_at")
    fields.finish()
    if expires_at is not None and expires_at <= time.time():
        raise fields.refuse("expires_at", "a time to come, or left out", rfc3339(expires_at))
    key, text = app.accounts.keys.create(user.id, name, expires_at=expires_at)
    request.remarks |= {"key_id": key.id, "name": key.name}
    return Response.json({**_body(key), "api_key": text, "key": text}, status=201)


def list_keys(request: Request, app, id: str) -> Response:
    user = account_of(request, app, id)
    return Response.json({"api_keys": [_body(key) for key in app.accounts.keys.of(user.id)]})


def revoke_key(request: Request, app, id: str, key_id: str) -> Response:
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
