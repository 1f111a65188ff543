"""Prometheus' own checker, as `make test-tools` fetches it."""

import shutil
import subprocess
from pathlib import Path

import pytest
from running import REPO


def promtool(*arguments: str, stdin: str = "") -> str:
    """What it says, "" when all is well; skips the test when it is not there."""
    own = REPO / ".tools" / "promtool"
    command = str(own) if own.exists() else shutil.which("promtool")
    if command is None:
        pytest.skip("promtool is not there: make test-tools")
    done = subprocess.run([command, *arguments], input=stdin, capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr if done.returncode else ""


def check_queries(queries: list[str], folder: Path) -> str:
    """What promtool has against them, as recording rules."""
    rules = "".join(f"      - record: q{i}:q\n        expr: >-\n          {query}\n" for i, query in enumerate(queries))
    file = folder / "rules.yml"
    file.write_text("groups:\n  - name: queries\n    rules:\n" + rules)
    return promtool("check", "rules", str(file))
