"""Several models in one memory budget: who is loaded, who leaves, who waits, and what is told to whom.

The pool runs here, its workers are real processes with tiny models. A stream without end keeps a model busy.
"""

import os
import random
import signal
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
import tiny_models
from running import children_of, wait_until

from offgrid.config import EngineSettings, ModelSettings
from offgrid.engine import pool as pool_module
from offgrid.engine.catalog import Catalog
from offgrid.engine.load_plan import plan_load
from offgrid.engine.pool import Pool
from offgrid.errors import ApiError, InsufficientMemory, Unavailable
from offgrid.procs import machine
from offgrid.procs.budget import Budget
from offgrid.types import Delta, Finish, GenerateRequest, Loaded, Sampling

SETTINGS = {"ctx_size": 512, "parallel": 4, "cache_ram_mb": 0, "preload": False}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory) -> Catalog:
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("one", "two", "three")):
        tiny_models.chat_model(folder / f"{name}.gguf", seed=seed, n_ctx_train=16_384)
    tiny_models.embedding_model(folder / "vectors.gguf")
    (folder / "bad.gguf").write_bytes(
        (folder / "one.gguf").read_bytes().replace(b"</tool_call>", b"<|im_start|>", 1)  # aborts llama.cpp
    )
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
        else:
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


# --- who is loaded, who leaves ---


def test_models_that_fit_together_stay_loaded_together(catalog):
    with running_pool(catalog, 3.2) as pool:
        texts = [chat(pool, catalog, id) for id in ("one", "two", "three")]
        assert loaded(pool) == {"one", "two", "three"}
        pids = {worker.pid for worker in pool.workers}
        assert [chat(pool, catalog, id) for id in ("one", "two", "three")] == texts
        assert {worker.pid for worker in pool.workers} == pids


def test_the_idle_model_unused_for_longest_makes_room(catalog):
    with running_pool(catalog, 2.5) as pool:
        for id in ("one", "two", "one", "three"):
            chat(pool, catalog, id)
        assert loaded(pool) == {"one", "three"}


def test_a_busy_model_is_not_ended_for_another_but_an_idle_one_is(catalog):
    with running_pool(catalog, 2.5) as pool:
        chat(pool, catalog, "two")
        with busy(pool, catalog, "one") as stream:
            chat(pool, catalog, "three")
            assert loaded(pool) == {"one", "three"}
        assert stream.n_ends == 0


def test_a_request_without_room_waits_for_the_busy_model_and_is_answered(catalog):
    with running_pool(catalog, 1.5) as pool:
        with busy(pool, catalog, "one"):
            sink, _ = ask(pool, catalog, "two")
            assert loaded(pool) == {"one"}
        assert isinstance(sink.wait(), Finish)
        assert loaded(pool) == {"two"}


def test_a_client_that_leaves_while_it_waits_for_room_loads_nothing(catalog):
    with running_pool(catalog, 1.5) as pool:
        with busy(pool, catalog, "one"):
            _, job = ask(pool, catalog, "two")
            job.cancel()
            assert not pool._newcomers
        assert chat(pool, catalog, "one")
        assert loaded(pool) == {"one"}


def test_who_waits_too_long_is_told_to_come_back(catalog, monkeypatch):
    monkeypatch.setattr(pool_module, "PATIENCE_S", 0.05)
    with running_pool(catalog, 1.5) as pool, busy(pool, catalog, "one"):
        error = ask(pool, catalog, "two")[0].wait()
        assert isinstance(error, Unavailable)
        assert (error.code, error.headers["Retry-After"]) == ("model_loading", "10")
        assert "one" in error.message and "two" in error.message


def test_a_model_under_steady_load_lets_another_have_its_turn(catalog, monkeypatch):
    monkeypatch.setattr(pool_module, "TURN_S", 0.1)
    with running_pool(catalog, 1.5) as pool:
        is_over = threading.Event()
        answers = []

        def go_on_asking() -> None:
            while not is_over.is_set():
                answers.append(ask(pool, catalog, "one", 40)[0].wait())

        threads = [threading.Thread(target=go_on_asking) for _ in range(3)]
        for thread in threads:
            thread.start()
        wait_until(lambda: answers, 30)
        end = ask(pool, catalog, "two")[0].wait()
        is_over.set()
        for thread in threads:
            thread.join()
        assert isinstance(end, Finish), end
        assert all(isinstance(answer, Finish) for answer in answers)


