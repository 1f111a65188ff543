"""What a saved state depends on, as 32 bytes: the model's file, the settings of its context, and the library.

llama.cpp restores a state into any model of the same shapes without a word, and the text is then nonsense. Everything
that changes what the cells hold belongs in here; adapters (LoRA) too, as soon as there are any. A false difference
costs one computation, a false match a wrong answer: hence the time stamps, although a copied file gets a new one.
"""

import ctypes
import hashlib
import os

from offgrid.worker.library import L
from offgrid.worker.model import Model

N_SAMPLES, SAMPLE_BYTES = 64, 4096


def fingerprint(model: Model) -> bytes:
    """The identity of `model` with its context, 32 bytes."""
    settings = model.settings
    facts = (
        _file_facts(settings.path),
        _file_samples(settings.path),
        _file_facts(L._lib._name),
        L.llama_print_system_info(),  # the processor's features choose the kernels
        (model.n_vocab, model.n_embd, L.llama_model_n_layer(model.model), model.n_ctx_train, model.n_window),
        (settings.kv_type, settings.flash_attention, _is_stretched(model)),
    )
    return hashlib.sha256(repr(facts).encode()).digest()


def _is_stretched(model: Model) -> bool:
    """Whether the context is longer than the one before its extension: some models turn positions by other factors
    then (LongRoPE), with the same weights."""
    architecture = _metadata(model, "general.architecture")
    original = _metadata(model, f"{architecture}.rope.scaling.original_context_length")
    return original.isdecimal() and model.n_ctx > int(original)


def _metadata(model: Model, key: str) -> str:
    value = ctypes.create_string_buffer(64)
    n = L.llama_model_meta_val_str(model.model, key.encode(), value, len(value))
    return value.value.decode("utf-8", "replace") if n >= 0 else ""


def _file_facts(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def _file_samples(path: str) -> str:
    """A digest of blocks from all over a file, its beginning and its end among them: 64 reads, a millisecond."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        last = max(os.fstat(file.fileno()).st_size - SAMPLE_BYTES, 0)
        for i in range(N_SAMPLES):
            digest.update(os.pread(file.fileno(), SAMPLE_BYTES, last * i // (N_SAMPLES - 1)))
    return digest.hexdigest()
