"""POST /api/embed, and its older form /api/embeddings: texts in, one unit vector for each out."""

import struct
import time
from typing import Any

from offgrid.api.embeddings import MAX_TEXTS
from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked, Field, Ignored, Unsupported
from offgrid.api.generate import ask_once
from offgrid.api.ollama.asking import OPTIONS, STAY
from offgrid.api.ollama.names import MODEL, find_for, read_name
from offgrid.api.shapes import Shape, Text
from offgrid.errors import BadRequest
from offgrid.types import EmbedRequest, Vectors
from offgrid.web.message import Request, Response


class Input(Shape):
    """A text or a list of texts; read as a list. An empty text alone is none."""

    wanted = f"a text, or a list of up to {MAX_TEXTS}"

    def read(self, value: Any, path: str) -> list[str]:
        texts = ([value] if value else []) if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise BadRequest("invalid input type", param=path)
        if len(texts) > MAX_TEXTS:
            raise BadRequest(f"{path} must be {self.wanted}; it has {len(texts)}.", param=path)
        return texts

    def schema(self) -> dict:
        return {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "maxItems": MAX_TEXTS}]}


_NOTHING_CUT = "Nothing is ever cut here: a text that does not fit is an error that names both numbers."
SHARED = (*MODEL, OPTIONS, STAY, Ignored("truncate", _NOTHING_CUT))
INPUT = Field("input", Input(), "A text, or several; without any, the model is only loaded.", [], example="Hello!")
LENGTH = Unsupported("dimensions", "vectors have the length that the model was trained for.", 0)
EMBEDDED = {
    "model": str,
    "embeddings": [[float]],
    "total_duration?": int,
    "load_duration?": int,
    "prompt_eval_count?": int,
}


@endpoint(body=(*SHARED, INPUT, LENGTH), answer=EMBEDDED)
def embed(request: Request, app, asked: Asked) -> Response:
    """A unit vector for each text."""
    began = time.perf_counter()
    vectors = _vectors(request, app, asked, asked["input"])
    answer: dict = {"model": asked["model"] or asked["name"], "embeddings": []}
    if vectors is not None:
        took_ns = int((time.perf_counter() - began) * 1e9)
        answer |= {"embeddings": _rows(vectors), "total_duration": took_ns, "prompt_eval_count": vectors.n_tokens}
    return Response.json(answer)


@endpoint(body=(*SHARED, Field("prompt", Text(), "A text.", "", example="Hello!")), answer={"embedding": [float]})
def embed_one(request: Request, app, asked: Asked) -> Response:
    """A unit vector for one text."""
    vectors = _vectors(request, app, asked, [asked["prompt"]] if asked["prompt"] else [])
    return Response.json({"embedding": _rows(vectors)[0] if vectors is not None else []})


def _vectors(request: Request, app, asked: Asked, texts: list[str]) -> Vectors | None:
    """None without texts; the model is loaded all the same."""
    request.tally.service = "embeddings"
    model, _ = find_for(app, read_name(request, asked), "embedding", "embed")
    if not texts:
        ask_once(request, app, model, None, asked["keep_alive"])
        return None
    return ask_once(request, app, model, EmbedRequest(model.id, texts), asked["keep_alive"])


def _rows(vectors: Vectors) -> list[tuple[float, ...]]:
    n_bytes = 4 * vectors.n_dim
    return [
        struct.unpack(f"<{vectors.n_dim}f", vectors.data[i : i + n_bytes]) for i in range(0, len(vectors.data), n_bytes)
    ]
