"""Our server's embeddings against those of the original weights by PyTorch (golden/make_embeddings.py tells how)."""

import json
import urllib.request
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.model

GOLDEN = json.loads(Path(__file__).with_name("golden").joinpath("minilm.json").read_text())
MODEL = "all-MiniLM-L6-v2.F16"


def embed(url: str, texts: list[str]) -> np.ndarray:
    """The server's vectors  # (n_texts, 384)"""
    body = json.dumps({"model": MODEL, "input": texts}).encode()
    request = urllib.request.Request(f"{url}/v1/embeddings", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        data = json.load(answer)["data"]
    return np.array([row["embedding"] for row in sorted(data, key=lambda row: row["index"])])


def cosines(url: str, rows: list[dict]) -> np.ndarray:
    """How near the server's vectors are to the golden ones  # (n_rows,)"""
    ours = embed(url, [row["text"] for row in rows])
    golden = np.array([row["vector"] for row in rows])
    return (ours * golden).sum(axis=1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(golden, axis=1)


def test_the_golden_file_holds_at_least_twenty_sentences():
    assert len(GOLDEN["sentences"]) >= 20


def test_sentences_of_many_scripts_embedded_together_are_what_the_original_model_says(server):
    rows = GOLDEN["sentences"]
    nearness = zip(rows, cosines(server.url, rows), strict=True)
    assert [(row["text"], cosine) for row, cosine in nearness if cosine < 0.999] == []


def test_a_sentence_embedded_alone_is_what_the_original_model_says(server):
    assert cosines(server.url, GOLDEN["sentences"][:1])[0] >= 0.999


def test_vectors_have_unit_length(server):
    vectors = embed(server.url, [row["text"] for row in GOLDEN["sentences"]])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)


@pytest.mark.parametrize("row", GOLDEN["spelt_otherwise"], ids=lambda row: row["text"][:8])
def test_scripts_that_llama_cpp_alone_would_spell_otherwise_are_what_the_original_model_says(server, row):
    assert cosines(server.url, [row])[0] >= 0.999
