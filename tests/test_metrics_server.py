"""/metrics of a real server: what requests, hang-ups, crashes and a model's steps come to, as Prometheus reads it.

The models are tiny and their texts have no end; `tiny_server` answers one client at a time and lets one wait.
"""

import os
import signal
from pathlib import Path

import pytest
import tiny_models
from faults import ENDLESS, Stream, ask, frozen, worker_of
from prometheus_client.parser import text_string_to_metric_families
from promtool import promtool
from running import RunningServer, wait_until

from offgrid.api.metrics import FAMILIES

CHAT = {"method": "POST", "route": "/v1/chat/completions"}
TINY = {"model": "tiny"}


class Scrape:
    """One reading of /metrics."""

    def __init__(self, server: RunningServer, **headers: str):
        status, got, self.text = server.request("/metrics", headers=headers)
        assert status == 200
        assert got["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        self.families = {f.name: f for f in text_string_to_metric_families(self.text)}
        self._samples = {
            (s.name, frozenset(s.labels.items())): s.value for f in self.families.values() for s in f.samples
        }

    def __call__(self, name: str, **labels: str) -> float | None:
        """The value of one series; None when it is not there."""
        return self._samples.get((name, frozenset(labels.items())))

    def series(self, name: str) -> list[dict]:
        return [dict(labels) for n, labels in self._samples if n == name]


def test_both_parsers_take_what_a_used_server_says(tiny_server):
    tiny_server.chat("Hello!")
    Stream(tiny_server.port, max_tokens=5).events()
    tiny_server.request("/nowhere")
    tiny_server.request("/v1/models/missing")
    tiny_server.request("/v1/chat/completions", {"messages": "none"})
    stream = Stream(tiny_server.port, **ENDLESS)
    stream.event()
    stream.hang_up()
    wait_until(lambda: Scrape(tiny_server)("offgrid_requests_total", **CHAT, status="499"))

    scrape = Scrape(tiny_server)
    assert promtool("check", "metrics", stdin=scrape.text) == ""
    assert "help" in promtool("check", "metrics", stdin="# TYPE a_total counter\na_total 1\n")  # it would say so
    declared = {family.name.removesuffix("_total") if family.kind == "counter" else family.name for family in FAMILIES}
    assert scrape.families.keys() <= declared
    # Not yet there to count.
    missing = {"offgrid_model_load_failures", "offgrid_requests_awaiting_model"}
    assert declared - scrape.families.keys() == missing


def test_requests_are_counted_by_template_method_and_status(tiny_server):
    tiny_server.request("/v1/models/tiny")
    tiny_server.request("/v1/models/a/b")
    tiny_server.request("/secret/path?token=1")
    tiny_server.request("/health", method="BREW")
    scrape = Scrape(tiny_server)
    model = {"method": "GET", "route": "/v1/models/{id:path}"}
    assert scrape("offgrid_requests_total", **model, status="200") == 1
    assert scrape("offgrid_requests_total", **model, status="404") == 1
    assert scrape("offgrid_requests_total", method="GET", route="none", status="404") == 1
    assert scrape("offgrid_requests_total", method="other", route="none", status="405") == 1
    assert scrape("offgrid_request_duration_seconds_count", **model) == 2
    assert scrape("offgrid_errors_total", status="404", code="model_not_found") == 1
    assert "secret" not in scrape.text and "BREW" not in scrape.text


def test_tokens_and_times_are_counted_for_each_model(tiny_server):
    before = Scrape(tiny_server)
    answers = [tiny_server.chat("Hello again!", max_tokens=n) for n in (7, 12)]
    prompt, cached = (sum(answer["timings"][key] for answer in answers) for key in ("prompt_n", "cache_n"))
    after = wait_for_rest(tiny_server)

    def grown(name: str, **labels: str) -> float:
        return after(name, **TINY, **labels) - before(name, **TINY, **labels)

    assert grown("offgrid_tokens_output_total") == 19
    assert grown("offgrid_tokens_input_total") == prompt + cached
    assert grown("offgrid_tokens_cached_total") == cached > 0
    assert grown("offgrid_tokens_drafted_total") >= grown("offgrid_tokens_accepted_total")
    assert grown("offgrid_model_request_duration_seconds_count", service="chat") == 2
    for name in ("time_to_first_token", "time_per_output_token", "queue"):
        assert grown(f"offgrid_{name}_seconds_count") == 2
    queued_s = sum(answer["timings"]["queued_ms"] for answer in answers) / 1e3
    assert grown("offgrid_queue_seconds_sum") == pytest.approx(queued_s, abs=1e-5)
    assert grown("offgrid_time_to_first_token_seconds_sum") > queued_s


def wait_for_rest(server: RunningServer, **labels: str) -> Scrape:
    """A reading after the model's process has told that it has nothing to do."""
    labels = labels or TINY

    def at_rest() -> Scrape | None:
        scrape = Scrape(server)
        return scrape if scrape("offgrid_sequences_running", **labels) == 0 else None

    return wait_until(at_rest)


def test_cells_and_the_width_of_steps_are_told(start_server, endless_models):
    server = start_server("--models-dir", str(endless_models), "--parallel", "4")
    streams = [Stream(server.port, f"Number {i}", **ENDLESS) for i in range(3)]
    for stream in streams:
        stream.event()
    busy = wait_until(lambda: s if (s := Scrape(server))("offgrid_sequences_running", **TINY) == 3 else None)
    assert 0 < busy("offgrid_kv_cells_used", **TINY) <= busy("offgrid_kv_cells", **TINY) == 16_384
    assert busy("offgrid_requests_in_flight") == 4  # and the reading itself
    for stream in streams:
        stream.hang_up()
    rest = wait_for_rest(server)
    assert rest("offgrid_batch_sequences_bucket", **TINY, le="2") < rest(
        "offgrid_batch_sequences_bucket", **TINY, le="4"
    )
    assert rest("offgrid_batch_sequences_bucket", **TINY, le="4") == rest("offgrid_batch_sequences_count", **TINY)
    assert rest("offgrid_computing_seconds_total", **TINY) > 0
    assert rest("offgrid_kv_cells_used", **TINY) == rest("offgrid_kv_cells_cached", **TINY)
    assert rest("offgrid_prompt_cache_memory_bytes", **TINY) > 0


def test_refusals_count_with_their_code(tiny_server):
    with frozen(worker_of(tiny_server)):
        waiting = [Stream(tiny_server.port), Stream(tiny_server.port)]
        assert ask(tiny_server)[0] == 503
        scrape = Scrape(tiny_server)
        assert scrape("offgrid_errors_total", status="503", code="server_busy") == 1
        assert scrape("offgrid_requests_in_flight") == 3
        for stream in waiting:
            stream.hang_up()
        wait_until(lambda: Scrape(tiny_server)("offgrid_requests_total", **CHAT, status="499") == 2)


def test_what_never_became_a_request_counts_as_an_error(tiny_server):
    tiny_server.request("/health", headers={"X-Large": "x" * 70_000})
    assert sum(s["status"] == "431" for s in Scrape(tiny_server).series("offgrid_errors_total")) == 1


def test_a_crash_in_mid_stream_counts_as_a_crash_and_an_error_and_then_as_a_restart(tiny_server):
    stream = Stream(tiny_server.port, **ENDLESS)
    stream.event()
    os.kill(worker_of(tiny_server), signal.SIGKILL)
    stream.events()
    crashed = wait_until(lambda: s if (s := Scrape(tiny_server))("offgrid_requests_in_flight") == 1 else None)
    assert crashed("offgrid_errors_total", status="500", code="engine_crashed") == 1
    assert crashed("offgrid_worker_crashes_total", **TINY) == 1
    assert crashed("offgrid_worker_restarts_total", **TINY) == 0
    assert crashed("offgrid_worker_threads", **TINY) is None
    tiny_server.chat("Hello!")
    again = wait_for_rest(tiny_server)
    assert (again("offgrid_worker_starts_total", **TINY), again("offgrid_worker_restarts_total", **TINY)) == (2, 1)
    assert again("offgrid_model_load_seconds_count", **TINY) == 2
    # Goes on where the dead process stopped, if that ever came to say how many steps it had made.
    n_steps = crashed("offgrid_batch_sequences_count", **TINY) or 0
    wait_until(lambda: Scrape(tiny_server)("offgrid_batch_sequences_count", **TINY) > n_steps)


def test_an_unload_is_no_crash(tiny_server):
    assert tiny_server.request("/v1/models/unload", {"model": "tiny"})[0] == 200
    wait_until(lambda: not tiny_server.children())
    scrape = Scrape(tiny_server)
    assert scrape("offgrid_worker_crashes_total", **TINY) == 0
    assert scrape("offgrid_model_loaded", **TINY) is None


def test_a_model_that_cannot_be_loaded_counts_as_such(start_server, tmp_path):
    path = tiny_models.chat_model(tmp_path / "bad.gguf")
    n_blocks = b"llama.block_count" + (4).to_bytes(4, "little")  # its type, uint32; then the number
    path.write_bytes(path.read_bytes().replace(n_blocks + b"\2", n_blocks + b"\3"))
    server = start_server("--models-dir", str(tmp_path), "--preload", "false")
    assert ask(server)[2]["error"]["code"] == "model_load_failed"
    scrape = Scrape(server)
    assert scrape("offgrid_model_load_failures_total", model="bad") == 1
    assert scrape("offgrid_worker_crashes_total", model="bad") == 0


def test_a_process_that_stands_still_does_not_hold_up_a_reading(tiny_server):
    pid = worker_of(tiny_server)
    with frozen(pid):
        scrape = Scrape(tiny_server)
    assert scrape("offgrid_worker_resident_memory_bytes", **TINY) > 1e6


def test_the_figures_of_the_processes_are_those_of_the_kernel(tiny_server):
    wait_for_rest(tiny_server)
    scrape = Scrape(tiny_server)
    for pid, prefix, labels in (
        (tiny_server.process.pid, "process_", {}),
        (worker_of(tiny_server), "offgrid_worker_", TINY),
    ):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        status = dict(line.split(":", 1) for line in lines)
        kernel = int(status["VmRSS"].split()[0]) * 1024
        assert scrape(f"{prefix}resident_memory_bytes", **labels) == pytest.approx(kernel, rel=0.2)
        assert 0 < scrape(f"{prefix}proportional_memory_bytes", **labels) <= 1.2 * kernel
        assert scrape(f"{prefix}open_fds", **labels) == pytest.approx(len(os.listdir(f"/proc/{pid}/fd")), abs=3)
        assert scrape(f"{prefix}cpu_seconds_total", **labels) > 0
    database = tiny_server.data_dir / "offgrid.db"
    assert scrape("offgrid_database_bytes") >= database.stat().st_size > 0


def test_metrics_want_the_key_of_a_server_that_has_one(start_server):
    server = start_server("--api-key", "secret")
    assert server.request("/metrics")[0] == 401
    assert (
        Scrape(server, Authorization="Bearer secret")("offgrid_errors_total", status="401", code="missing_api_key") == 1
    )
