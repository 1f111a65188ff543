"""What a model file says about itself: the reader agrees with llama.cpp, and nothing can break it."""

import random
import struct
from pathlib import Path

import broken_files
import gguf as reference
import numpy as np
import pytest
import tiny_models

from offgrid.engine import gguf
from offgrid.engine.gguf_header import TENSOR_TYPES

STARTER = Path(__file__).parent.parent / "models"


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "chat": tiny_models.chat_model(folder / "chat.gguf"),
        "embedding": tiny_models.embedding_model(folder / "embedding.gguf"),
        "reranker": tiny_models.reranker_model(folder / "reranker.gguf"),
        "projector": tiny_models.projector(folder / "projector.gguf"),
        "adapter": tiny_models.lora(folder / "adapter.gguf"),
    }


@pytest.mark.parametrize("kind", ["chat", "embedding", "reranker", "projector", "adapter"])
def test_the_kind_comes_from_the_file_itself(models, kind):
    assert gguf.read(models[kind]).kind == kind


def test_a_chat_model_says_what_loading_it_needs(models):
    info = gguf.read(models["chat"])
    assert (info.architecture, info.name, info.license, info.quantization) == ("llama", "chat", "mit", "F32")
    assert (info.n_ctx_train, info.n_embd, info.n_layer, info.n_vocab) == (4096, 64, 2, 278)
    assert (info.n_head_kv, info.key_length, info.value_length) == ((1, 1), 32, 32)
    assert info.pooling_type is None and info.is_causal and info.has_chat_template
    assert (info.split_index, info.split_count) == (0, 1)
    assert info.size_bytes == models["chat"].stat().st_size > info.weight_bytes == 4 * info.n_params


def test_an_embedding_model_has_pooling_and_no_cache(models):
    info = gguf.read(models["embedding"])
    assert (info.pooling_type, info.is_causal, info.has_chat_template) == (1, False, False)


def test_small_values_are_kept_and_long_ones_only_measured(models):
    metadata = gguf.read(models["chat"]).metadata
    assert metadata["tokenizer.ggml.tokens"] == gguf.LongValue(278)
    assert metadata["tokenizer.ggml.add_bos_token"] is False
    assert metadata["llama.rope.freq_base"] == 10000.0
    assert gguf.read(models["reranker"]).metadata["bert.classifier.output_labels"] == ["relevance"]


def test_every_chat_template_is_named(tmp_path):
    keys = {"tokenizer.chat_template": "{{ 1 }}", "tokenizer.chat_template.tool_use": "{{ 2 }}"}
    info = gguf.read(_llama(tmp_path / "m.gguf", **{k.replace(".", "__"): v for k, v in keys.items()}))
    assert info.templates == ("default", "tool_use")


def test_layers_may_differ_in_their_heads(tmp_path):
    assert gguf.read(_llama(tmp_path / "m.gguf", llama__attention__head_count_kv=[0, 2])).n_head_kv == (0, 2)


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        ({"llama__pooling_type": 3}, "embedding"),
        ({"llama__pooling_type": 0}, "chat"),
        ({"llama__pooling_type": 4}, "reranker"),
        ({"llama__attention__causal": False}, "embedding"),
        ({"general__type": "mmproj"}, "projector"),
        ({"general__type": "imatrix"}, "other"),
        ({"split__no": 1, "split__count": 2}, "part"),
    ],
)
def test_metadata_decide_the_kind_of_a_text_model(tmp_path, keys, kind):
    assert gguf.read(_llama(tmp_path / "m.gguf", **keys)).kind == kind


def test_a_file_without_weights_is_a_vocabulary(tmp_path):
    path = tiny_models.write_gguf(tmp_path / "v.gguf", "llama", {"tokenizer.ggml.model": "gpt2"}, {})
    assert gguf.read(path).kind == "vocabulary"


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"llama__context_length": 0}, "a context of 0 tokens"),
        ({"llama__context_length": "long"}, "'llama.context_length' is 'long', which is no count"),
        ({"llama__context_length": -5.0}, "which is no count"),
        ({"llama__block_count": 0}, "0 layers"),
        ({"llama__block_count": 513}, "513 layers"),
        ({"llama__embedding_length": None}, "does not say its 'llama.embedding_length'"),
        ({"llama__attention__head_count_kv": [1, 1, 1]}, "not one count for each of 2 layers"),
    ],
)
def test_a_model_that_no_request_could_use_is_broken(tmp_path, keys, reason):
    with pytest.raises(gguf.BrokenModel, match=r"is (damaged|incomplete)") as e:
        gguf.read(_llama(tmp_path / "m.gguf", **keys))
    assert reason in e.value.reason


