"""Tiny GGUF files with seeded random weights, written when a test starts: nothing is downloaded or committed.

Each function writes one file, takes a few milliseconds, gives the same bytes on every run, and returns the path.
The real llama.cpp loads them in milliseconds, so tests of the worker need no fake of it.
Broken files are in `broken_files.py`, models with another memory than a KV cache in `tiny_memories.py`.

Tensors are numpy arrays, so their shapes read (rows, columns) where a GGUF file says [columns, rows].
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
from gguf import GGUFValueType, GGUFWriter

WIDTH = 64  # n_embd of every text model here
N_BLOCKS = 2
HEAD = 32  # two query heads and one key/value head of 32, the block size that q8_0 and q4_0 caches ask for
NEVER = -20.0  # a bias that keeps a token from being chosen by chance

# ChatML with tools, as Qwen and SmolLM2 have it.
CHATML = (
    "{%- if tools %}{{ '<|im_start|>system\n' }}"
    "{{ messages[0].content + '\n' if messages[0].role == 'system' else '' }}"
    "{%- for tool in tools %}{{ tool | tojson }}{{ '\n' }}{% endfor %}{{ '<|im_end|>\n' }}{% endif %}"
    "{%- for message in messages if not (tools and loop.first and message.role == 'system') %}"
    "{{ '<|im_start|>' + message.role + '\n' }}{{ message.content or '' }}"
    "{%- for call in message.tool_calls or [] %}{{ '<tool_call>' }}"
    "{{ {'name': call.function.name, 'arguments': call.function.arguments} | tojson }}{{ '</tool_call>' }}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

# The same for a model that thinks: without thinking, an empty thought stands before the answer, as Qwen3 has it.
THINKING = CHATML.replace(
    "{% endif %}",
    "{%- if enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}",
)

MERGES = (
    *("Ġ t", "h e", "Ġt he", "l l", "he ll", "hell o", "Ġ w", "o r", "Ġw or", "Ġwor l", "Ġworl d"),
    *('{ "', '" :', '" }', "i n"),
)
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")  # never printed
MARKS = ("<tool_call>", "</tool_call>", "<think>", "</think>")  # always printed
NORMAL_TYPE, CONTROL_TYPE, USER_DEFINED_TYPE = 1, 3, 4  # tokenizer.ggml.token_type


# --- chat models: architecture llama, tokens 0..255 are the bytes in order ---


def chat_model(
    path: Path,
    *,
    seed: int = 0,
    eos_bias: float = NEVER,
    byte_bias: float = NEVER,
    n_ctx_train: int = 4096,
    template: str | None = CHATML,
) -> Path:
    """A chat model that babbles ASCII and, unless told otherwise, never ends by itself.

    `eos_bias` is about the logit of <|im_end|>. At temperature 1 the median text has 30 tokens with 2, and 9 with 4.
    `byte_bias` is that of the bytes above 0x7F: 0 makes them as likely as letters (tests split UTF-8).
    """
    rng = np.random.default_rng(seed)
    tokens, types = chat_vocabulary()
    tensors = _llama_tensors(rng, len(tokens))
    bias = np.zeros(len(tokens))
    bias[[i for i in range(128) if not chr(i).isprintable()]] = NEVER
    bias[10] = 0  # newline
    bias[128:256] = byte_bias
    bias[256 + len(MERGES) :] = NEVER
    bias[tokens.index("<|im_end|>")] = eos_bias
    tensors["output.weight"][:, 0] = bias / 2  # dimension 0 is always 3, and about 2 after the last norm
    return _write_llama(path, tokens, types, tensors, n_ctx_train, template)


def scripted_model(
    path: Path,
    pieces: list[str | bytes],
    *,
    n_ctx_train: int = 4096,
    template: str | None = CHATML,
    control: tuple[str, ...] = (),
) -> Path:
    """A chat model whose greedy answer to any prompt is exactly `pieces`, a token each, and then <|im_end|>.

    The answer starts after any token that is no piece itself. A piece may be part of a character, given as bytes.
    `control`: further control tokens, which a piece may be. Raises ValueError for a repeated piece, an empty one, and a
    bare newline, with which every chat prompt ends: the next token depends on nothing but the last one.
    """
    tokens, types = chat_vocabulary()
    tokens += control
    types += [CONTROL_TYPE] * len(control)
    script = [_spell(p if isinstance(p, bytes) else p.encode()) for p in pieces]
    if len(set(script)) < len(script) or {"", _spell(b"\n")} & set(script):
        raise ValueError("pieces must be unique, and neither empty nor a bare newline")
    for spelling, piece in zip(script, pieces, strict=True):
        if spelling not in tokens and piece not in tokens:
            tokens.append(spelling)
            types.append(NORMAL_TYPE)
    marks = (*MARKS, *control)
    ids = [tokens.index(piece if piece in marks else spelling) for spelling, piece in zip(script, pieces, strict=True)]
    ids.append(tokens.index("<|im_end|>"))

    tensors = _llama_tensors(np.random.default_rng(0), len(tokens))
    for block in range(N_BLOCKS):  # the blocks add nothing: what leaves the last one is the token's own embedding
        tensors[f"blk.{block}.attn_output.weight"][:] = 0
        tensors[f"blk.{block}.ffn_down.weight"][:] = 0
    embedding, output = tensors["token_embd.weight"], tensors["output.weight"]
    embedding[:, 1:] *= 8 / np.linalg.norm(embedding[:, 1:], axis=1, keepdims=True)
    output[:] = 0
    # A piece has a logit of about 60 after its predecessor, 30 at most after other tokens; the first has 42 after all.
    for last, following in pairwise(ids):
        output[following, 1:] = embedding[last, 1:]
    output[ids[0], 0] = 15
    return _write_llama(path, tokens, types, tensors, n_ctx_train, template)


def chat_vocabulary() -> tuple[list[str], list[int]]:
    tokens = [_spell(bytes([b])) for b in range(256)] + [m.replace(" ", "") for m in MERGES] + [*CONTROL, *MARKS]
    types = [NORMAL_TYPE] * (256 + len(MERGES)) + [CONTROL_TYPE] * len(CONTROL) + [USER_DEFINED_TYPE] * len(MARKS)
    return tokens, types


def _spell(raw: bytes) -> str:
    """`raw` in GPT-2's alphabet, which has a printable character for every byte."""
    return "".join(GPT2_ALPHABET[b] for b in raw)


