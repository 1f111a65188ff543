"""GGUF: what a model file says about itself, read without llama.cpp.

Knows one file at a time; the folders are `catalog.py`'s, the memory a model needs is `memory.py`'s, and the bytes
are `gguf_header.py`'s. A model that no request could use (no context, no layers) is refused here with a sentence;
whether llama.cpp knows the architecture and finds all its tensors shows only when a worker loads it.
"""

from dataclasses import dataclass
from pathlib import Path

from offgrid.engine.gguf_header import TENSOR_TYPES, BrokenModel, Header, LongValue, Tensor, Value, read_header

__all__ = ["BrokenModel", "GgufInfo", "LongValue", "Tensor", "read", "read_template", "read_tensors"]

GENERATES_OR_EMBEDS = ("chat", "embedding", "reranker")  # the kinds that a worker loads by themselves
MAX_LAYERS = 512  # LLAMA_MAX_LAYERS: beyond it, and at 0, llama.cpp aborts
POOLING_RANK = 4
MAX_TEMPLATE_BYTES = 1 << 20
# Models with a tokenizer that neither chat nor embed: encoders of image models, speech, and text by diffusion.
OTHER_ARCHITECTURES = frozenset({"t5encoder", "wavtokenizer-dec", "dream", "llada", "llada-moe", "rnd1"})

# fmt: off
# general.file_type, as in llama.h (LLAMA_FTYPE_*). The 1024 bit says that it was guessed.
FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
    12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K",
    19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL",
    26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16",
    36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4", 40: "Q1_0",
}
# fmt: on


@dataclass(frozen=True, slots=True)
class GgufInfo:
    """What is known of a model before it is loaded.

    `kind` is "chat" (any text generator), "embedding", "reranker", "projector" (of images), "adapter" (LoRA),
    "vocabulary" (no weights), "part" (a later part of a split file) or "other" (nothing that this engine runs).
    """

    architecture: str  # "" where the file names none
    kind: str
    name: str
    license: str
    quantization: str  # "Q4_K_M", "F16"; "" where nothing tells
    size_bytes: int  # of the file
    weight_bytes: int  # of its tensors
    n_params: int
    split_index: int  # from 0
    split_count: int  # 1: the model is one file
    templates: tuple[str, ...]  # names of the chat templates; the nameless one is "default"
    metadata: dict[str, Value]  # every key of the file; long values as LongValue

    # Zero and empty for kinds that are not loaded by themselves.
    n_ctx_train: int = 0  # tokens
    n_embd: int = 0
    n_layer: int = 0
    n_head_kv: tuple[int, ...] = ()  # for each layer; 0 where a layer has no attention
    key_length: int = 0  # of one head
    value_length: int = 0
    n_vocab: int = 0
    pooling_type: int | None = None  # 0 none, 1 mean, 2 cls, 3 last, 4 rank
    is_causal: bool = True  # False: no KV cache
    sliding_window: int = 0  # tokens; 0: every layer sees everything

    @property
    def has_chat_template(self) -> bool:
        return bool(self.templates)

    @property
    def strips_accents(self) -> bool:
        """Whether its tokenizer is BERT's and takes the accents off letters first; BERT's default with lower case."""
        is_lower_case = self.metadata.get("tokenizer.ggml.normalizer.lowercase", True)
        says = self.metadata.get("tokenizer.ggml.normalizer.strip_accents", is_lower_case)
        return self.metadata.get("tokenizer.ggml.model") == "bert" and bool(says)


def read(path: Path) -> GgufInfo:
    """What the file at `path` is; 40 ms for a vocabulary of 49 k with its merges. Raises BrokenModel."""
    header = read_header(path)
    metadata = header.metadata
    architecture = _text(metadata, "general.architecture")
    kind = _kind(header, architecture)
    shape = _shape(metadata, architecture) if kind in GENERATES_OR_EMBEDS else {}
    return GgufInfo(
        architecture=architecture,
        kind=kind,
        name=_text(metadata, "general.name"),
        license=_text(metadata, "general.license"),
        quantization=_quantization(header),
        size_bytes=header.size_bytes,
        weight_bytes=sum(tensor.n_bytes for tensor in header.tensors),
        n_params=sum(tensor.n_weights for tensor in header.tensors),
        split_index=_count(metadata, "split.no", 0),
        split_count=max(_count(metadata, "split.count", 1), 1),
        templates=_templates(metadata),
        metadata=metadata,
        **shape,
    )


def read_template(path: Path) -> str:
    """The chat template in the file, "" where there is none; as slow as `read`. Raises BrokenModel."""
    return _text(read_header(path, MAX_TEMPLATE_BYTES).metadata, "tokenizer.chat_template")


