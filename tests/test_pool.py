"""Several models in one memory budget: who is loaded, who leaves, who waits, and what is told to whom."""

import random
import threading

import pytest
from pool_bench import Sink, ask, busy, chat, loaded, make_catalog, running_pool
from running import wait_until

from offgrid.engine import pool as pool_module
from offgrid.engine.catalog import Catalog
from offgrid.errors import InsufficientMemory, Unavailable
from offgrid.procs import machine
from offgrid.procs.budget import Budget
from offgrid.sections import ModelSettings
from offgrid.types import Finish

pytestmark = pytest.mark.model  # many seconds: each test starts processes of its own


@pytest.fixture(scope="module")
def catalog(tmp_path_factory) -> Catalog:
    return make_catalog(tmp_path_factory.mktemp("models"))


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


@pytest.mark.model
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


@pytest.mark.parametrize(("machine_bytes", "is_kept"), [(1_000_000_000, False), (2_000_000_000, True)])
def test_prompts_are_kept_on_disk_only_where_the_machine_is_not_small(catalog, tmp_path, machine_bytes, is_kept):
    with running_pool(catalog, 1.5) as pool:
        pool.cache_dir = tmp_path
        pool.budget.machine_bytes = lambda: machine_bytes
        chat(pool, catalog, "one")
        [worker] = pool.workers
        assert ("cache_dir" in worker.settings) == is_kept


def test_an_embedding_model_that_does_not_fit_is_a_507(catalog):
    with running_pool(catalog, 0.5) as pool:
        sink = Sink()
        pool.submit(catalog.resolve("vectors"), None, sink)
        assert isinstance(sink.wait(), InsufficientMemory)