def test_every_broken_file_has_a_reason_that_a_person_understands(models, tmp_path):
    for name, reason in broken_files.write_broken_files(tmp_path, models["chat"]).items():
        with pytest.raises(gguf.BrokenModel) as e:
            gguf.read(tmp_path / name)
        assert reason in e.value.reason, name


def test_no_damage_to_a_header_raises_anything_but_broken_model(models, tmp_path):
    whole, path, rng = models["chat"].read_bytes(), tmp_path / "m.gguf", random.Random(0)
    header_end = whole.index(b"ffn_up.weight") + 100
    n_broken = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(header_end)] = rng.choice([0, 1, 8, 9, 127, 255, rng.randrange(256)])
        path.write_bytes(damaged[: rng.choice([None, rng.randrange(len(damaged))])])
        try:
            gguf.read(path)
        except gguf.BrokenModel:
            n_broken += 1
    assert 150 < n_broken < 300


def test_a_header_larger_than_the_first_read_is_read_whole(tmp_path):
    words = [f"word number {i} of a long list of tags" for i in range(60_000)]
    info = gguf.read(_llama(tmp_path / "m.gguf", tokenizer__ggml__merges=words, zzz="the end"))
    assert info.metadata["tokenizer.ggml.merges"] == gguf.LongValue(60_000)
    assert info.metadata["zzz"] == "the end"


def test_a_header_without_an_end_is_given_up(tmp_path):
    """2^24 empty texts, and a file that is large enough to hold more of them than are ever read."""
    path = tmp_path / "m.gguf"
    with path.open("wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"a")
        file.write(struct.pack("<IIQ", 9, 8, 1 << 24))
        file.truncate(1 << 30)  # the rest reads as zeros and takes no room on the disk
    with pytest.raises(gguf.BrokenModel, match="does not end within"):
        gguf.read(path)


def test_the_table_of_tensor_types_is_that_of_the_gguf_package():
    never_stored = {reference.GGMLQuantizationType.Q8_1}
    theirs = {int(t): (t.name, *sizes) for t, sizes in reference.GGML_QUANT_SIZES.items() if t not in never_stored}
    assert theirs == TENSOR_TYPES


def test_the_table_of_file_types_is_that_of_the_gguf_package():
    theirs = {int(t): t.name.removeprefix("MOSTLY_").removeprefix("ALL_") for t in reference.LlamaFileType}
    del theirs[int(reference.LlamaFileType.GUESSED)]
    assert theirs == gguf.FILE_TYPES


def test_without_a_label_the_quantisation_is_that_of_most_weights(tmp_path):
    info = gguf.read(_llama(tmp_path / "m.gguf", general__file_type=None))
    assert info.quantization == "F16"


@pytest.mark.model
def test_the_starter_models_are_what_they_claim_to_be():
    chat = gguf.read(STARTER / "SmolLM2-135M-Instruct.Q4_1.gguf")
    assert (chat.architecture, chat.kind, chat.quantization, chat.license) == ("llama", "chat", "Q4_1", "apache-2.0")
    assert (chat.n_ctx_train, chat.n_embd, chat.n_layer, chat.n_vocab) == (8192, 576, 30, 49152)
    assert (chat.n_params, chat.has_chat_template) == (134_515_008, True)
    embedding = gguf.read(STARTER / "all-MiniLM-L6-v2.F16.gguf")
    assert (embedding.architecture, embedding.kind, embedding.quantization) == ("bert", "embedding", "F16")
    assert (embedding.n_ctx_train, embedding.n_embd, embedding.n_vocab, embedding.pooling_type) == (512, 384, 30522, 1)


def _llama(path: Path, **changes) -> Path:
    """A header that reads as a chat model, with `changes`: a__b is the key a.b, and None leaves it out."""
    keys = {
        "llama.context_length": 128,
        "llama.embedding_length": 64,
        "llama.block_count": 2,
        "llama.attention.head_count": 2,
        "tokenizer.ggml.model": "gpt2",
        "general.file_type": 0,
    } | {key.replace("__", "."): value for key, value in changes.items()}
    tensors = {"token_embd.weight": np.zeros((4, 64), np.float16), "output_norm.weight": np.zeros(64, np.float32)}
    return tiny_models.write_gguf(path, "llama", {k: v for k, v in keys.items() if v is not None}, tensors)
