"""Fixtures that many tests share, and the rule that nothing is skipped in silence."""

import os
import threading
from pathlib import Path

import pytest
import tiny_models
from running import CHAT, REPO, SIGNS_OF_LIFE, STARTERS, RunningServer
from scripted_server import WAIT_S, ScriptedServer

pytest.register_assert_rewrite("faults", "web_app")  # a check that fails there shows its values, as one in a test does


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """One server with the starter models for all tests that leave it as they found it."""
    assert (REPO / "models" / f"{CHAT}.gguf").exists(), "no starter models: run `make test`, or `make models` first"
    running = RunningServer(tmp_path_factory.mktemp("data"), *STARTERS)
    yield running
    assert running.stop() == 0


@pytest.fixture
def start_server(tmp_path):
    """Starts servers of a test's own: `start_server("--parallel", "2", env={…})`. They are stopped afterwards."""
    started = []

    def start(*flags: str, env: dict[str, str] | None = None) -> RunningServer:
        started.append(RunningServer(tmp_path / f"data{len(started)}", *flags, env=env))
        return started[-1]

    yield start
    for running in started:
        running.stop()


@pytest.fixture(scope="session")
def endless_models(tmp_path_factory) -> Path:
    """A folder with one chat model whose texts have no end before 16,384 tokens. Tests leave it as they found it."""
    folder = tmp_path_factory.mktemp("models")
    tiny_models.chat_model(folder / "tiny.gguf", n_ctx_train=16_384)
    return folder


@pytest.fixture
def tiny_server(start_server, endless_models) -> RunningServer:
    """A server that answers one client at a time, lets one more wait, and has its model loaded."""
    server = start_server("--models-dir", str(endless_models), "--parallel", "1", "--max-queue", "1", *SIGNS_OF_LIFE)
    server.chat("Hello!")
    return server


@pytest.fixture
def scripted(monkeypatch):
    """A server in this process that answers what the test puts into `scripted.answers`, and no setting besides."""
    monkeypatch.delenv("OFFGRID_HOST", raising=False)
    monkeypatch.delenv("OFFGRID_API_KEY", raising=False)
    server = ScriptedServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join(WAIT_S)
    server.server_close()


@pytest.fixture(scope="module")
def sdk(server):
    """The openai package as a client of `server`."""
    from openai_calls import client_of  # here, as importing openai takes half a second

    with client_of(server) as client:
        yield client


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """With NO_SKIPS=1, as CI sets it, a skipped test is a failed one; an expected failure is not a skip."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("NO_SKIPS"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and CI allows no skips: {report.longrepr}"
