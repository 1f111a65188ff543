"""The measuring itself, in one process of its own: faiss, sqlite-vec and OffGrid's index over the same rows.

    python rag_measure.py BASE.npy N_ROWS N_QUERIES

in the environment that `rag_speed.py` makes. Prints one line of JSON. All systems are asked each query, one after the
other, beginning with another each time, so that whatever else the machine does meets all of them.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import apsw
import faiss
import numpy as np
import rag_data
import sqlite_vec

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from offgrid.rag.vectors import PREFILTER_FROM, Vectors

N_THREADS = 2
N_RESULTS = 10
ROWS_PER_DOCUMENT = 1000
Search = Callable[[np.ndarray], list[int]]


def main() -> None:
    base = np.load(sys.argv[1])
    n_rows, n_queries = int(sys.argv[2]), int(sys.argv[3])
    faiss.omp_set_num_threads(N_THREADS)
    queries, base = base[:n_queries], base[n_queries:]
    rows = np.concatenate(list(rag_data.more(base, n_rows)))
    n_dim = rows.shape[1]
    exact = Vectors(n_dim, prefilter_from=n_rows + 1)
    filtered = Vectors(n_dim, prefilter_from=min(PREFILTER_FROM, n_rows // 2))
    found = {"rows": n_rows, "queries": n_queries, "build_s": _fill(exact, rows), "build_with_signs_s": None}
    found["build_with_signs_s"] = _fill(filtered, rows)
    found |= {f"{name}_ms": figure for name, figure in _times(_systems(rows, exact, filtered), queries).items()}
    used = filtered if n_rows > PREFILTER_FROM else exact
    found |= {"recall": _recall(filtered, exact, queries), "mb_per_100k": used.n_bytes / n_rows / 10}
    print(json.dumps(found))


def _fill(vectors: Vectors, rows: np.ndarray) -> float:
    """Seconds that it takes to add all rows, a document at a time."""
    began = time.perf_counter()
    for document, start in enumerate(range(0, len(rows), ROWS_PER_DOCUMENT)):
        block = rows[start : start + ROWS_PER_DOCUMENT]
        vectors.add(document, np.arange(start, start + len(block)), block)
    return time.perf_counter() - began


def _systems(rows: np.ndarray, exact: Vectors, filtered: Vectors) -> dict[str, Search]:
    flat = faiss.IndexFlatIP(rows.shape[1])
    flat.add(rows)
    table = apsw.Connection(":memory:")  # not sqlite3: many Pythons are built without loadable extensions
    table.enable_load_extension(True)
    table.load_extension(sqlite_vec.loadable_path())
    table.execute(f"CREATE VIRTUAL TABLE rows USING vec0(embedding float[{rows.shape[1]}])")
    with table:
        table.executemany("INSERT INTO rows (rowid, embedding) VALUES (?, ?)", enumerate(row.tobytes() for row in rows))
    # Of rows of unit length the nearest are those with the largest cosine; this distance is sqlite-vec's fastest.
    select = f"SELECT rowid FROM rows WHERE embedding MATCH ? AND k = {N_RESULTS} ORDER BY distance"
    return {
        "faiss": lambda query: flat.search(query[np.newaxis], N_RESULTS)[1][0].tolist(),
        "sqlite_vec": lambda query: [id for (id,) in table.execute(select, (query.tobytes(),))],
        "exact": lambda query: [id for id, _ in exact.search(query, N_RESULTS)],
        "filtered": lambda query: [id for id, _ in filtered.search(query, N_RESULTS)],
    }


def _times(systems: dict[str, Search], queries: np.ndarray) -> dict[str, float]:
    """Median milliseconds of a query, of each system."""
    times: dict[str, list[float]] = {name: [] for name in systems}
    for search in systems.values():
        search(queries[0])
    names = list(systems)
    for number, query in enumerate(queries):
        first = number % len(names)
        answers = {}
        for name in names[first:] + names[:first]:
            began = time.perf_counter()
            answers[name] = systems[name](query)
            times[name].append(1000 * (time.perf_counter() - began))
        for name in ("faiss", "sqlite_vec"):  # who compares all finds the same, but for equal scores
            if len(set(answers[name]) & set(answers["exact"])) < N_RESULTS - 1:
                raise SystemExit(f"query {number}: {name} finds {answers[name]}, OffGrid {answers['exact']}")
    return {name: statistics.median(values) for name, values in times.items()}


def _recall(filtered: Vectors, exact: Vectors, queries: np.ndarray) -> float:
    """The share of the results that comparing all gives which the signs let through."""
    n_found = 0
    for query in queries:
        wanted = exact.search(query, N_RESULTS)
        worst = wanted[-1][1]
        n_found += sum(score >= worst for _, score in filtered.search(query, N_RESULTS))
    return n_found / (N_RESULTS * len(queries))


if __name__ == "__main__":
    main()
