"""Memory: what a model will need, and how large a KV cache follows from what there is.

Knows GGUF metadata, nothing of workers or of this machine. All figures are bytes unless they say otherwise. Estimates
err on the high side: a context that is a little too big meets the OOM killer, not an error. They are for a context in
full use; a fresh worker has not touched all of its scratch space yet.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from offgrid.engine.gguf import GgufInfo

# Bytes of one number in the KV cache; the quantised ones keep blocks of 32 with a scale.
# fmt: off
KV_BYTES = {
    "f32": 4, "f16": 2, "bf16": 2,
    "q8_0": 34 / 32, "q5_1": 24 / 32, "q5_0": 22 / 32, "q4_1": 20 / 32, "q4_0": 18 / 32, "iq4_nl": 18 / 32,
}
# fmt: on
CELLS_STEP = 256  # llama.cpp pads the cache to it
MIN_CELLS = 512
MAX_CELLS = 16_384
CELLS_PER_PERSON = 1024
MIN_LOGIT_ROWS = 64  # what a worker asks for when it has fewer sequences (worker/model.py)
# A worker that holds the smallest of models: Python, numpy, jinja2, llama.cpp's code. Measured: 42 to 46 MiB.
WORKER_BASE_BYTES = 44 << 20
VOCABULARY_BYTES = 200  # for each token, in llama.cpp's tables and ours. Measured: 150 to 220


@dataclass(frozen=True, slots=True)
class Estimate:
    weights: int  # mapped from the file, but needed in RAM to be quick
    kv: int  # zeroed when the context is made, so resident at once
    compute: int  # scratch space and logits
    process: int = 0  # the worker itself and the vocabulary

    @property
    def total(self) -> int:
        return self.weights + self.kv + self.compute + self.process


Estimator = Callable[[int, str], Estimate]  # (n_ctx, kv_type) → what a worker for one certain model will hold


def kv_bytes_per_token(info: GgufInfo, kv_type: str = "f16") -> int:
    """One cell of the KV cache: keys and values of all layers. 0 for models without a cache (BERT, Mamba).

    Raises ValueError for a `kv_type` that is not in KV_BYTES.
    """
    if kv_type not in KV_BYTES:
        raise ValueError(f"kv_type is {kv_type!r}; it can be {', '.join(KV_BYTES)}")
    if not info.is_causal:
        return 0
    return ceil(sum(info.n_head_kv) * (info.key_length + info.value_length) * KV_BYTES[kv_type])


def estimate_bytes(
    info: GgufInfo, n_ctx: int, kv_type: str, n_seq_max: int, n_ubatch: int = 512, *, has_flash_attention: bool = True
) -> Estimate:
    """What a worker with `n_ctx` cells for `n_seq_max` sequences will hold.

    `kv` is exact. `compute` was fitted to what llama.cpp logs: right for Llama shapes with flash attention (where the
    scratch space of the layers and that of the logits share one buffer) and for BERT.
    """
    wide = info.metadata.get(f"{info.architecture}.feed_forward_length")
    if isinstance(wide, list):  # one for each layer
        wide = max((n for n in wide if type(n) is int), default=None)
    if type(wide) is not int:
        wide = 4 * info.n_embd
    mask = 2 * n_ubatch * (n_ctx if info.is_causal else n_ubatch)
    if not has_flash_attention and info.is_causal:  # then the scores of all heads are laid out
        mask += 4 * n_ubatch * n_ctx * (info.n_embd // max(info.key_length, 1))
    activations = 4 * n_ubatch * (4 * info.n_embd + 3 * wide)
    if info.kind == "chat":
        rows, row = max(n_seq_max, MIN_LOGIT_ROWS), 4 * info.n_vocab
        compute = max(mask + activations, rows * row) + n_seq_max * row  # the last term: logits copied out to be read
    else:
        # llama.cpp keeps room for logits even where only vectors are wanted: 62 MB for MiniLM.
        compute = mask + activations // 2 + n_ubatch * 4 * (info.n_vocab + info.n_embd)
    return Estimate(
        weights=info.weight_bytes,
        kv=n_ctx * kv_bytes_per_token(info, kv_type) + n_seq_max * _recurrent_state_bytes(info),
        compute=compute,
        process=process_bytes(info),
    )


def process_bytes(info: GgufInfo) -> int:
    """What a worker holds besides what llama.cpp counts."""
    return WORKER_BASE_BYTES + VOCABULARY_BYTES * info.n_vocab


def largest_n_ctx(estimate: Estimator, most_bytes: int, kv_type: str, n_wanted: int) -> int:
    """The largest context of at most `n_wanted` cells with which a model needs no more than `most_bytes`; 0: none."""
    low, high = MIN_CELLS // CELLS_STEP - 1, n_wanted // CELLS_STEP  # in steps; `low` fits, or is none
    while low < high:
        middle = (low + high + 1) // 2
        if estimate(middle * CELLS_STEP, kv_type).total <= most_bytes:
            low = middle
        else:
            high = middle - 1
    return low * CELLS_STEP if low * CELLS_STEP >= MIN_CELLS else 0


def _recurrent_state_bytes(info: GgufInfo) -> int:
    """The state of one sequence in a Mamba-like or hybrid model: float32, and the same for any length."""

    def ssm(name: str) -> int:
        value = info.metadata.get(f"{info.architecture}.ssm.{name}")
        return value if type(value) is int else 0

    inner, state = ssm("inner_size"), ssm("state_size")
    convolution = max(ssm("conv_kernel") - 1, 0) * (inner + 2 * max(ssm("group_count"), 1) * state)
    n_layers = info.n_head_kv.count(0) or info.n_layer
    return 4 * n_layers * (convolution + inner * state) if inner else 0


def choose_n_ctx(
    info: GgufInfo, available: int, parallel: int, asked: int | None = None, *, kv_type: str = "f16"
) -> int:
    """How many cells the cache shared by `parallel` sequences gets, given `available` bytes before the model is loaded.

    What a person asked for is kept, rounded up to a multiple of 256. Otherwise it is the smallest of:
    - one full context, or 1024 tokens for everybody where that is more: 16 people chat at once on one pool;
    - a full context for everybody, beyond which no cell could be used;
    - 16384: the cache is zeroed at start (about 1 s a GB), and long pools slow every step on a small machine;
    - what a quarter of the available memory holds, and what the weights leave: the rest of a Raspberry Pi is for
      the weights, the other model, and the people's own programs.
    It is a multiple of 256 and at least 512, which may be more than fits: `estimate_bytes` tells.
    """
    if asked is not None:
        return max(ceil(asked / CELLS_STEP), 1) * CELLS_STEP
    n_ctx = min(max(info.n_ctx_train, CELLS_PER_PERSON * parallel), info.n_ctx_train * parallel, MAX_CELLS)
    cell = kv_bytes_per_token(info, kv_type)
    if cell:
        n_ctx = min(n_ctx, min(available // 4, available - info.weight_bytes) // cell)
    return max(n_ctx // CELLS_STEP * CELLS_STEP, MIN_CELLS)
