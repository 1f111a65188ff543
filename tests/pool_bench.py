"""A pool with real workers on tiny models, for tests: how much room it has, who asks it, what came of it."""

import os
import signal
import threading
from contextlib import contextmanager
from pathlib import Path

import tiny_models
from running import wait_until

from offgrid.engine.catalog import Catalog
from offgrid.engine.load_plan import plan_load
from offgrid.engine.pool import Pool
from offgrid.procs.budget import Budget
from offgrid.sections import EngineSettings
from offgrid.types import Begun, Delta, Finish, GenerateRequest, Sampling

SETTINGS = {"ctx_size": 512, "parallel": 4, "cache_ram_mb": 0, "preload": False}


def make_catalog(folder: Path) -> Catalog:
    """Three chat models "one", "two" and "three", "vectors" for embeddings, and "bad", which aborts llama.cpp."""
    for seed, name in enumerate(("one", "two", "three")):
        tiny_models.chat_model(folder / f"{name}.gguf", seed=seed, n_ctx_train=16_384)
    tiny_models.embedding_model(folder / "vectors.gguf")
    whole = (folder / "one.gguf").read_bytes()
    (folder / "bad.gguf").write_bytes(whole.replace(b"</tool_call>", b"<|im_start|>", 1))
    return Catalog([folder])


def need_of(catalog: Catalog, id: str, settings: EngineSettings) -> int:
    return plan_load(catalog.resolve(id), settings, 1 << 40, 1).need_bytes


@contextmanager
def running_pool(catalog: Catalog, n_models: float, models: dict | None = None, **settings):
    """A pool with room for `n_models` of the chat models."""
    settings = EngineSettings(**SETTINGS | settings, models=models or {})
    budget = Budget(int(n_models * need_of(catalog, "one", settings)))
    pool = Pool(settings, budget, lambda model_id, line: None)
    try:
        yield pool
    finally:
        pool.stop(0)


class Sink:
    """Collects the events of one request."""

    def __init__(self):
        self.text = ""
        self.end = None
        self.n_ends = 0
        self.has_ended = threading.Event()

    def __call__(self, event) -> None:
        if isinstance(event, Delta):
            self.text += event.text
        elif not isinstance(event, Begun):
            self.end = event
            self.n_ends += 1
            self.has_ended.set()

    def wait(self):
        assert self.has_ended.wait(60), "no end within a minute"
        return self.end


def request(id: str, n: int = 8) -> GenerateRequest:
    return GenerateRequest(id, prompt="Hello!", max_tokens=n, sampling=Sampling(temperature=0, ignore_eos=True))


def ask(pool: Pool, catalog: Catalog, id: str, n: int = 8, **fields):
    """(sink, job) of a text of `n` tokens."""
    sink = Sink()
    return sink, pool.submit(catalog.resolve(id), request(id, n), sink, **fields)


def chat(pool: Pool, catalog: Catalog, id: str, **fields) -> str:
    sink, _ = ask(pool, catalog, id, **fields)
    end = sink.wait()
    assert isinstance(end, Finish), end
    return sink.text


@contextmanager
def busy(pool: Pool, catalog: Catalog, id: str):
    """The model writes a text meanwhile that does not end by itself within a test."""
    sink, job = ask(pool, catalog, id, 480)
    with frozen_when(sink, pool, id):
        yield sink
    job.cancel()


@contextmanager
def frozen_when(sink: Sink, pool: Pool, id: str):
    wait_until(lambda: sink.text, 30)
    [pid] = [worker.pid for worker in pool.workers if worker.model_id == id]
    os.kill(pid, signal.SIGSTOP)  # what is written stays unfinished until the test goes on
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def loaded(pool: Pool) -> set[str]:
    return {worker.model_id for worker in pool.workers if not worker.is_leaving}
