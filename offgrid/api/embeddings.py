"""POST /v1/embeddings: texts in, one unit vector for each out."""

import base64
import struct

from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked, Field, Ignored, Unsupported, required
from offgrid.api.generate import ask_once
from offgrid.api.keep_alive import KEEP_ALIVE, read_keep_alive
from offgrid.api.models import MODEL, model_for
from offgrid.api.shapes import Choice, TextsOnly
from offgrid.types import EmbedRequest, Vectors
from offgrid.web.message import Request, Response

MAX_TEXTS = 2048  # OpenAI's own limit


ENCODINGS = ("float", "base64")
BODY = (
    MODEL,
    required("input", TextsOnly(MAX_TEXTS, 1), f"A text, or up to {MAX_TEXTS}; none is ever cut.", "Hello!"),
    Field("encoding_format", Choice(ENCODINGS), "base64 holds little-endian float32.", "float"),
    Unsupported("dimensions", "vectors have the length that the model was trained for."),
    Ignored("user", "There is nobody to be told on a machine of one's own."),
    *KEEP_ALIVE,
)
VECTOR = {"object": "embedding", "index": int, "embedding": ([float], str)}
ANSWER = {"object": "list", "data": [VECTOR], "model": str, "usage": {"prompt_tokens": int, "total_tokens": int}}


@endpoint(body=BODY, answer=ANSWER, errors=(404, 507))
def create_embeddings(request: Request, app, asked: Asked) -> Response:
    """A unit vector for each text."""
    request.tally.service = "embeddings"
    model, _ = model_for(app, asked, "embedding")
    encoding = asked["encoding_format"]
    vectors = ask_once(request, app, model, EmbedRequest(model.id, asked["input"]), read_keep_alive(asked))
    usage = {"prompt_tokens": vectors.n_tokens, "total_tokens": vectors.n_tokens}
    data = [
        {"object": "embedding", "index": i, "embedding": row}
        for i, row in enumerate(_rows(vectors, as_base64=encoding == "base64"))
    ]
    return Response.json({"object": "list", "data": data, "model": model.id, "usage": usage})


def _rows(vectors: Vectors, *, as_base64: bool) -> list:
    """One vector for each text: a list of floats, or the same float32 bytes as base64, which SDKs ask for."""
    n_bytes = 4 * vectors.n_dim
    rows = [vectors.data[i : i + n_bytes] for i in range(0, len(vectors.data), n_bytes)]
    if as_base64:
        return [base64.b64encode(row).decode() for row in rows]
    return [struct.unpack(f"<{vectors.n_dim}f", row) for row in rows]
