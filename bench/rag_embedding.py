"""Measure how many passages a second are embedded, beside llama-server: POST /v1/embeddings of both.

    python bench/rag_embedding.py            three rounds of 512 passages: some five minutes
    python bench/rag_embedding.py --quick    one round of 64: does it all work?

Equal for both: the model, two threads, a batch of 512 tokens, 32 passages in a request, the same passages in the same
order (Python's documentation, see `rag_data.py`), and that the server has answered once before. The servers take turns.
"""

import argparse
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import build_llama
import rag_data
from servers import LLAMA_SERVER, OFFGRID, MeasurementFailed, Server, Settings, starting

N_TEXTS, N_QUICK_TEXTS = 512, 64
N_ROUNDS, N_QUICK_ROUNDS = 3, 1
PER_REQUEST = 32
CLIENTS = (1, 4)
LLAMA_FLAGS = ("--embedding", "--pooling", "mean")
COLUMNS = ("clients", "OffGrid, passages/s", "llama-server, passages/s", "OffGrid / llama-server")


def run(quick: bool) -> dict:
    """Passages per second by number of clients: the medians of the rounds, and of their ratios.

    Raises MeasurementFailed, build_llama.BuildFailed.
    """
    build_llama.build()
    texts = rag_data.passages()[: N_QUICK_TEXTS if quick else N_TEXTS]
    settings = Settings(rag_data.MODEL, llama_flags=LLAMA_FLAGS)
    rates: dict[tuple[str, int], list[float]] = {}
    with starting(OFFGRID, settings) as ours, starting(LLAMA_SERVER, settings) as theirs:
        for server in (ours, theirs):
            server.wait_until_healthy()
            _embed(server, texts[:1])
        for turn in range(N_QUICK_ROUNDS if quick else N_ROUNDS):
            for n_clients in CLIENTS:
                for server in (ours, theirs) if turn % 2 == 0 else (theirs, ours):
                    rates.setdefault((server.name, n_clients), []).append(_rate(server, texts, n_clients))
    return {"clients": [_row(rates, n_clients) for n_clients in CLIENTS]}


def _rate(server: Server, texts: list[str], n_clients: int) -> float:
    requests = [texts[i : i + PER_REQUEST] for i in range(0, len(texts), PER_REQUEST)]
    began = time.perf_counter()
    with ThreadPoolExecutor(n_clients) as clients:
        list(clients.map(lambda some: _embed(server, some), requests))
    return len(texts) / (time.perf_counter() - began)


def _embed(server: Server, texts: list[str]) -> None:
    found = server.post("/v1/embeddings", {"model": rag_data.MODEL.stem, "input": texts, "encoding_format": "base64"})
    if len(found["data"]) != len(texts):
        raise MeasurementFailed(f"{server.name} gave {len(found['data'])} vectors for {len(texts)} texts.")


def _row(rates: dict[tuple[str, int], list[float]], n_clients: int) -> dict:
    ours, theirs = rates[OFFGRID, n_clients], rates[LLAMA_SERVER, n_clients]
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    return {
        "clients": n_clients,
        "offgrid": round(statistics.median(ours), 1),
        "llama_server": round(statistics.median(theirs), 1),
        "ratio": round(ratio, 3),
    }


def table(figures: dict) -> str:
    """In Markdown."""
    rows = [[str(value) for value in row.values()] for row in figures["clients"]]
    head = ["| " + " | ".join(COLUMNS) + " |", "|" + "---:|" * len(COLUMNS)]
    return "\n".join([*head, *("| " + " | ".join(row) + " |" for row in rows)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true")
    try:
        print(table(run(parser.parse_args().quick)))
    except (MeasurementFailed, build_llama.BuildFailed) as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
