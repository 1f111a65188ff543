"""Tiny chat models whose memory is not a plain KV cache, written as those of `tiny_models.py` are.

`mamba` and `rwkv7` are recurrent, `lfm2` is a hybrid of both kinds, and one of two layers of `windowed` (Gemma 3) sees
a sliding window only.
"""

from pathlib import Path

import numpy as np
from tiny_models import CHATML, HEAD, N_BLOCKS, WIDTH, chat_keys, chat_vocabulary, write_gguf

WINDOW = 32  # tokens that one of the two layers of `windowed` sees
N_CTX_TRAIN = 4096
LETTERS = b"abcdfgjkmpqsuvxyz .,"  # all that is ever said: no merges, so that a text has one spelling in tokens


class _Weights:
    """Seeded random tensors by name."""

    def __init__(self, seed: int):
        self.tensors: dict[str, np.ndarray] = {}
        self._rng = np.random.default_rng(seed)

    def random(self, name: str, *shape: int, scale: float = 0.2) -> None:
        self.tensors[name] = (self._rng.standard_normal(shape) * scale).astype(np.float32)

    def ones(self, *names: str, n: int = WIDTH) -> None:
        for name in names:
            self.tensors[name] = np.ones(n, np.float32)

    def zeros(self, *names: str, n: int = WIDTH) -> None:
        for name in names:
            self.tensors[name] = np.zeros(n, np.float32)


def _write(path: Path, architecture: str, weights: _Weights, shape: dict) -> Path:
    tokens, types = chat_vocabulary()
    weights.random("token_embd.weight", len(tokens), WIDTH, scale=1.0)
    weights.random("output.weight", len(tokens), WIDTH)
    weights.tensors["output.weight"][[i for i in range(len(tokens)) if i not in set(LETTERS)]] = 0
    usual = {
        "context_length": N_CTX_TRAIN,
        "embedding_length": WIDTH,
        "block_count": N_BLOCKS,
        "feed_forward_length": WIDTH,
        "attention.head_count": WIDTH // HEAD,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "vocab_size": len(tokens),
    }
    keys = {f"{architecture}.{key}": value for key, value in (usual | shape).items()}
    return write_gguf(path, architecture, keys | chat_keys(path, tokens, types, CHATML), weights.tensors)


def mamba(path: Path, *, seed: int = 0) -> Path:
    inner, state, rank, kernel = 2 * WIDTH, 8, 4, 4
    w = _Weights(seed)
    w.ones("output_norm.weight")
    for block in range(N_BLOCKS):
        b = f"blk.{block}."
        w.ones(b + "attn_norm.weight")
        w.ones(b + "ssm_d", n=inner)
        w.random(b + "ssm_in.weight", 2 * inner, WIDTH)
        w.random(b + "ssm_conv1d.weight", inner, kernel)
        w.zeros(b + "ssm_conv1d.bias", n=inner)
        w.random(b + "ssm_x.weight", rank + 2 * state, inner)
        w.random(b + "ssm_dt.weight", inner, rank)
        w.zeros(b + "ssm_dt.bias", n=inner)
        w.random(b + "ssm_out.weight", WIDTH, inner)
        w.random(b + "ssm_a", inner, state)
        w.tensors[b + "ssm_a"] = -np.abs(w.tensors[b + "ssm_a"])  # a state fades, and so must not grow
    shape = {
        "attention.head_count": 0,
        "feed_forward_length": 0,
        "ssm.conv_kernel": kernel,
        "ssm.inner_size": inner,
        "ssm.state_size": state,
        "ssm.time_step_rank": rank,
    }
    return _write(path, "mamba", w, shape)