def read_tensors(path: Path) -> list[Tensor]:
    """As slow as `read`. Raises BrokenModel."""
    return read_header(path).tensors


def _kind(header: Header, architecture: str) -> str:
    metadata = header.metadata
    declared = metadata.get("general.type")
    pooling_type = metadata.get(f"{architecture}.pooling_type")
    if _count(metadata, "split.no", 0):
        return "part"
    if declared == "adapter":
        return "adapter"
    if declared == "mmproj" or architecture == "clip":
        return "projector"
    if declared == "imatrix" or architecture in OTHER_ARCHITECTURES or "tokenizer.ggml.model" not in metadata:
        return "other"
    if not header.tensors and _count(metadata, "split.count", 1) <= 1:
        return "vocabulary"
    if pooling_type == POOLING_RANK or any(tensor.name.startswith("cls.") for tensor in header.tensors):
        return "reranker"
    if pooling_type in (1, 2, 3) or metadata.get(f"{architecture}.attention.causal") is False:
        return "embedding"
    return "chat"


def _shape(metadata: dict[str, Value], architecture: str) -> dict:
    """The fields of GgufInfo that only a model has which can be loaded by itself."""

    def count(key: str, default: int | None = None) -> int:
        return _count(metadata, f"{architecture}.{key}", default)

    n_ctx_train, n_embd, n_layer = count("context_length"), count("embedding_length"), count("block_count")
    if not n_ctx_train or not n_embd or not 0 < n_layer <= MAX_LAYERS:
        raise BrokenModel(
            f"is damaged: a context of {n_ctx_train} tokens, a width of {n_embd} and {n_layer} layers make no model"
        )
    n_head = _per_layer(metadata, f"{architecture}.attention.head_count", n_layer, (0,) * n_layer)
    head_length = n_embd // max(n_head) if any(n_head) else 0
    tokens = metadata.get("tokenizer.ggml.tokens")
    return {
        "n_ctx_train": n_ctx_train,
        "n_embd": n_embd,
        "n_layer": n_layer,
        "n_head_kv": _per_layer(metadata, f"{architecture}.attention.head_count_kv", n_layer, n_head),
        "key_length": count("attention.key_length", head_length),
        "value_length": count("attention.value_length", head_length),
        "n_vocab": _length(tokens) or count("vocab_size", 0),
        "pooling_type": count("pooling_type") if f"{architecture}.pooling_type" in metadata else None,
        "is_causal": metadata.get(f"{architecture}.attention.causal") is not False,
        "sliding_window": count("attention.sliding_window", 0),
    }


def _quantization(header: Header) -> str:
    """The label in the file, else the type that holds most of the weights."""
    label = header.metadata.get("general.file_type")
    if type(label) is int and label & ~1024 in FILE_TYPES:
        return FILE_TYPES[label & ~1024]
    weights: dict[int, int] = {}
    for tensor in header.tensors:
        weights[tensor.type] = weights.get(tensor.type, 0) + tensor.n_weights
    most = max(weights, key=weights.__getitem__, default=None)
    return TENSOR_TYPES[most][0] if most in TENSOR_TYPES else ""


def _templates(metadata: dict[str, Value]) -> tuple[str, ...]:
    key = "tokenizer.chat_template"
    names = [name.removeprefix(f"{key}.") for name in metadata if name.startswith(f"{key}.")]
    return (("default",) if key in metadata else ()) + tuple(names)


def _text(metadata: dict[str, Value], key: str) -> str:
    value = metadata.get(key, "")
    return value if isinstance(value, str) else ""


def _length(value: Value | None) -> int:
    return value.length if isinstance(value, LongValue) else len(value) if isinstance(value, list) else 0


def _count(metadata: dict[str, Value], key: str, default: int | None = None) -> int:
    """A number from 0 to 2^32 - 1; without a `default` the key must be there."""
    value = metadata.get(key, default)
    if value is None:
        raise BrokenModel(f"is incomplete: it does not say its {key[:80]!r}")
    if type(value) is not int or not 0 <= value < 1 << 32:
        raise BrokenModel(f"is damaged: its {key[:80]!r} is {str(value)[:80]!r}, which is no count")
    return value


def _per_layer(metadata: dict[str, Value], key: str, n_layer: int, default: tuple[int, ...]) -> tuple[int, ...]:
    """One number for all layers, or one for each."""
    value = metadata.get(key)
    if value is None:
        return default
    if not isinstance(value, list):
        return (_count(metadata, key),) * n_layer
    if len(value) != n_layer or any(type(item) is not int or not 0 <= item < 1 << 32 for item in value):
        raise BrokenModel(f"is damaged: its {key[:80]!r} is not one count for each of {n_layer} layers")
    return tuple(value)
