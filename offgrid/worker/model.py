"""One loaded GGUF and its context: load, tokenize, decode, forget. All that touches llama.cpp's memory is here.

Everything but `tokenize`, `piece`, `shown_piece` and `abort` belongs to one thread. Values reach ctypes only after they
were checked: a token id, sequence id or row out of range would end the process.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from offgrid.types import Sampling
from offgrid.worker import library
from offgrid.worker.kv_cache import Bytes
from offgrid.worker.library import L
from offgrid.worker.sampling import Candidates, Form, Sampler
from offgrid.worker.scheduler import Chunk
from offgrid.worker.scores import Score, log_probabilities

KV_TYPES = {"f16": 1, "q8_0": 8, "q4_0": 2}  # ggml_type
FLASH_ATTENTION = {"auto": -1, "off": 0, "on": 1}
CONTROL_ATTRIBUTES = 1 | 8  # of llama_token_attr: unknown, control
ABORTED = 2  # llama_decode's answer when the abort callback said stop


class LoadFailed(Exception):
    """The file or the context could not be loaded; the message is llama.cpp's own reason."""


class DecodeFailed(Exception):
    """llama_decode refused or failed: a mistake of ours or too little memory. The worker cannot go on."""


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """What a worker needs to load its model; sent by the router as the first frame."""

    path: str
    kind: str  # "chat" or "embedding"
    n_ctx: int  # cells of the unified KV cache
    n_parallel: int  # sequences at once
    n_threads: int
    n_batch: int
    kv_type: str = "f16"
    flash_attention: str = "auto"
    load_mode: int = 1
    step_target_ms: float = 120
    hot_cells: int = 1024  # idle cells that cached prefixes may hold
    warm_bytes: int = 0  # host memory for saved prefixes
    cache_dir: str = ""  # where prefixes are kept that survive a restart
    cold_bytes: int = 0  # their files together; 0: none
    chat_template: str | None = None  # instead of the one in the file
    speculation: str = "auto"  # or "off"
    strip_accents: bool = False  # texts reach the tokenizer without accents: see `text.without_accents`
    n_gpu_layers: int = 0
    rpc_servers: tuple[str, ...] = ()  # host:port