def test_two_hundred_requests_on_a_budget_for_one_and_a_half_models_all_succeed(catalog):
    expected = {}
    with running_pool(catalog, 2.5) as pool:
        for id in ("one", "two"):
            expected[id] = chat(pool, catalog, id)
    with running_pool(catalog, 1.5) as pool:
        draw = random.Random(3)
        work = [id for pair in [("one", "two")] * 20 for id in pair] + [draw.choice(("one", "two")) for _ in range(160)]
        wrong, most_promised = [], []

        def go_on_asking() -> None:
            while work:
                try:
                    id = work.pop()
                except IndexError:
                    return
                sink, _ = ask(pool, catalog, id)
                end = sink.wait()
                most_promised.append(pool.budget.promised())
                if not isinstance(end, Finish) or sink.text != expected[id] or sink.n_ends != 1:
                    wrong.append((id, end, sink.text))

        threads = [threading.Thread(target=go_on_asking) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        assert max(most_promised) <= pool.budget.look().capacity
        assert len(most_promised) == 200


def test_the_memory_is_back_after_an_unload(catalog):
    with running_pool(catalog, 2.5) as pool:
        chat(pool, catalog, "one")
        [worker] = pool.workers
        assert machine.private_bytes(worker.pid) > 10_000_000
        assert pool.budget.promised("one") > 0
        assert pool.unload("one")
        wait_until(lambda: not pool.workers, 10)
        assert pool.budget.promised() == 0
        assert machine.resident_bytes(worker.pid) == 0
        assert not pool.unload("one")


def test_a_busy_model_is_not_unloaded_when_asked(catalog):
    with running_pool(catalog, 1.5) as pool, busy(pool, catalog, "one") as stream:
        with pytest.raises(Unavailable, match="busy"):
            pool.unload("one")
        assert stream.n_ends == 0


def test_a_pinned_model_never_leaves_until_it_is_unpinned(catalog):
    with running_pool(catalog, 1.5, {"one": ModelSettings(pinned=True)}) as pool:
        chat(pool, catalog, "one", keep_alive_s=0)
        assert loaded(pool) == {"one"}
        error = ask(pool, catalog, "two")[0].wait()
        assert isinstance(error, InsufficientMemory)
        pool.pin("one", is_pinned=False)
        assert chat(pool, catalog, "two")


# --- what cannot fit ---


def test_what_never_fits_is_a_507_with_the_numbers_and_what_would_fit(catalog):
    huge = {"one": ModelSettings(ctx_size=1_000_000)}
    with running_pool(catalog, 1, huge) as pool:
        pool.budget = Budget(150_000_000)
        error = ask(pool, catalog, "one")[0].wait()
        assert isinstance(error, InsufficientMemory)
        assert (error.status, error.code, error.headers["x-should-retry"]) == (507, "insufficient_memory", "false")
        fits = int(error.message.partition("ctx_size ")[2].split()[0])
        assert 512 <= fits < 1_000_000
        assert "150 MB" in error.message
    with running_pool(catalog, 1, {"one": ModelSettings(ctx_size=fits)}) as pool:
        pool.budget = Budget(150_000_000)
        assert chat(pool, catalog, "one")


def test_a_context_that_was_left_to_us_is_made_to_fit(catalog):
    with running_pool(catalog, 1, ctx_size=0) as pool:
        pool.budget = Budget(55_000_000)
        chat(pool, catalog, "one")
        [worker] = pool.workers
        assert 512 <= worker.facts["n_ctx"] < 16_384


def test_an_embedding_model_that_does_not_fit_is_a_507(catalog):
    with running_pool(catalog, 0.5) as pool:
        sink = Sink()
        pool.submit(catalog.resolve("vectors"), None, sink)
        assert isinstance(sink.wait(), InsufficientMemory)


# --- how long an idle model stays ---


def test_keep_alive_zero_unloads_right_after_the_answer(catalog):
    with running_pool(catalog, 2.5) as pool:
        chat(pool, catalog, "one", keep_alive_s=0)
        wait_until(lambda: not pool.workers, 10)
        assert chat(pool, catalog, "one")


def test_an_idle_model_leaves_when_its_time_is_over_and_not_while_it_is_busy(catalog):
    with running_pool(catalog, 2.5, keep_alive_s=0.2) as pool:
        with busy(pool, catalog, "one"):
            chat(pool, catalog, "two")
            wait_until(lambda: loaded(pool) == {"one"}, 10)
        wait_until(lambda: not pool.workers, 10)


def test_a_models_own_keep_alive_and_that_of_a_request_win(catalog):
    models = {"one": ModelSettings(keep_alive_s=-1)}
    with running_pool(catalog, 3.5, models, keep_alive_s=0.05) as pool:
        chat(pool, catalog, "one")
        chat(pool, catalog, "two", keep_alive_s=-1)
        chat(pool, catalog, "three")
        wait_until(lambda: loaded(pool) == {"one", "two"}, 10)
        wait_until(lambda: "pool:clock" not in [thread.name for thread in threading.enumerate()])


def test_nothing_runs_while_nothing_is_due(catalog):
    with running_pool(catalog, 2.5) as pool:
        chat(pool, catalog, "one")
        assert not pool._clock.is_set


# --- loading ---


def test_a_wish_to_load_ends_when_the_model_is_ready(catalog):
    with running_pool(catalog, 1.5) as pool:
        sink = Sink()
        pool.submit(catalog.resolve("one"), None, sink)
        assert sink.wait() == Loaded(n_ctx=512)
        assert [worker.is_ready for worker in pool.workers] == [True]
        again = Sink()
        pool.submit(catalog.resolve("one"), None, again)
        assert again.wait() == Loaded(n_ctx=512)


def test_progress_goes_up_to_ready_and_is_told_to_watchers(catalog):
    with running_pool(catalog, 1.5) as pool:
        news = []
        watcher = news.append
        pool.board.watch(watcher)
        assert news.pop().phase == "idle"
        chat(pool, catalog, "one")
        assert news[0].phase == "starting"
        assert {p.phase for p in news[1:-1]} == {"loading"}
        assert (news[-1].phase, news[-1].progress, news[-1].model_id) == ("ready", 100, "one")
        assert [p.progress for p in news] == sorted(p.progress for p in news)
        assert not news[-1].is_warm
        pool.board.unwatch(watcher)
        pool.unload("one")
        wait_until(lambda: not pool.workers, 10)
        chat(pool, catalog, "one")
        latest = pool.board.latest()
        assert (latest.phase, latest.is_warm) == ("ready", True)
        assert latest.estimated_ms > 0


def test_a_crash_while_loading_is_one_error_for_each_and_told_as_progress(catalog):
    with running_pool(catalog, 1.5) as pool:
        sinks = [ask(pool, catalog, "bad")[0] for _ in range(3)]
        for sink in sinks:
            error = sink.wait()
            assert isinstance(error, ApiError)
            assert error.code == "engine_crashed"
        wait_until(lambda: pool.board.latest("bad").phase == "failed")
        assert "bad" in pool.board.latest("bad").error
        wait_until(lambda: pool.budget.promised() == 0)
        assert [sink.n_ends for sink in sinks] == [1, 1, 1]


def test_a_setting_this_build_cannot_follow_is_an_error_that_names_it(catalog):
    for field, value in (("gpu_layers", 5), ("rpc_servers", ("127.0.0.1:50052",))):
        with running_pool(catalog, 1.5, {"one": ModelSettings(**{field: value})}) as pool:
            error = ask(pool, catalog, "one")[0].wait()
            assert error.code == "model_load_failed"
            assert field in error.message


def test_stopping_tells_those_who_wait_for_room_at_once(catalog):
    with running_pool(catalog, 1.5) as pool:
        with busy(pool, catalog, "one"):
            sink, _ = ask(pool, catalog, "two")
            stopping = threading.Thread(target=pool.stop, args=(30,))
            stopping.start()
            assert sink.wait().code == "server_stopping"
        stopping.join()


def dry_runs() -> list[int]:
    """Process ids of the dry runs of this process."""
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_text() for pid in children_of(os.getpid())}
    return [pid for pid, command in commands.items() if "_measure" in command]


def test_stopping_ends_a_dry_run_that_hangs(catalog):
    with running_pool(catalog, 1.2) as pool:
        sink, _ = ask(pool, catalog, "one")
        [child] = wait_until(dry_runs)
        os.kill(child, signal.SIGSTOP)
        pool.stop(0)
        assert sink.wait().code == "server_stopping"
        assert not dry_runs()
        assert not [t for t in threading.enumerate() if t.name.startswith("measure:")]