def _gpt2_alphabet() -> list[str]:
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    return [chr(b) if b in printable else chr(256 + others.index(b)) for b in range(256)]


GPT2_ALPHABET = _gpt2_alphabet()


def _llama_tensors(rng: np.random.Generator, n_vocab: int) -> dict[str, np.ndarray]:
    """Random weights; dimension 0 of the residual stream is 3 for every token, and no block changes it."""

    def random(rows: int, columns: int, scale: float = 1.0) -> np.ndarray:
        return (rng.standard_normal((rows, columns)) * scale).astype(np.float32)

    tensors = {
        "token_embd.weight": random(n_vocab, WIDTH),
        "output.weight": random(n_vocab, WIDTH, 0.2),
        "output_norm.weight": np.ones(WIDTH, np.float32),
    }
    tensors["token_embd.weight"][:, 0] = 3
    for block in range(N_BLOCKS):
        into = {
            "attn_norm.weight": np.ones(WIDTH, np.float32),
            "attn_q.weight": random(WIDTH, WIDTH, 0.2),
            "attn_k.weight": random(HEAD, WIDTH, 0.2),
            "attn_v.weight": random(HEAD, WIDTH, 0.2),
            "attn_output.weight": random(WIDTH, WIDTH, 0.1),
            "ffn_norm.weight": np.ones(WIDTH, np.float32),
            "ffn_gate.weight": random(WIDTH, WIDTH, 0.2),
            "ffn_up.weight": random(WIDTH, WIDTH, 0.2),
            "ffn_down.weight": random(WIDTH, WIDTH, 0.1),
        }
        into["attn_output.weight"][0] = into["ffn_down.weight"][0] = 0
        tensors |= {f"blk.{block}.{name}": array for name, array in into.items()}
    return tensors


def _write_llama(path, tokens, types, tensors, n_ctx_train, template) -> Path:
    shape = {
        "llama.context_length": n_ctx_train,
        "llama.embedding_length": WIDTH,
        "llama.block_count": N_BLOCKS,
        "llama.feed_forward_length": WIDTH,
        "llama.attention.head_count": WIDTH // HEAD,
        "llama.attention.head_count_kv": 1,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.freq_base": 10000.0,
        "llama.rope.dimension_count": HEAD,
        "llama.vocab_size": len(tokens),
    }
    return write_gguf(path, "llama", shape | chat_keys(path, tokens, types, template), tensors)