class Model:
    def __init__(
        self,
        settings: ModelSettings,
        *,
        n_seq_max: int,
        embeddings: bool = False,
        on_progress: Callable[[float], None] = lambda fraction: None,
    ):
        """Load the file and make a context for `n_seq_max` sequences. Raises LoadFailed.

        `on_progress` is called with the loaded part (0 to 1), once for each tensor.
        """
        self.settings = settings
        self._load_weights(settings, on_progress)
        self.vocab = L.llama_model_get_vocab(self.model)
        self.n_vocab = L.llama_vocab_n_tokens(self.vocab)
        self.n_ctx_train = L.llama_model_n_ctx_train(self.model)
        self.n_embd = L.llama_model_n_embd_out(self.model)
        self.n_batch = settings.n_batch
        self._make_context(settings, n_seq_max, embeddings)
        self.n_ctx = L.llama_n_ctx(self.ctx)
        self.memory = L.llama_get_memory(self.ctx)  # None for encoders, which keep none; memory calls on it do nothing
        # A recurrent state is of one point in the text: it cannot be cut or shared in part.
        self.is_whole = bool(L.llama_model_is_recurrent(self.model) or L.llama_model_is_hybrid(self.model))
        self.n_window = L.llama_model_n_swa(
            self.model
        )  # tokens that layers with a sliding window see; 0: none have one
        self.eog_tokens = [t for t in range(self.n_vocab) if L.llama_vocab_is_eog(self.vocab, t)]
        self._is_eog = frozenset(self.eog_tokens)
        self._pieces: dict[int, bytes] = {}
        self._batch = _Batch(self.n_batch, self.n_outputs_max, self.n_ctx, flag_all=embeddings)

    def _load_weights(self, settings: ModelSettings, on_progress: Callable[[float], None]) -> None:
        _find_devices(settings)

        @L.llama_progress_callback
        def progress(fraction, _user_data):
            on_progress(fraction)
            return True

        params = library.set_fields(
            L.llama_model_default_params(),
            load_mode=settings.load_mode,
            n_gpu_layers=settings.n_gpu_layers,
            progress_callback=progress,
        )
        if settings.strip_accents:
            library.override_false(params, b"tokenizer.ggml.normalizer.strip_accents")
        self.model = L.llama_model_load_from_file(settings.path.encode(), params)
        if not self.model:
            raise LoadFailed("llama.cpp cannot load the file: " + _reason())

    def _make_context(self, settings: ModelSettings, n_seq_max: int, embeddings: bool) -> None:
        params = context_params(
            n_ctx=settings.n_ctx,
            n_batch=settings.n_batch,
            n_seq_max=n_seq_max,
            n_threads=settings.n_threads,
            kv_type=settings.kv_type,
            flash_attention=settings.flash_attention,
            embeddings=embeddings,
        )
        self.n_outputs_max = params.n_outputs_max  # rows with logits in a step
        self.ctx = L.llama_init_from_model(self.model, params)
        if not self.ctx:
            raise LoadFailed(f"llama.cpp cannot make a context of {settings.n_ctx} tokens: {_reason()}")
        # llama.cpp asks after every graph node whether to stop. A Python callback would take the GIL 515 times a
        # step; strlen over a buffer is a C function that answers 0 or 1 and needs none.
        self._abort_flag = ctypes.create_string_buffer(2)
        self._strlen = ctypes.cast(ctypes.CDLL(None).strlen, L.ggml_abort_callback)
        L.llama_set_abort_callback(self.ctx, self._strlen, ctypes.addressof(self._abort_flag))

    # --- text ---

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """Token ids of `text`. Thread safe. `add_special`: BOS and the like, as the vocabulary wants them."""
        data = text.encode("utf-8", "replace")
        n_max = len(data) + 8
        tokens = (ctypes.c_int32 * n_max)()
        n = L.llama_tokenize(self.vocab, data, len(data), tokens, n_max, add_special, parse_special)
        if n < 0:  # more tokens than bytes: it says how many
            tokens = (ctypes.c_int32 * -n)()
            n = L.llama_tokenize(self.vocab, data, len(data), tokens, -n, add_special, parse_special)
        return tokens[:n]

    def piece(self, token: int) -> bytes:
        """The bytes a token prints as; control tokens print nothing."""
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = self._token_bytes(token, special=False)
        return piece

    def shown_piece(self, token: int) -> bytes:
        """The same for lists of tokens: control tokens by their names."""
        return self.piece(token) or self._token_bytes(token, special=True)

    @cached_property
    def control_tokens(self) -> dict[int, str]:
        """The tokens that print nothing, by name; 0.4 µs for each token of the vocabulary, once."""
        tokens = range(self.n_vocab)
        return {t: self.token_text(t) for t in tokens if L.llama_vocab_get_attr(self.vocab, t) & CONTROL_ATTRIBUTES}

    @cached_property
    def candidates(self) -> Candidates:
        return Candidates(self.n_vocab)

    def token_text(self, token: int) -> str:
        """How the vocabulary spells a token, control tokens included; "" for the id -1, which means there is none."""
        return self._token_bytes(token, special=True).decode("utf-8", "replace") if 0 <= token < self.n_vocab else ""

    def _token_bytes(self, token: int, *, special: bool) -> bytes:
        buffer = ctypes.create_string_buffer(256)
        n = L.llama_token_to_piece(self.vocab, token, buffer, len(buffer), 0, special)
        if n < 0:
            buffer = ctypes.create_string_buffer(-n)
            n = L.llama_token_to_piece(self.vocab, token, buffer, len(buffer), 0, special)
        return buffer.raw[:n]

    def is_eog(self, token: int) -> bool:
        return token in self._is_eog

    # --- computing ---

    def sampler(self, sampling: Sampling, prompt: list[int], n_max: int, form: Form | None = None) -> Sampler:
        """Thread safe. Raises Refused: the grammar or a bias is not one for this model."""
        return Sampler(sampling, self, prompt, n_max, form)

    def decode(self, chunks: list[Chunk]) -> list[int] | None:
        """Compute all chunks in one step.

        Returns, for each chunk, the row of its last token (its logits are there if it `needs_logits`; the rows of its
        draft follow), or None when `abort` cut the step short; the memory is then as it was before. Raises
        DecodeFailed.
        """
        batch, rows = self._batch.fill(chunks)
        self._abort_flag[0] = b"\0"
        result = L.llama_decode(self.ctx, batch)
        if result == ABORTED:
            for chunk in chunks:
                self.forget(chunk.sequence.slot, chunk.sequence.n_computed)
            return None
        if result != 0:
            raise DecodeFailed(f"llama_decode answered {result} to a step of {batch.n_tokens} tokens")
        return rows

    def sample(self, sampler: Sampler, row: int) -> int:
        """Raises Refused."""
        return sampler.sample(self.ctx, row)

    def score(self, row: int, token: int, n_top: int) -> Score:
        """How likely the model held `token`, and the `n_top` likeliest ones, before sampling changed anything."""
        logits = np.ctypeslib.as_array(L.llama_get_logits_ith(self.ctx, row), (self.n_vocab,))
        logprob, top = log_probabilities(logits, token, n_top)
        return Score(logprob, tuple((self.shown_piece(t), p) for t, p in top))

    # --- memory: called through `kv_cache.KvCache`, which keeps the books ---

    def forget(self, id: int, n_keep: int = 0) -> None:
        """Drop the cells of a sequence from position `n_keep` on."""
        L.llama_memory_seq_rm(self.memory, id, n_keep, -1)

    def copy(self, source: int, target: int, start: int, end: int) -> None:
        """Let `target`, empty from there on, share the cells of `source` in positions `start` to `end`."""
        if self.is_whole:  # of a hybrid model a range would take a part of one half and the whole of the other
            start, end = 0, -1
        L.llama_memory_seq_cp(self.memory, source, target, start, end)

    def can_cut(self, id: int, n: int) -> bool:
        """Whether the first `n` tokens of a sequence are there to be gone on from."""
        last = L.llama_memory_seq_pos_max(self.memory, id)
        if self.is_whole:
            return n == last + 1
        # Layers with a sliding window may have given up cells that the whole sequence no longer sees.
        first = L.llama_memory_seq_pos_min(self.memory, id)
        return n <= last + 1 and first <= max(0, n - self.n_window)

    def shortest_cut(self, n: int) -> int:
        """The shortest beginning that a saved state of `n` tokens can be cut to: states hold no cells outside of the
        window of their last token."""
        return n if self.is_whole or 0 < self.n_window < n else 0

    def state_bytes(self, id: int) -> int:
        return L.llama_state_seq_get_size(self.ctx, id)

    def save(self, id: int) -> np.ndarray:
        """The state of a sequence  # (n_bytes,) uint8; only of ids that can be computed on can it be restored"""
        state = np.empty(self.state_bytes(id), np.uint8)
        n = L.llama_state_seq_get_data(self.ctx, _bytes_of(state), len(state), id)
        return state[:n]

    def restore(self, id: int, state: Bytes) -> bool:
        """Put a saved state into a sequence; False, and the sequence empty, when llama.cpp does not take it."""
        array = np.frombuffer(state, np.uint8)
        if L.llama_state_seq_set_data(self.ctx, _bytes_of(array), len(array), id):
            return True
        self.forget(id)
        return False

    def abort(self) -> None:
        """Make the step that is being computed end at once. Any thread; without a step running it does nothing."""
        if not self.is_whole:  # half a step could not be taken out of such a memory again
            self._abort_flag[0] = b"x"

    def set_threads(self, n: int) -> None:
        L.llama_set_n_threads(self.ctx, n, n)


