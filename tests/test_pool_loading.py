"""How long an idle model stays, what is told of a loading, and what stopping does to those who wait."""

import os
import signal
import threading
from pathlib import Path

import pytest
from pool_bench import Sink, ask, busy, chat, loaded, make_catalog, running_pool
from running import children_of, wait_until

from offgrid.engine.catalog import Catalog
from offgrid.errors import ApiError
from offgrid.sections import ModelSettings
from offgrid.types import Loaded

pytestmark = pytest.mark.model  # many seconds: each test starts processes of its own


@pytest.fixture(scope="module")
def catalog(tmp_path_factory) -> Catalog:
    return make_catalog(tmp_path_factory.mktemp("models"))


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
