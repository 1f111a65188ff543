"""What is measured of models in memory: two that take turns, and whether the need was known before.

OffGrid only: llama-server holds one model, and says of none beforehand what it will take.
"""

import asyncio
import itertools
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import loadgen
from lab import SHORT_WORDS, Finding, Lab
from servers import OFFGRID, REPO, MeasurementFailed, Server, Settings, starting

EMBEDDING = Path("models/all-MiniLM-L6-v2.F16.gguf")
N_CTX = 4096  # of a model that is loaded and unloaded all the time
SETTINGS = {
    "context of 1,024 tokens": {"n_ctx": 1024},
    "of 4,096": {"n_ctx": 4096},
    "of 8,192": {"n_ctx": 8192},
    "of 4,096, q8_0": {"n_ctx": 4096, "kv_type": "q8_0"},
    "of 8,192, q4_0": {"n_ctx": 8192, "kv_type": "q4_0"},
    "of 4,096, batches of 128 tokens": {"n_ctx": 4096, "n_batch": 128},
}
N_TEXTS = 3  # at once; together they nearly fill the context: what was never written to has not been taken yet
WORDS_PER_CELL = 0.26  # of each of them
EMBEDDED_TEXT = "The quick brown fox jumps over the lazy dog. " * 12
PATIENCE_S = 60


def two_models(lab: Lab, _turn: int) -> Iterator[Finding]:
    """Requests to two models in a budget for one and a half of them: one after the other, then all at once."""
    with _twins(lab.settings.model) as folder:
        base = replace(lab.settings, n_ctx=N_CTX, offgrid_flags=("--cache-ram-mb", "0", "--preload", "false"))
        settings = [replace(base, model=folder / f"{name}.gguf") for name in ("one", "two")]
        with starting(OFFGRID, settings[0]) as server:
            server.wait_until_healthy()
            server.load([loadgen.Request("Hello!", 8, seed=1)], 1)
            [need_mb] = (model["reserved_mb"] for model in _loaded(server))
        budget_mb = int(1.5 * need_mb)
        flags = (*base.offgrid_flags, "--ram-budget-mb", budget_mb)
        with starting(OFFGRID, replace(settings[0], offgrid_flags=flags)) as server:
            server.wait_until_healthy()
            own_mb = server.pss_mb()
            targets = [replace(server.target, model=name) for name in ("one", "two")]
            requests = lab.requests("two models", 2 * lab.sizes.swaps, SHORT_WORDS, lab.sizes.brief_tokens)
            turns = list(zip(requests, itertools.cycle(targets), strict=False))
            for variant, found in (
                ("in turns", _in_turns(turns[: lab.sizes.swaps])),
                ("at once", asyncio.run(_at_once(turns[lab.sizes.swaps :]))),
            ):
                yield Finding(variant, OFFGRID, found | {"need_mb": need_mb, "budget_mb": budget_mb})
            for name in ("one", "two"):
                server.post("/v1/models/unload", {"model": name})
            _wait_until(lambda: server.n_children == 0)
            left = {"own_mb": round(own_mb, 1), "after_mb": round(server.pss_mb(), 1)}
            yield Finding("unloaded", OFFGRID, left)


@contextmanager
def _twins(model: Path) -> Iterator[Path]:
    """A folder with two copies of a model: links would be one file in memory."""
    with tempfile.TemporaryDirectory(prefix="offgrid-bench-") as folder:
        for name in ("one", "two"):
            shutil.copyfile(REPO / model, Path(folder) / f"{name}.gguf")
        yield Path(folder)


def _in_turns(turns: list[tuple[loadgen.Request, loadgen.Target]]) -> dict:
    began = time.perf_counter()
    answers = [asyncio.run(loadgen.run(target, [request], 1))[0] for request, target in turns]
    return _figures(answers, began)


async def _at_once(turns: list[tuple[loadgen.Request, loadgen.Target]]) -> dict:
    """Two clients of each model."""
    began = time.perf_counter()
    of_models: dict[loadgen.Target, list[loadgen.Request]] = {}
    for request, target in turns:
        of_models.setdefault(target, []).append(request)
    lists = await asyncio.gather(*(loadgen.run(target, asked, 2) for target, asked in of_models.items()))
    return _figures(list(itertools.chain(*lists)), began)


def _figures(answers: list[loadgen.Answer], began: float) -> dict:
    waits = sorted(answer.ttft_s for answer in answers)
    return {
        "requests": len(answers),
        "errors": sum(answer.error is not None for answer in answers),
        "wall_s": round(time.perf_counter() - began, 2),
        "ttft_s": round(waits[len(waits) // 2], 3),
        "ttft_max_s": round(waits[-1], 3),
    }


def estimates(lab: Lab, turn: int) -> Iterator[Finding]:
    """What a model was said to need before it was loaded, and what its process took with its context nearly full."""
    flags = ("--cache-ram-mb", "0", "--cache-disk-mb", "0", "--preload", "false")
    base = replace(lab.settings, offgrid_flags=flags)
    for variant, own in SETTINGS.items():
        settings = replace(base, **own)
        with starting(OFFGRID, settings) as server:
            server.wait_until_healthy()
            n_words = int(WORDS_PER_CELL * settings.n_ctx)
            server.ask(lab.requests(f"estimates {turn} {variant}", N_TEXTS, n_words, 1), N_TEXTS)
            yield Finding(variant, OFFGRID, _need(server, settings))
    settings = replace(base, model=EMBEDDING)
    with starting(OFFGRID, settings) as server:
        server.wait_until_healthy()
        server.post("/v1/embeddings", {"model": EMBEDDING.stem, "input": [EMBEDDED_TEXT] * 20})
        yield Finding("embedding model", OFFGRID, _need(server, settings))


def _need(server: Server, settings: Settings) -> dict:
    [entry] = [model for model in _loaded(server) if model["model_id"] == settings.model.stem]
    ratio = entry["reserved_mb"] / entry["used_mb"]
    return {"estimated_mb": entry["reserved_mb"], "used_mb": entry["used_mb"], "estimated_to_used": round(ratio, 3)}


def _loaded(server: Server) -> list[dict]:
    return server.get("/v1/cache/stats")["model_cache"]["cached_models"]


def _wait_until(condition) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise MeasurementFailed(f"something did not happen within {PATIENCE_S} s")
        time.sleep(0.05)
