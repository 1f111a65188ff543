"""/api/api-keys: one's own keys, as LoLLMs' clients manage them; those that OffGrid's routes made are among them."""

from offgrid.api.answers import JSON
from offgrid.api.api_keys import read_key_id
from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked, required
from offgrid.api.shapes import ListOf, Text, Whole
from offgrid.api.times import rfc3339
from offgrid.errors import BadRequest
from offgrid.store.keys import LOLLMS, MAX_KEYS_EACH, Key
from offgrid.web.message import Request, Response

KEY = {"alias": str, "id": int, "created_at": str, "last_used_at": (str, None), "key_prefix": str}
ALIAS = required("alias", Text(1), "What the key is called; another name than that of every other key.", "backup")
IDS = ListOf(Whole(1, 2**63 - 1), MAX_KEYS_EACH, 1, "a list of the ids of keys, not empty")
KEY_IDS = required("key_ids", IDS, "Which keys to end.", [1])


@endpoint(answer=[KEY])
def list_keys(request: Request, app) -> Response:
    """One's own keys."""
    return Response.json([_body(key) for key in app.accounts.keys.of(request.who.user_id)])


@endpoint(body=(ALIAS,), answers={201: {JSON: {**KEY, "full_key": str}}}, errors=(409,))
def create_key(request: Request, app, asked: Asked) -> Response:
    """Make a key of one's own, which is shown this once."""
    alias = asked["alias"]
    user_id = request.who.user_id
    if any(key.name == alias for key in app.accounts.keys.of(user_id)):
        raise BadRequest("There is a key with this alias already.", param="alias")
    key, text = app.accounts.keys.create(user_id, alias, issuer=LOLLMS)
    return Response.json({**_body(key), "full_key": text}, status=201)


@endpoint(body=(KEY_IDS,), answer={"message": str}, errors=(404,))
def revoke_keys(request: Request, app, asked: Asked) -> Response:
    """End several of one's own keys at once, or none where one of them is not there."""
    key_ids = sorted(set(asked["key_ids"]))
    app.accounts.keys.revoke(request.who.user_id, key_ids)
    return Response.json({"message": f"{len(key_ids)} keys revoked"})


@endpoint(answers={204: {}})
def revoke_key(request: Request, app, id: str) -> Response:
    """End one of one's own keys."""
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