def chat_keys(path: Path, tokens: list[str], types: list[int], template: str | None) -> dict:
    """The metadata of a chat model that does not depend on its architecture."""
    keys = {
        "general.type": "model",
        "general.name": Path(path).stem,
        "general.file_type": 0,  # F32
        "general.license": "mit",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": list(MERGES),
        "tokenizer.ggml.bos_token_id": tokens.index("<|endoftext|>"),
        "tokenizer.ggml.eos_token_id": tokens.index("<|im_end|>"),
        "tokenizer.ggml.padding_token_id": tokens.index("<|endoftext|>"),
        "tokenizer.ggml.add_bos_token": False,
    }
    if template is not None:
        keys["tokenizer.chat_template"] = template
    return keys


# --- embedding models and rerankers: architecture bert, WordPiece of lower-case pairs of letters ---

BERT_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
N_POSITIONS = 512


def embedding_model(path: Path, *, seed: int = 0) -> Path:
    """An embedding model with mean pooling: texts that share words score high although the weights are random."""
    return _write_bert(path, seed, {"bert.pooling_type": 1}, {})


def reranker_model(path: Path, *, seed: int = 0) -> Path:
    """A reranker: one raw score for each pair of query and document."""
    rng = np.random.default_rng(seed + 1)
    head = {
        "cls.weight": rng.standard_normal((WIDTH, WIDTH)).astype(np.float32) * 0.2,
        "cls.bias": np.zeros(WIDTH, np.float32),
        "cls.output.weight": rng.standard_normal((1, WIDTH)).astype(np.float32) * 0.2,
        "cls.output.bias": np.zeros(1, np.float32),
    }
    return _write_bert(path, seed, {"bert.pooling_type": 4, "bert.classifier.output_labels": ["relevance"]}, head)