def context_params(
    *,
    n_ctx: int,
    n_batch: int,
    n_seq_max: int,
    n_threads: int,
    kv_type: str,
    flash_attention: str,
    embeddings: bool = False,
):
    """How every context here is made; `measure.py` must ask for the very same."""
    return library.set_fields(
        L.llama_context_default_params(),
        n_ctx=n_ctx,
        n_batch=n_batch,
        n_ubatch=n_batch,
        n_seq_max=n_seq_max,
        n_outputs_max=n_batch if embeddings else max(n_seq_max, 64),
        n_threads=n_threads,
        n_threads_batch=n_threads,
        flash_attn_type=FLASH_ATTENTION[flash_attention],
        type_k=KV_TYPES[kv_type],
        type_v=KV_TYPES[kv_type],
        embeddings=embeddings,
        kv_unified=True,
        swa_full=True,
        no_perf=True,
    )


class _Batch:
    """llama.cpp's batch arrays, written through numpy: 2 µs for 512 tokens where ctypes attributes take 283 µs."""

    def __init__(self, n_max: int, n_outputs_max: int, n_ctx: int, *, flag_all: bool):
        """`flag_all`: every row is an output, as pooling over a text wants it; else a complete chunk's last row and
        its draft. At most `n_outputs_max`: one more would end the process."""
        self._flag_all = flag_all
        self._n_outputs_max = n_outputs_max
        self._batch = L.llama_batch_init(n_max, 0, 1)
        self._token = np.ctypeslib.as_array(self._batch.token, (n_max,))  # (n_max,) int32, and so the others
        self._pos = np.ctypeslib.as_array(self._batch.pos, (n_max,))
        self._logits = np.ctypeslib.as_array(self._batch.logits, (n_max,))  # int8: 1 where logits are wanted
        np.ctypeslib.as_array(self._batch.n_seq_id, (n_max,))[:] = 1
        self._seq = np.zeros(n_max, np.int32)
        self._positions = np.arange(n_ctx + n_max, dtype=np.int32)
        for i in range(n_max):  # every entry points into our one flat array
            address = self._seq.ctypes.data + i * self._seq.itemsize
            self._batch.seq_id[i] = ctypes.cast(address, ctypes.POINTER(ctypes.c_int32))

    def fill(self, chunks: list[Chunk]):
        """(batch, row of each chunk's last token). The chunks together must not exceed n_max."""
        n, rows = 0, []
        assert sum(c.n_rows for c in chunks) <= len(self._seq), "a step is larger than the batch"
        for chunk in chunks:
            sequence, end = chunk.sequence, n + chunk.n_rows
            start, last = sequence.n_computed, n + chunk.n - 1
            self._token[n : last + 1] = sequence.tokens[start : start + chunk.n]
            self._token[last + 1 : end] = chunk.draft
            self._pos[n:end] = self._positions[start : start + chunk.n_rows]
            self._seq[n:end] = sequence.slot
            self._logits[n:last] = self._flag_all
            self._logits[last:end] = chunk.needs_logits
            rows.append(last)
            n = end
        assert self._logits[:n].sum() <= self._n_outputs_max, "a step has too many rows with logits"
        self._batch.n_tokens = n
        return self._batch, rows


def _find_devices(settings: ModelSettings) -> None:
    """Make the machines that are to compute known to llama.cpp. Raises LoadFailed: this build cannot do that."""
    if settings.rpc_servers:
        if not L.llama_supports_rpc():
            raise LoadFailed("rpc_servers is set, and this llama-cpp-python was built without RPC (GGML_RPC=ON)")
        for server in settings.rpc_servers:
            library.add_rpc_server(server)
    elif settings.n_gpu_layers and not L.llama_supports_gpu_offload():
        raise LoadFailed(
            f"gpu_layers is {settings.n_gpu_layers}, and this llama-cpp-python was built for the processor only: "
            "set it to 0, or install one that was built for your GPU"
        )


def _bytes_of(array: np.ndarray):
    return array.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))


def _reason() -> str:
    return library.last_errors[-1] if library.last_errors else "it gave no reason"
