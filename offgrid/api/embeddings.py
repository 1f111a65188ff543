"""POST /v1/embeddings: texts in, one unit vector for each out."""

import base64
import struct

from offgrid.api.fields import Fields
from offgrid.api.generate import ask_once
from offgrid.api.keep_alive import read_keep_alive
from offgrid.api.models import model_for
from offgrid.errors import BadRequest
from offgrid.types import EmbedRequest, Vectors
from offgrid.web.message import Request, Response

MAX_TEXTS = 2048  # OpenAI's own limit


def create_embeddings(request: Request, app) -> Response:
    request.tally.service = "embeddings"
    fields = Fields(request.json())
    model, _ = model_for(app, fields, "embedding")
    texts = _texts(fields)
    encoding = fields.string("encoding_format", "float")
    if encoding not in ("float", "base64"):
        raise fields.refuse("encoding_format", "float or base64", encoding)
    if fields.take("dimensions") is not None:
        raise BadRequest(
            "dimensions cannot be chosen: vectors have the length that the model was trained for. Leave it out.",
            param="dimensions",
        )
    keep_alive_s = read_keep_alive(fields)
    fields.ignore("user")
    fields.finish()
    vectors = ask_once(request, app, model, EmbedRequest(model.id, texts), keep_alive_s)
    usage = {"prompt_tokens": vectors.n_tokens, "total_tokens": vectors.n_tokens}
    data = [
        {"object": "embedding", "index": i, "embedding": row}
        for i, row in enumerate(_rows(vectors, as_base64=encoding == "base64"))
    ]
    return Response.json({"object": "list", "data": data, "model": model.id, "usage": usage})


def _texts(fields: Fields) -> list[str]:
    given = fields.take("input")
    texts = [given] if isinstance(given, str) else given
    if isinstance(texts, list) and texts and all(isinstance(t, (int, list)) for t in texts):
        raise BadRequest(
            "input must be text: this server does not take token ids. Send the text itself.", param="input"
        )
    is_text = isinstance(texts, list) and all(isinstance(t, str) and t for t in texts)
    if not is_text or not 1 <= len(texts) <= MAX_TEXTS:
        raise fields.refuse("input", f"a string, or a list of 1 to {MAX_TEXTS} strings, none of them empty", given)
    return texts


def _rows(vectors: Vectors, *, as_base64: bool) -> list:
    """One vector for each text: a list of floats, or the same float32 bytes as base64, which SDKs ask for."""
    n_bytes = 4 * vectors.n_dim
    rows = [vectors.data[i : i + n_bytes] for i in range(0, len(vectors.data), n_bytes)]
    if as_base64:
        return [base64.b64encode(row).decode() for row in rows]
    return [struct.unpack(f"<{vectors.n_dim}f", row) for row in rows]
