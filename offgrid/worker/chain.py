"""The stages of a sampler chain: llama.cpp's own samplers, only those that a request makes different from neutral.

They stand in llama.cpp's own order unless the request gives another. Costs per token at a vocabulary of 49,152: the
usual chain 66 µs, because top_k comes before what must sort; with top_k off it is 0.4 to 6 ms, which is the price the
caller asked for.
"""

import ctypes
import random
from collections.abc import Callable

from offgrid.types import Sampling
from offgrid.worker.library import L
from offgrid.worker.refused import Refused

MIN_KEEP = 1
MIROSTAT_M = 100  # tokens that mirostat 1 estimates from, as its authors have it
NEVER = float("-inf")
# Candidates that an earlier stage struck have the probability 0, and the logarithm of it would make typical_p and
# mirostat compare NaN; what is less likely than this does not come up either.
ALMOST_ZERO = 1e-12


def stages(sampling: Sampling, model, prompt: list[int], n_max: int, biases: dict[int, float]) -> list:
    """New samplers, to be added to a chain in this order; the last one selects. Empty: plainly the likeliest token.

    `n_max`: the most tokens that will be generated.
    """
    found = _bias_stage(model.n_vocab, biases)
    if sampling.temperature > 0 and sampling.mirostat:
        return [*found, *_mirostat_stages(sampling, model.n_vocab)]
    window = _Window(sampling, model, prompt, n_max)
    for name in sampling.samplers:
        if sampling.temperature > 0 or name in ALSO_GREEDY:
            found += MAKERS[name](window)
    if sampling.temperature > 0:
        found.append(L.llama_sampler_init_dist(_seed(sampling)))
    elif found:
        found.append(L.llama_sampler_init_greedy())
    return found


def token_biases(sampling: Sampling, model) -> dict[int, float]:
    """What is added to the logit of each token; a text's tokens all get its bias. Raises Refused."""
    biases: dict[int, float] = {}
    for key, bias in sampling.logit_bias:
        tokens = [key] if isinstance(key, int) else model.tokenize(key, add_special=False, parse_special=False)
        for token in tokens:
            if not 0 <= token < model.n_vocab:
                message = f"logit_bias names the token {token}; this model's are 0 to {model.n_vocab - 1}."
                raise Refused(kind="bad_request", message=message, param="logit_bias")
            biases[token] = NEVER if bias is None else biases.get(token, 0.0) + bias
    if sampling.ignore_eos:
        biases |= dict.fromkeys(model.eog_tokens, NEVER)
    if list(biases.values()).count(NEVER) >= model.n_vocab:
        message = "logit_bias forbids every token that this model has."
        raise Refused(kind="bad_request", message=message, param="logit_bias")
    return biases


class _Window:
    """What a stage is made from: the wishes, and the text that it looks back on."""

    def __init__(self, sampling: Sampling, model, prompt: list[int], n_max: int):
        self.sampling = sampling
        self.model = model
        self.n_max = n_max
        self._prompt = prompt

    def n_tokens(self, last_n: int) -> int:
        """`last_n` with -1 for all, and never more than there can be: llama.cpp allocates whatever it is told."""
        n_most = len(self._prompt) + self.n_max
        return n_most if last_n < 0 else min(last_n, n_most)

    def told(self, stage, n: int):
        """A stage that has been told the last `n` tokens of the prompt."""
        for token in self._prompt[-n:]:
            L.llama_sampler_accept(stage, token)
        return stage


def _bias_stage(n_vocab: int, biases: dict[int, float]) -> list:
    if not biases:
        return []
    array = (L.llama_logit_bias * len(biases))()
    for entry, (token, bias) in zip(array, biases.items(), strict=True):
        entry.token, entry.bias = token, bias
    return [L.llama_sampler_init_logit_bias(n_vocab, len(array), array)]


