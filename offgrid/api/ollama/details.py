"""What is told of a model in Ollama's lists: its digest, its details, what it can do."""

import hashlib
from functools import lru_cache
from pathlib import Path

from offgrid.api.ollama.wire import compact
from offgrid.dialects.dialect import dialect_of
from offgrid.engine import gguf
from offgrid.engine.catalog import ModelFile
from offgrid.sections import ModelSettings

DETAILS = {
    "parent_model": str,
    "format": str,
    "family": str,
    "families": [str],
    "parameter_size": str,
    "quantization_level": str,
}
N_TEMPLATES = 256  # kept in memory; lists tell of all models


def digest(model: ModelFile) -> str:
    """64 hexadecimal digits that change with the model: as with Ollama, the SHA-256 of a description of it.

    Not of the weights: hashing gigabytes is POST /v1/models/verify.
    """
    variant = model.variant
    settings = [variant.settings, variant.license] if variant else []
    files = [[path.name, model.size_bytes, model.created if variant is None else 0] for path in model.paths]
    return hashlib.sha256(compact([model.id, files, settings]).encode("utf-8", "replace")).hexdigest()


def details(model: ModelFile) -> dict:
    info = model.info
    return {
        "parent_model": model.variant.base if model.variant else "",
        "format": "gguf",
        "family": info.architecture,
        "families": [info.architecture],
        "parameter_size": _human(info.n_params),
        "quantization_level": info.quantization or "unknown",
    }


def _human(n: int) -> str:
    """As Ollama writes it: 8.0B, 134.52M."""
    for unit, size, digits in (("B", 10**9, 1), ("M", 10**6, 2), ("K", 10**3, 2)):
        if n >= size:
            return f"{n / size:.{digits}f}{unit}"
    return str(n)


def template(model: ModelFile, own: ModelSettings) -> str:
    """The text of its chat template; "" where it has none."""
    if own.chat_template:
        return own.chat_template
    if model.kind != "chat" or not model.info.has_chat_template:
        return ""
    try:
        return _template_in(model.path, model.size_bytes, model.path.stat().st_mtime_ns)
    except (OSError, gguf.BrokenModel):  # it has gone, or is being replaced
        return ""


@lru_cache(maxsize=N_TEMPLATES)
def _template_in(path: Path, _n_bytes: int, _mtime_ns: int) -> str:
    """Kept: to read one, the whole vocabulary is walked over."""
    return gguf.read_template(path)


def thinks(model: ModelFile, own: ModelSettings) -> bool:
    return dialect_of(template(model, own)).thinking is not None


def capabilities(model: ModelFile, own: ModelSettings) -> list[str]:
    """What a client may ask of it, in Ollama's words. Every chat model may be given tools here."""
    if model.kind == "embedding":
        return ["embedding"]
    if model.kind != "chat":
        return []
    return ["completion", "tools", *(["thinking"] if thinks(model, own) else [])]
