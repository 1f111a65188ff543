"""The figures of `rag.py` as Markdown, for the report. Pure, but for reading the file."""

import json
from collections.abc import Collection
from pathlib import Path

DATA = "benchmarks-rag.json"
MODES = ("keyword", "vector", "hybrid")
RECALLS = ("recall@1", "recall@5", "recall@10", "MRR@10")
LEAST_RECALL, LEAST_FOUND, MOST_EXACT, MOST_FILTERED, LEAST_EMBEDDING = 0.85, 0.98, 1.0, 0.15, 1.0
ALL = ("quality", "speed", "embedding")


def read(folder: Path) -> list[str]:
    """The lines of the figures in a folder; none where there are none."""
    path = folder / DATA
    return lines(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else []


def lines(figures: dict, parts: Collection[str] = ALL) -> list[str]:
    found = ["## The knowledge base", "", "To make these figures again: `make bench-rag`.", ""]
    for part, write in (("quality", _quality), ("speed", _speed), ("embedding", _embedding)):
        if part in parts and part in figures:
            if figures[part]["is_quick"]:
                found += ["**A quick run: these figures mean nothing.**", ""]
            found += write(figures[part])
    return found


def _quality(figures: dict) -> list[str]:
    test = {mode: figures["modes"][mode]["test"] for mode in MODES}
    rows = [[mode, *(f"{test[mode][name]:.3f}" for name in RECALLS)] for mode in MODES]
    is_best = all(test["hybrid"][name] >= max(test[m][name] for m in MODES) for name in ("recall@5", "MRR@10"))
    recall = test["hybrid"]["recall@5"]
    return [
        "### Finding the passage",
        "",
        f"{test['hybrid']['n']} questions kept out of all tuning, {figures['chunks']:,} passages of "
        f"{figures['documents']:,} documents, {figures['model']}. Questions are entries of indexes and NAME lines of "
        "manuals; the heading of the passage that answers is taken out of the document (`bench/rag_questions.py`).",
        "",
        *_table(["mode", *RECALLS], rows),
        "",
        f"To reach: hybrid best: {_yes(is_best)}; its recall@5 at least {LEAST_RECALL}: {_yes(recall >= LEAST_RECALL)} "
        f"({recall:.3f}).",
        "",
    ]


def _speed(figures: dict) -> list[str]:
    rows = [
        [
            f"{size['rows']:,}",
            *(f"{size[name]:.2f}" for name in ("faiss_ms", "sqlite_vec_ms", "exact_ms", "filtered_ms")),
            f"{size['recall']:.4f}",
            f"{size['mb_per_100k']:.0f}",
            f"{size['build_s']:.2f}",
        ]
        for size in figures["sizes"]
    ]
    last = figures["sizes"][-1]
    worst = max(size["exact_ms"] / size["faiss_ms"] for size in figures["sizes"])
    filtered = last["filtered_ms"] / last["faiss_ms"]
    head = ["rows", "faiss, ms", "sqlite-vec, ms", "all compared, ms", "signs first, ms", "of the ten best found"]
    return [
        "### Searching the vectors",
        "",
        f"One question at a time, ten results, 384 dimensions, two threads; {', '.join(figures['packages'])}. The rows "
        "are embeddings of real passages, and rows made between neighbours of them (`bench/rag_data.py`).",
        "",
        *_table([*head, "MB per 100,000", "filling, s"], rows),
        "",
        f"To reach: all compared at most {MOST_EXACT} of faiss' time: {_yes(worst <= MOST_EXACT)} "
        f"(at worst {worst:.2f}); signs first at most {MOST_FILTERED} of it at {last['rows']:,} rows: "
        f"{_yes(filtered <= MOST_FILTERED)} "
        f"({filtered:.3f}), with {LEAST_FOUND} of the ten best: {_yes(last['recall'] >= LEAST_FOUND)}.",
        "",
    ]


def _embedding(figures: dict) -> list[str]:
    rows = [
        [str(row["clients"]), f"{row['offgrid']:.1f}", f"{row['llama_server']:.1f}", f"{row['ratio']:.2f}"]
        for row in figures["clients"]
    ]
    least = min(row["ratio"] for row in figures["clients"])
    return [
        "### Embedding",
        "",
        "Passages per second by `POST /v1/embeddings`, 32 in a request, two threads; medians of rounds in turn.",
        "",
        *_table(["clients", "OffGrid", "llama-server", "OffGrid / llama-server"], rows),
        "",
        f"To reach: at least {LEAST_EMBEDDING}: {_yes(least >= LEAST_EMBEDDING)}.",
        "",
    ]


def _yes(is_reached: bool) -> str:
    return "reached" if is_reached else "not reached"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    aligned = ["---", *("---:" for _ in head[1:])]
    return ["| " + " | ".join(cells) + " |" for cells in (head, aligned, *rows)]