def _bert_vocabulary() -> list[str]:
    """Word starts carry U+2581, continuations are bare. Punctuation is always a word of its own."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    inside = [*letters, *"0123456789", *(a + b for a in letters for b in letters)]
    punctuation = [chr(c) for c in range(0x21, 0x7F) if not chr(c).isalnum()]
    return [*BERT_SPECIAL, *(f"\u2581{piece}" for piece in inside + punctuation), *inside]


def _write_bert(path: Path, seed: int, more_keys: dict, more_tensors: dict[str, np.ndarray]) -> Path:
    tokens = _bert_vocabulary()
    rng = np.random.default_rng(seed)

    def linear(name: str, rows: int, columns: int) -> dict[str, np.ndarray]:
        weight = (rng.standard_normal((rows, columns)) * 0.05).astype(np.float32)
        return {f"{name}.weight": weight, f"{name}.bias": np.zeros(rows, np.float32)}

    def norm(name: str) -> dict[str, np.ndarray]:
        return {f"{name}.weight": np.ones(WIDTH, np.float32), f"{name}.bias": np.zeros(WIDTH, np.float32)}

    tensors = {
        "token_embd.weight": rng.standard_normal((len(tokens), WIDTH)).astype(np.float32),
        "token_types.weight": np.zeros((2, WIDTH), np.float32),
        "position_embd.weight": (rng.standard_normal((N_POSITIONS, WIDTH)) * 0.02).astype(np.float32),
        **norm("token_embd_norm"),
    }
    for block in range(N_BLOCKS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensors |= linear(f"blk.{block}.{name}", WIDTH, WIDTH)
        tensors |= norm(f"blk.{block}.attn_output_norm")
        tensors |= linear(f"blk.{block}.ffn_up", 2 * WIDTH, WIDTH)
        tensors |= linear(f"blk.{block}.ffn_down", WIDTH, 2 * WIDTH)
        tensors |= norm(f"blk.{block}.layer_output_norm")

    keys = {
        "general.type": "model",
        "general.name": Path(path).stem,
        "general.file_type": 0,
        "bert.context_length": N_POSITIONS,
        "bert.embedding_length": WIDTH,
        "bert.block_count": N_BLOCKS,
        "bert.feed_forward_length": 2 * WIDTH,
        "bert.attention.head_count": 2,
        "bert.attention.layer_norm_epsilon": 1e-12,
        "bert.attention.causal": False,
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [CONTROL_TYPE] * 5 + [NORMAL_TYPE] * (len(tokens) - 5),
        "tokenizer.ggml.token_type_count": 2,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.unknown_token_id": 1,
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.cls_token_id": 2,
        "tokenizer.ggml.seperator_token_id": 3,  # spelled so in the format
        "tokenizer.ggml.mask_token_id": 4,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_sep_token": True,
    }
    return write_gguf(path, "bert", keys | more_keys, tensors | more_tensors)


# --- companions of a chat model ---


def projector(path: Path, *, seed: int = 0) -> Path:
    """A vision projector of type "mlp" for `chat_model`: every image becomes 16 tokens."""
    rng = np.random.default_rng(seed)
    width, hidden = 32, 64

    def linear(name: str, rows: int, columns: int) -> dict[str, np.ndarray]:
        weight = (rng.standard_normal((rows, columns)) * 0.2).astype(np.float32)
        return {f"{name}.weight": weight, f"{name}.bias": np.zeros(rows, np.float32)}

    tensors = {
        "v.patch_embd.weight": (rng.standard_normal((width, 3, 8, 8)) * 0.2).astype(np.float32),
        "v.position_embd.weight": (rng.standard_normal((16, width)) * 0.2).astype(np.float32),
        **linear("mm.0", WIDTH, width),
        **linear("mm.2", WIDTH, WIDTH),
    }
    for block in range(2):  # the mlp projector leaves the last block out
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            tensors |= linear(f"v.blk.{block}.{name}", width, width)
        tensors |= linear(f"v.blk.{block}.ffn_up", hidden, width) | linear(f"v.blk.{block}.ffn_down", width, hidden)
        for name in ("ln1", "ln2"):
            tensors[f"v.blk.{block}.{name}.weight"] = np.ones(width, np.float32)
            tensors[f"v.blk.{block}.{name}.bias"] = np.zeros(width, np.float32)
    keys = {
        "general.type": "mmproj",
        "general.file_type": 0,
        "clip.has_vision_encoder": True,
        "clip.projector_type": "mlp",
        "clip.use_gelu": True,
        "clip.vision.image_size": 32,
        "clip.vision.patch_size": 8,
        "clip.vision.embedding_length": width,
        "clip.vision.feed_forward_length": hidden,
        "clip.vision.block_count": 2,
        "clip.vision.projection_dim": WIDTH,
        "clip.vision.attention.head_count": 2,
        "clip.vision.attention.layer_norm_epsilon": 1e-5,
        "clip.vision.image_mean": [0.5, 0.5, 0.5],
        "clip.vision.image_std": [0.5, 0.5, 0.5],
    }
    return write_gguf(path, "clip", keys, tensors)


def lora(path: Path, *, seed: int = 0, rank: int = 4) -> Path:
    """An adapter that changes what the first block of a `chat_model` attends to."""
    rng = np.random.default_rng(seed)
    tensors = {
        "blk.0.attn_q.weight.lora_a": rng.standard_normal((rank, WIDTH)).astype(np.float32),
        "blk.0.attn_q.weight.lora_b": rng.standard_normal((WIDTH, rank)).astype(np.float32),
    }
    keys = {"general.type": "adapter", "adapter.type": "lora", "adapter.lora.alpha": float(rank)}
    return write_gguf(path, "llama", keys, tensors)


# --- writing ---


def write_gguf(path: Path, architecture: str, keys: dict, tensors: dict[str, np.ndarray]) -> Path:
    """A value's type follows from Python's: an int is a uint32, in a list an int32; a float is a float32."""
    writer = GGUFWriter(path, architecture)
    for key, value in keys.items():
        if isinstance(value, list):
            writer.add_array(key, value)  # integers as int32, as token types must be
        else:
            writer.add_key_value(key, value, _gguf_type(value))
    for name, array in tensors.items():
        writer.add_tensor(name, np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return Path(path)


def _gguf_type(value) -> GGUFValueType:
    if isinstance(value, bool):  # before int: a bool is one
        return GGUFValueType.BOOL
    if isinstance(value, int):
        return GGUFValueType.UINT32  # as every count and token id must be
    return GGUFValueType.get_type(value)
