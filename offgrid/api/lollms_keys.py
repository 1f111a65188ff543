"""/api/api-keys: one's own keys, as LoLLMs' clients manage them; those that OffGrid's routes made are among them."""

from offgrid.api.api_keys import read_key_id
from offgrid.api.fields import Fields
from offgrid.api.times import rfc3339
from offgrid.api.users import required
from offgrid.errors import BadRequest
from offgrid.store.keys import LOLLMS, MAX_KEYS_EACH, Key
from offgrid.web.message import Request, Response


def list_keys(request: Request, app) -> Response:
    return Response.json([_body(key) for key in app.accounts.keys.of(request.who.user_id)])


def create_key(request: Request, app) -> Response:
    fields = Fields(request.json())
    alias = required(fields, "alias")
    fields.finish()
    user_id = request.who.user_id
    if any(key.name == alias for key in app.accounts.keys.of(user_id)):
        raise BadRequest("There is a key with this alias already.", param="alias")
    key, text = app.accounts.keys.create(user_id, alias, issuer=LOLLMS)
    return Response.json({**_body(key), "full_key": text}, status=201)


def revoke_keys(request: Request, app) -> Response:
    fields = Fields(request.json())
    key_ids = fields.take("key_ids")
    fields.finish()
    is_right = isinstance(key_ids, list) and 1 <= len(key_ids) <= MAX_KEYS_EACH
    if not is_right or not all(type(id) is int and 0 < id < 2**63 for id in key_ids):
        raise fields.refuse("key_ids", "a list of the ids of keys, not empty", key_ids)
    app.accounts.keys.revoke(request.who.user_id, sorted(set(key_ids)))
    return Response.json({"message": f"{len(set(key_ids))} keys revoked"})


def revoke_key(request: Request, app, id: str) -> Response:
    app.accounts.keys.revoke(request.who.user_id, [read_key_id(id)])
    return Response(204)


def _body(key: Key) -> dict:
    return {
        "alias": key.name,
        "id": key.id,
        "created_at": rfc3339(key.created_at),
        "last_used_at": rfc3339(key.last_used_at),
        "key_prefix": key.prefix,
    }
