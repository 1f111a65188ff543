"""How much memory a model needs, and how large a context a machine is given."""

from dataclasses import replace

import pytest
import tiny_models

from offgrid.engine import gguf, memory

GB, MB = 1 << 30, 1 << 20


@pytest.fixture(scope="module")
def chat(tmp_path_factory) -> gguf.GgufInfo:
    """SmolLM2-135M's shape."""
    info = gguf.read(tiny_models.chat_model(tmp_path_factory.mktemp("m") / "m.gguf"))
    metadata = info.metadata | {"llama.feed_forward_length": 1536}
    shape = {"n_embd": 576, "n_layer": 30, "n_head_kv": (3,) * 30, "key_length": 64, "value_length": 64}
    return replace(info, metadata=metadata, n_vocab=49152, n_ctx_train=8192, weight_bytes=96 * MB, **shape)


def test_the_cache_is_as_large_as_llama_cpp_logs(chat):
    assert 4096 * memory.kv_bytes_per_token(chat) == 90 * MB
    assert memory.kv_bytes_per_token(chat, "q8_0") == memory.kv_bytes_per_token(chat, "f16") * 34 // 64
    with pytest.raises(ValueError, match="q8_0"):
        memory.kv_bytes_per_token(chat, "f17")


def test_layers_without_attention_and_models_without_a_cache_need_none(chat):
    half = replace(chat, n_head_kv=(3, 0) * 15)
    assert memory.kv_bytes_per_token(half) * 2 == memory.kv_bytes_per_token(chat)
    assert memory.kv_bytes_per_token(replace(chat, is_causal=False)) == 0


@pytest.mark.parametrize(
    ("n_ctx", "n_ubatch", "logged_mb"),
    [(4096, 512, 17.51), (16384, 512, 29.51), (16384, 128, 12.42)],
)
def test_compute_memory_is_what_llama_cpp_logged_for_smollm2(chat, n_ctx, n_ubatch, logged_mb):
    estimate = memory.estimate_bytes(chat, n_ctx, "f16", 16, n_ubatch)
    logits_copy_mb = 3.0  # logged apart
    assert estimate.compute == pytest.approx((logged_mb + logits_copy_mb) * MB, rel=0.05)
    assert estimate.kv == n_ctx * memory.kv_bytes_per_token(chat)
    assert estimate.process == memory.WORKER_BASE_BYTES + memory.VOCABULARY_BYTES * chat.n_vocab
    assert estimate.total == estimate.weights + estimate.kv + estimate.compute + estimate.process


def test_a_recurrent_model_has_a_state_for_each_sequence(chat):
    ssm = {"inner_size": 128, "state_size": 8, "conv_kernel": 4}
    metadata = chat.metadata | {f"llama.ssm.{name}": value for name, value in ssm.items()}
    mamba = replace(chat, n_head_kv=(0,) * 30, metadata=metadata)
    state = 4 * 30 * (3 * (128 + 2 * 8) + 128 * 8)
    assert memory.estimate_bytes(mamba, 4096, "f16", 16).kv == 16 * state


def test_what_a_person_asks_for_is_kept(chat):
    assert memory.choose_n_ctx(chat, 1, 16, asked=100_000) == 100_096
    assert memory.choose_n_ctx(chat, 64 * GB, 16, asked=1) == 256


def test_a_smaller_kind_of_cache_gives_a_longer_context(chat):
    f16, q8_0 = (memory.choose_n_ctx(chat, 1 * GB, 16, kv_type=kind) for kind in ("f16", "q8_0"))
    assert f16 < q8_0


@pytest.mark.parametrize(
    ("n_ctx_train", "parallel", "available", "n_ctx"),
    [
        (8192, 16, 64 * GB, 16_384),  # 16 people, 1024 tokens each
        (8192, 4, 64 * GB, 8192),  # one full context
        (131_072, 1, 64 * GB, 16_384),  # never more without being asked
        (512, 4, 64 * GB, 2048),  # more could not be used
        (8192, 16, 1 * GB, 11_520),  # a quarter of the memory
        (8192, 16, 100 * MB, 512),  # at least something
        (8192, 16, 0, 512),
    ],
)
def test_the_context_follows_from_the_model_the_people_and_the_memory(chat, n_ctx_train, parallel, available, n_ctx):
    chosen = memory.choose_n_ctx(replace(chat, n_ctx_train=n_ctx_train), available, parallel)
    assert chosen == n_ctx
    assert chosen % 256 == 0


def test_without_flash_attention_the_scores_of_all_heads_need_memory(chat):
    logged_mb = 88.9 + 3.2  # compute and output buffer of SmolLM2 at 4096
    estimate = memory.estimate_bytes(chat, 4096, "f16", 17, has_flash_attention=False)
    assert estimate.compute == pytest.approx(logged_mb * MB, rel=0.1)


def test_the_largest_context_that_fits_is_the_largest(chat):
    def estimate(n_ctx: int, kv_type: str) -> memory.Estimate:
        return memory.estimate_bytes(chat, n_ctx, kv_type, 17)

    for most in (200 * MB, 300 * MB, 1000 * MB):
        n_ctx = memory.largest_n_ctx(estimate, most, "f16", 100_096)
        assert estimate(n_ctx, "f16").total <= most < estimate(n_ctx + 256, "f16").total
    assert memory.largest_n_ctx(estimate, 1 * GB, "f16", 1024) == 1024
    assert memory.largest_n_ctx(estimate, 100 * MB, "f16", 1024) == 0
    assert memory.largest_n_ctx(estimate, 300 * MB, "q8_0", 100_096) > memory.largest_n_ctx(
        estimate, 300 * MB, "f16", 100_096
    )
