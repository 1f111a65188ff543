"""Ollama's API field by field: whole answers, streams and errors, as they stand in tests/golden/ollama."""

import pytest
from faults import running_app
from ollama_cases import CASES, GOLDEN, models, transcript


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ollama")
    with running_app(models(folder / "models"), folder / "data") as app:
        yield app.server.server_port


def test_every_golden_file_is_of_a_case():
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_the_answer_is_as_it_was_written_down(port, name):
    assert transcript(port, CASES[name]) == (GOLDEN / f"{name}.txt").read_text()