def _penalties(window: _Window) -> list:
    """Two kinds that count different texts: repeat_penalty the latest tokens, OpenAI's all that was generated."""
    sampling, n_vocab = window.sampling, window.model.n_vocab
    found = []
    n_last = window.n_tokens(sampling.repeat_last_n)
    if sampling.repeat_penalty != 1.0 and n_last:
        repeat = L.llama_sampler_init_penalties(n_vocab, n_last, sampling.repeat_penalty, 0.0, 0.0)
        found.append(window.told(repeat, n_last))
    if sampling.frequency_penalty or sampling.presence_penalty:
        frequency, presence = sampling.frequency_penalty, sampling.presence_penalty
        found.append(L.llama_sampler_init_penalties(n_vocab, window.n_max, 1.0, frequency, presence))
    return found


def _dry(window: _Window) -> list:
    sampling = window.sampling
    n_last = window.n_tokens(sampling.dry_penalty_last_n)
    if not sampling.dry_multiplier or not n_last:
        return []
    breakers = [text.encode("utf-8", "replace") for text in sampling.dry_sequence_breakers]
    dry = L.llama_sampler_init_dry(
        window.model.vocab,
        sampling.dry_multiplier,
        sampling.dry_base,
        sampling.dry_allowed_length,
        n_last,
        (ctypes.c_char_p * len(breakers))(*breakers),
        len(breakers),
    )
    return [window.told(dry, n_last)]


def _top_n_sigma(window: _Window) -> list:
    n = window.sampling.top_n_sigma
    return [L.llama_sampler_init_top_n_sigma(n)] if n > 0 else []


def _top_k(window: _Window) -> list:
    k = window.sampling.top_k
    return [L.llama_sampler_init_top_k(k)] if k > 0 else []


def _typ_p(window: _Window) -> list:
    p = window.sampling.typical_p
    if p >= 1:
        return []
    return [L.llama_sampler_init_min_p(ALMOST_ZERO, MIN_KEEP), L.llama_sampler_init_typical(p, MIN_KEEP)]


def _top_p(window: _Window) -> list:
    p = window.sampling.top_p
    return [L.llama_sampler_init_top_p(p, MIN_KEEP)] if p < 1 else []


def _min_p(window: _Window) -> list:
    p = window.sampling.min_p
    return [L.llama_sampler_init_min_p(p, MIN_KEEP)] if p > 0 else []


def _xtc(window: _Window) -> list:
    sampling = window.sampling
    if not sampling.xtc_probability:
        return []
    probability, threshold = sampling.xtc_probability, sampling.xtc_threshold
    return [L.llama_sampler_init_xtc(probability, threshold, MIN_KEEP, _seed(sampling))]


def _temperature(window: _Window) -> list:
    sampling = window.sampling
    if not sampling.dynatemp_range:
        return [L.llama_sampler_init_temp(ctypes.c_float(sampling.temperature))]
    spread, exponent = sampling.dynatemp_range, sampling.dynatemp_exponent
    return [L.llama_sampler_init_temp_ext(sampling.temperature, spread, exponent)]


def _mirostat_stages(sampling: Sampling, n_vocab: int) -> list:
    """Mirostat does its own truncating, so nothing stands before it but the temperature."""
    seed, tau, eta = _seed(sampling), sampling.mirostat_tau, sampling.mirostat_eta
    temperature = L.llama_sampler_init_temp(ctypes.c_float(sampling.temperature))
    if sampling.mirostat == 2:
        return [temperature, L.llama_sampler_init_mirostat_v2(seed, tau, eta)]
    sieve = L.llama_sampler_init_min_p(ALMOST_ZERO, MIN_KEEP)
    return [temperature, sieve, L.llama_sampler_init_mirostat(n_vocab, seed, tau, eta, MIROSTAT_M)]


def _seed(sampling: Sampling) -> int:
    seed = sampling.seed if sampling.seed is not None else random.SystemRandom().getrandbits(32)
    return seed & 0xFFFFFFFF


# The names are those of llama-server's field `samplers`.
MAKERS: dict[str, Callable[[_Window], list]] = {
    "penalties": _penalties,
    "dry": _dry,
    "top_n_sigma": _top_n_sigma,
    "top_k": _top_k,
    "typ_p": _typ_p,
    "top_p": _top_p,
    "min_p": _min_p,
    "xtc": _xtc,
    "temperature": _temperature,
}
ALSO_GREEDY = ("penalties", "dry")  # stages that can change which token is the likeliest
