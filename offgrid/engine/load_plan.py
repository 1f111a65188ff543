"""What a model would be started with on this machine, and what it would need: decided before anything is started.

Settings of the model's own win over those for all models. A context that a person asked for is kept or refused, one
that was left to us is made to fit. Pure: reads neither the machine nor the model's file again.
"""

from dataclasses import dataclass, replace
from functools import partial

from offgrid.engine import memory
from offgrid.engine.catalog import ModelFile
from offgrid.engine.memory import Estimate, Estimator
from offgrid.errors import InsufficientMemory
from offgrid.sections import EngineSettings

LOAD_MODES = {"auto": -1, "none": 0, "mmap": 1, "mlock": 2, "mmap+mlock": 3, "direct": 4}  # llama_load_mode
MAX_EMBED_BATCH = 2048  # tokens; the longest text that an embedding worker takes, if its model was trained for it
MAX_EMBED_TEXTS = 64  # sequences of one call (worker/embedder.py)


@dataclass(frozen=True, slots=True)
class LoadPlan:
    settings: dict  # the fields of `worker.model.ModelSettings`
    estimate: Estimate

    @property
    def n_ctx(self) -> int:
        return self.settings["n_ctx"]

    @property
    def need_bytes(self) -> int:
        """What is to be reserved; with the saved prompts and answers that the worker may come to keep."""
        return self.estimate.total + self.settings["warm_bytes"]

    def squeezed(self, room: int) -> "LoadPlan":
        """The same plan; if that makes it fit into `room`, with less memory for what was computed before."""
        left = room - self.estimate.total
        if not 0 <= left < self.settings["warm_bytes"]:
            return self
        return replace(self, settings=self.settings | {"warm_bytes": left})


def plan_load(
    model: ModelFile, settings: EngineSettings, most_bytes: int, n_threads: int, measured: Estimator | None = None
) -> LoadPlan:
    """How to start `model` where it may take `most_bytes`, by `measured` sizes if there are some, else by the formula.

    Raises InsufficientMemory, which says what would fit.
    """
    chosen = settings.for_model(model.id)
    if model.kind != "chat":
        return _plan_embedding(model, chosen, most_bytes, n_threads)
    kv_type, n_seq_max = chosen.kv_cache_type, chosen.parallel + 1  # and a scratch id
    estimate = measured or partial(_by_formula, model, n_seq_max, chosen.batch_size, chosen.flash_attention != "off")
    asked = chosen.ctx_size or None
    n_ctx = memory.choose_n_ctx(model.info, most_bytes, chosen.parallel, asked, kv_type=kv_type)
    if estimate(n_ctx, kv_type).total > most_bytes:
        fitting = 0 if asked else memory.largest_n_ctx(estimate, most_bytes, kv_type, n_ctx)
        if not fitting:
            raise _too_large(model, estimate, n_ctx, kv_type, most_bytes, is_flash_off=chosen.flash_attention == "off")
        n_ctx = fitting
    size = estimate(n_ctx, kv_type)
    warm_bytes = min(chosen.cache_ram_mb * 1_000_000, most_bytes // 8, most_bytes - size.total)
    n_batch = min(chosen.batch_size, n_ctx)
    worker = _worker_settings(model, chosen, n_threads, n_ctx=n_ctx, n_batch=n_batch, kv_type=kv_type)
    return LoadPlan(worker | {"warm_bytes": warm_bytes}, size)


def context_of(model: ModelFile, settings: EngineSettings) -> dict:
    """The arguments for `measure.dry_run`: the context the model would get if memory were no question."""
    chosen = settings.for_model(model.id)
    n_ctx = memory.choose_n_ctx(model.info, 1 << 62, chosen.parallel, chosen.ctx_size or None)
    return {
        "n_ctx": n_ctx,
        "n_seq_max": chosen.parallel + 1,
        "n_batch": chosen.batch_size,
        "flash_attention": chosen.flash_attention,
    }


def _plan_embedding(model: ModelFile, chosen: EngineSettings, most_bytes: int, n_threads: int) -> LoadPlan:
    n_batch = min(MAX_EMBED_BATCH, max(model.info.n_ctx_train, chosen.batch_size))
    size = memory.estimate_bytes(model.info, n_batch, "f16", MAX_EMBED_TEXTS, n_batch)
    if size.total > most_bytes:
        raise InsufficientMemory(f"{_needs(model, size, most_bytes)} Use a smaller model or quantisation.")
    worker = _worker_settings(model, chosen, n_threads, n_ctx=n_batch, n_batch=n_batch, kv_type="f16")
    return LoadPlan(worker | {"warm_bytes": 0}, size)


def _worker_settings(model: ModelFile, chosen: EngineSettings, n_threads: int, **sizes) -> dict:
    return {
        "path": str(model.path),
        "kind": model.kind,
        "n_parallel": chosen.parallel,
        "n_threads": chosen.threads or n_threads,
        "flash_attention": chosen.flash_attention,
        "load_mode": LOAD_MODES[chosen.load_mode],
        "speculation": chosen.speculation,
        "step_target_ms": chosen.step_target_ms,
        "hot_cells": chosen.cache_hot_tokens,
        "chat_template": own.chat_template if (own := chosen.models.get(model.id)) else None,
        "strip_accents": model.info.strips_accents,
        "n_gpu_layers": chosen.gpu_layers,
        "rpc_servers": list(chosen.rpc_servers),
        **sizes,
    }


def _by_formula(
    model: ModelFile, n_seq_max: int, n_batch: int, has_flash_attention: bool, n_ctx: int, kv_type: str
) -> Estimate:
    n_ubatch = min(n_batch, n_ctx)
    return memory.estimate_bytes(
        model.info, n_ctx, kv_type, n_seq_max, n_ubatch, has_flash_attention=has_flash_attention
    )


def _too_large(
    model: ModelFile, estimate: Estimator, n_ctx: int, kv_type: str, most_bytes: int, *, is_flash_off: bool
) -> InsufficientMemory:
    size = estimate(n_ctx, kv_type)
    kinds = [kv_type] if is_flash_off else list(dict.fromkeys([kv_type, "q8_0", "q4_0"]))  # the others need it
    fits = [(n, kind) for kind in kinds if (n := memory.largest_n_ctx(estimate, most_bytes, kind, n_ctx))]
    ways = [f"ctx_size {n} would" + ("" if kind == kv_type else f" with kv_cache_type {kind}") for n, kind in fits[:2]]
    hint = f"What would fit: {', or '.join(ways)}." if ways else "No context fits: use a smaller model or quantisation."
    return InsufficientMemory(f"{_needs(model, size, most_bytes, f'a context of {n_ctx} tokens in {kv_type}')} {hint}")


def _needs(model: ModelFile, size: Estimate, most_bytes: int, context: str = "") -> str:
    with_context = f", {context} {_mb(size.kv)} MB" if context else ""
    return (
        f"{model.id} needs {_mb(size.total)} MB (weights {_mb(size.weights)} MB{with_context}, "
        f"the rest {_mb(size.compute + size.process)} MB), and {_mb(most_bytes)} MB can be given to it here."
    )


def _mb(n_bytes: int) -> int:
    return max(round(n_bytes / 1e6), 0)
