"""Fixtures that many tests share, and the rule that nothing is skipped in silence."""

import os

import pytest
from running import CHAT, REPO, RunningServer


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """One server with the starter models for all tests that leave it as they found it."""
    assert (REPO / "models" / f"{CHAT}.gguf").exists(), "no starter models: run `make test`, or `make models` first"
    running = RunningServer(tmp_path_factory.mktemp("data"), "--models-dir", str(REPO / "models"))
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


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """With NO_SKIPS=1, as CI sets it, a skipped test is a failed one; an expected failure is not a skip."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("NO_SKIPS"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and CI allows no skips: {report.longrepr}"
