"""How the next token is chosen: one C sampler chain per sequence, built once, in llama.cpp's own order.

Costs per token at a vocabulary of 49,152: the usual chain 66 µs, because top_k comes before what must sort; with
top_k off it is 0.4 to 2.6 ms, which is the price the caller asked for. Greedy without penalties needs no chain.
"""

import ctypes
import random

import numpy as np

from offgrid.types import Sampling
from offgrid.worker.library import L

REPEAT_WINDOW = 64  # tokens that repeat_penalty looks back on, as llama.cpp and Ollama have it
MIN_KEEP = 1
NEGATIVE_INFINITY = float("-inf")


class Sampler:
    """The sampler of one sequence. `close()` it once; both calls belong to the thread that owns the model."""

    def __init__(self, sampling: Sampling, *, n_vocab: int, eog_tokens: list[int], prompt_tail: list[int], n_max: int):
        """`prompt_tail`: the last REPEAT_WINDOW tokens of the prompt; `n_max`: the most tokens it may generate."""
        stages = [
            *_bias_stages(sampling, n_vocab, eog_tokens),
            *_penalty_stages(sampling, n_vocab, prompt_tail, n_max),
        ]
        self._n_vocab = n_vocab
        self._chain = None
        if sampling.temperature > 0:
            stages += _chance_stages(sampling)
        elif stages:
            stages.append(L.llama_sampler_init_greedy())
        if stages:
            self._chain = L.llama_sampler_chain_init(L.llama_sampler_chain_default_params())
            for stage in stages:
                L.llama_sampler_chain_add(self._chain, stage)  # the chain owns its stages

    def sample(self, ctx, row: int) -> int:
        """The token chosen from the logits of batch row `row`, which must have been flagged."""
        if self._chain is not None:
            return L.llama_sampler_sample(self._chain, ctx, row)  # this also tells the chain which token it was
        logits = np.ctypeslib.as_array(L.llama_get_logits_ith(ctx, row), (self._n_vocab,))
        return int(logits.argmax())

    def close(self) -> None:
        if self._chain is not None:
            L.llama_sampler_free(self._chain)
            self._chain = None


def _bias_stages(sampling: Sampling, n_vocab: int, eog_tokens: list[int]) -> list:
    if not sampling.ignore_eos or not eog_tokens:
        return []
    biases = (L.llama_logit_bias * len(eog_tokens))()
    for bias, token in zip(biases, eog_tokens, strict=True):
        bias.token, bias.bias = token, NEGATIVE_INFINITY
    return [L.llama_sampler_init_logit_bias(n_vocab, len(biases), biases)]


def _penalty_stages(sampling: Sampling, n_vocab: int, prompt_tail: list[int], n_max: int) -> list:
    """Two kinds that count different texts: repeat_penalty the latest tokens, OpenAI's all that was generated."""
    stages = []
    if sampling.repeat_penalty != 1.0:
        repeat = L.llama_sampler_init_penalties(n_vocab, REPEAT_WINDOW, sampling.repeat_penalty, 0.0, 0.0)
        for token in prompt_tail[-REPEAT_WINDOW:]:
            L.llama_sampler_accept(repeat, token)
        stages.append(repeat)
    if sampling.frequency_penalty or sampling.presence_penalty:
        frequency, presence = sampling.frequency_penalty, sampling.presence_penalty
        stages.append(L.llama_sampler_init_penalties(n_vocab, n_max, 1.0, frequency, presence))
    return stages


def _chance_stages(sampling: Sampling) -> list:
    stages = []
    if sampling.top_k > 0:
        stages.append(L.llama_sampler_init_top_k(sampling.top_k))
    if sampling.top_p < 1:
        stages.append(L.llama_sampler_init_top_p(sampling.top_p, MIN_KEEP))
    if sampling.min_p > 0:
        stages.append(L.llama_sampler_init_min_p(sampling.min_p, MIN_KEEP))
    seed = sampling.seed if sampling.seed is not None else random.SystemRandom().getrandbits(32)
    return [
        *stages,
        L.llama_sampler_init_temp(ctypes.c_float(sampling.temperature)),
        L.llama_sampler_init_dist(seed & 0xFFFFFFFF),
    ]
