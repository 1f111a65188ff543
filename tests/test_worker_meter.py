"""What a worker tells of its own accord, and what the router makes of it."""

import pytest
from engine_bench import Bench, CollectingChannel

from offgrid.engine.meters import BATCH, CRASHES, LOAD_FAILURES, RESTARTS, STARTS, Meters
from offgrid.errors import ApiError, EngineCrashed, InternalError, Unavailable
from offgrid.worker import meter as meter_module
from offgrid.worker.meter import Meter

IDLE = {"n_running": 0}
BUSY = {"n_running": 1}


def values(meters: Meters, family) -> dict:
    return next(seen for f, seen in meters.read() if f is family)


def test_every_step_is_told_once(monkeypatch):
    monkeypatch.setattr(meter_module, "INTERVAL_S", 0.0)
    bench = Bench(n_slots=3)
    for i in range(5):
        bench.submit(f"{i} Hello", max_tokens=4 + i)
    n_steps = 0
    while not bench.is_idle:
        bench.step()
        n_steps += 1
    told = [pair for report in bench.channel.reports for pair in report["steps"]]
    assert sum(n for _, n in told) == n_steps
    assert max(width for width, _ in told) == 3
    assert bench.channel.reports[0]["n_running"] == 3
    assert bench.channel.reports[0]["n_waiting"] == 2
    assert bench.channel.reports[-1]["n_running"] == bench.channel.reports[-1]["n_waiting"] == 0


@pytest.mark.parametrize("hot_cells", [0, 1024])
def test_the_cells_that_are_told_are_those_of_the_books(hot_cells):
    bench = Bench(hot_cells=hot_cells)
    bench.submit("Hello world! " * 5, max_tokens=50)
    for _ in range(20):
        bench.step()
    figures = bench.scheduler.figures()
    assert figures["n_used"] == bench.model.n_used > figures["n_idle"] == 0
    assert figures["n_cells"] == bench.model.n_ctx
    bench.run()
    figures = bench.scheduler.figures()
    assert figures["n_used"] == figures["n_idle"] == bench.model.n_used
    assert figures["warm_bytes"] == bench.cache.n_warm_bytes
    assert (figures["n_idle"] > 0, figures["warm_bytes"] > 0) == (hot_cells > 0, hot_cells == 0)


def test_nothing_new_is_not_told_and_a_second_must_pass(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(meter_module.time, "monotonic", lambda: now[0])
    channel = CollectingChannel()
    meter = Meter(channel)
    assert meter.is_due
    meter.report(IDLE)
    meter.report(IDLE)
    assert len(channel.reports) == 1
    meter.note_step(2, 0.25)
    meter.note_step(2, 0.5)
    assert not meter.is_due
    now[0] += 1
    assert meter.is_due
    meter.report(BUSY)
    meter.report(BUSY)
    meter.report(IDLE)
    assert channel.reports[1:] == [
        {"steps": [(2, 2)], "computing_s": 0.75, **BUSY},
        {"steps": [], "computing_s": 0.0, **IDLE},
    ]


def test_the_router_adds_up_what_several_processes_of_a_model_tell():
    meters = Meters()
    for _ in range(2):
        meters.stepped("a", [(1, 3), (4, 2)], 0.5)
    seen = values(meters, BATCH)["a",]
    assert (seen.count, seen.sum) == (10, 22)


@pytest.mark.parametrize(
    ("error", "family"),
    [
        (EngineCrashed("It ended."), CRASHES),
        (InternalError("It cannot be loaded.", code="model_load_failed"), LOAD_FAILURES),
        (Unavailable("The server is stopping."), None),
        (None, None),
    ],
)
def test_an_end_counts_as_what_it_was(error: ApiError | None, family):
    meters = Meters()
    meters.started("a")
    meters.ended("a", error)
    meters.started("a")
    for one in (CRASHES, LOAD_FAILURES):
        assert values(meters, one).get(("a",), 0) == (one is family)
    assert values(meters, STARTS)["a",] == 2
    assert values(meters, RESTARTS)["a",] == (family is CRASHES)
