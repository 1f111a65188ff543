"""docs/choosing.md shows what the estimator says today."""

import importlib.util

from running import REPO

from offgrid.engine import memory


def script():
    spec = importlib.util.spec_from_file_location("choosing", REPO / "scripts" / "choosing.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_holds_the_tables_as_they_are_computed_now():
    text = (REPO / "docs" / "choosing.md").read_text(encoding="utf-8")
    assert script().page(text) == text, "run python scripts/choosing.py --write"


def test_a_change_of_the_formula_would_show(monkeypatch):
    text = (REPO / "docs" / "choosing.md").read_text(encoding="utf-8")
    monkeypatch.setattr(memory, "WORKER_BASE_BYTES", 500 << 20)
    assert script().page(text) != text
