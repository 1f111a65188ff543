"""schemathesis walks over /openapi.json of a real server: nothing fails, nothing is answered that is not said there.

The same walk each time (`schemathesis.toml`), over two tiny models whose answers end soon.
"""

import os
import re
import subprocess
import sys

import pytest
import tiny_models
from running import REPO, RunningServer

from offgrid.api.routes import ROUTES

TESTS = REPO / "tests"
ADMIN = "open-sesame"


def walk(server: RunningServer, *options: str) -> subprocess.CompletedProcess:
    config = ["--config-file", str(TESTS / "schemathesis.toml")]
    command = [sys.executable, "-m", "schemathesis.cli", *config, "run", f"{server.url}/openapi.json"]
    env = {**os.environ, "SCHEMATHESIS_HOOKS": "schemathesis_checks", "PYTHONPATH": str(TESTS)}
    asked = ["--continue-on-failure", "--warnings", "off", "--no-color", *options]
    return subprocess.run([*command, *asked], env=env, capture_output=True, text=True, cwd=server.data_dir)


@pytest.fixture
def models(tmp_path):
    (tmp_path / "models").mkdir()
    tiny_models.chat_model(tmp_path / "models" / "tiny.gguf", eos_bias=5, n_ctx_train=512)
    tiny_models.embedding_model(tmp_path / "models" / "embed.gguf")
    return tmp_path / "models"


@pytest.mark.timeout(1800)  # of the full tier; the model tier needs half a minute
@pytest.mark.parametrize(
    "phases",
    [
        pytest.param("examples,fuzzing", marks=pytest.mark.model),
        pytest.param("coverage", marks=pytest.mark.full),  # each bound of each field: some 16,000 requests
    ],
)
def test_no_answer_fails_or_is_another_than_the_document_says(start_server, models, phases):
    nothing_to_start = ("--mcp-commands", "")  # or made-up command lines would be run here
    server = start_server("--models-dir", str(models), "--log-level", "warning", *nothing_to_start)
    for model in ("tiny", "embed"):  # or each keep_alive of 0 would have it loaded again
        assert server.request("/v1/models/pin", {"model": model})[0] == 200
    done = walk(server, "--phases", phases)
    assert done.returncode == 0, done.stdout
    n_tested = int(re.search(r"Tested: ([0-9]+)", done.stdout)[1])
    assert n_tested >= len(ROUTES) - 1  # it leaves out one by itself
    assert server.request("/health")[0] == 200


@pytest.mark.model
@pytest.mark.timeout(300)
def test_with_accounts_an_admin_is_answered_as_the_document_says(start_server, models):
    people = {"OFFGRID_MULTI_USER": "true", "OFFGRID_ADMIN_PASSWORD": ADMIN}
    server = start_server("--models-dir", str(models), "--log-level", "warning", env=people)
    _, _, login = server.request("/v1/auth/login", {"username": "admin", "password": ADMIN})
    key = ("-H", f"Authorization: Bearer {login['token']}")
    done = walk(server, *key, "--include-path-regex", "^(/v1/users|/v1/auth|/api/)", "--exclude-path-regex", "password")
    assert done.returncode == 0, done.stdout