def rwkv7(path: Path, *, seed: int = 0) -> Path:
    rank = 8
    w = _Weights(seed)
    w.ones("output_norm.weight", "token_embd_norm.weight")
    w.zeros("output_norm.bias", "token_embd_norm.bias")
    for block in range(N_BLOCKS):
        b = f"blk.{block}."
        w.ones(*(f"{b}{name}.weight" for name in ("attn_norm", "attn_norm_2", "time_mix_ln")))
        w.zeros(*(f"{b}{name}.bias" for name in ("attn_norm", "attn_norm_2", "time_mix_ln")))
        for letter in "wav":
            w.random(f"{b}time_mix_{letter}0.weight", WIDTH)
        w.tensors[b + "time_mix_w0.weight"] -= 6  # forgets slowly, so that a wrong early token shows late
        for letter in "wavg":
            w.random(f"{b}time_mix_{letter}1.weight", rank, WIDTH)
            w.random(f"{b}time_mix_{letter}2.weight", WIDTH, rank)
        for name in ("k_k", "k_a", "r_k"):
            w.random(f"{b}time_mix_{name}.weight", WIDTH)
        for name in ("key", "value", "receptance", "output"):
            w.random(f"{b}time_mix_{name}.weight", WIDTH, WIDTH)
        w.random(b + "time_mix_lerp_fused.weight", 6, 1, 1, WIDTH)
        w.random(b + "channel_mix_lerp_k.weight", 1, 1, WIDTH)
        w.random(b + "channel_mix_key.weight", WIDTH, WIDTH)
        w.random(b + "channel_mix_value.weight", WIDTH, WIDTH)
    shape = {
        "attention.head_count": 0,
        "attention.layer_norm_epsilon": 1e-5,
        "wkv.head_size": WIDTH,  # with 32 the results depend on the size of the batch
        "attention.decay_lora_rank": rank,
        "attention.iclr_lora_rank": rank,
        "attention.value_residual_mix_lora_rank": rank,
        "attention.gate_lora_rank": rank,
    }
    return _write(path, "rwkv7", w, shape)


def lfm2(path: Path, *, seed: int = 0) -> Path:
    kernel = 3
    w = _Weights(seed)
    w.ones("token_embd_norm.weight")  # where this architecture has its last norm
    _feed_forward(w)
    w.random("blk.0.shortconv.conv.weight", WIDTH, kernel)
    w.random("blk.0.shortconv.in_proj.weight", 3 * WIDTH, WIDTH)
    w.random("blk.0.shortconv.out_proj.weight", WIDTH, WIDTH)
    _attention(w, "blk.1.")
    shape = {"attention.head_count_kv": [0, 1], "shortconv.l_cache": kernel, "rope.freq_base": 10000.0}
    return _write(path, "lfm2", w, shape)


def windowed(path: Path, *, seed: int = 0) -> Path:
    w = _Weights(seed)
    w.ones("output_norm.weight")
    _feed_forward(w)
    for block in range(N_BLOCKS):
        _attention(w, f"blk.{block}.")
        w.ones(f"blk.{block}.post_attention_norm.weight", f"blk.{block}.post_ffw_norm.weight")
    shape = {
        "attention.head_count_kv": 1,
        "attention.key_length": HEAD,
        "attention.value_length": HEAD,
        "attention.sliding_window": WINDOW,
        "attention.sliding_window_pattern": [True, False],
        "rope.freq_base": 10000.0,
    }
    return _write(path, "gemma3", w, shape)


def _feed_forward(w: _Weights) -> None:
    for block in range(N_BLOCKS):
        b = f"blk.{block}."
        w.ones(b + "attn_norm.weight", b + "ffn_norm.weight")
        w.random(b + "ffn_gate.weight", WIDTH, WIDTH)
        w.random(b + "ffn_up.weight", WIDTH, WIDTH)
        w.random(b + "ffn_down.weight", WIDTH, WIDTH, scale=0.1)


def _attention(w: _Weights, b: str) -> None:
    w.ones(b + "attn_q_norm.weight", b + "attn_k_norm.weight", n=HEAD)
    w.random(b + "attn_q.weight", WIDTH, WIDTH)
    w.random(b + "attn_k.weight", HEAD, WIDTH)
    w.random(b + "attn_v.weight", HEAD, WIDTH)
    w.random(b + "attn_output.weight", WIDTH, WIDTH, scale=0.3)


MODELS = {"mamba": mamba, "rwkv7": rwkv7, "lfm2": lfm2, "windowed": windowed}
