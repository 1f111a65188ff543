"""Measure the search of the knowledge base's vectors beside faiss and sqlite-vec, which compare all rows as well.

    python bench/rag_speed.py            10,000, 100,000 and 500,000 rows: some ten minutes, and 4 GB
    python bench/rag_speed.py --quick    10,000 rows of few passages: does it all work?

faiss (IndexFlatIP, two threads allowed) and sqlite-vec (a vec0 table in memory) are packages of this benchmark only:
they are installed once, into an environment of their own in bench/build, which git ignores. One query at a time,
ten results. What the rows are: `rag_data.py`.
"""

import argparse
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import rag_data
from servers import REPO, MeasurementFailed

ENVIRONMENT = rag_data.BUILD / "rag_venv"
PACKAGES = ("faiss-cpu==1.15.1", "sqlite-vec==0.1.9", "apsw==3.54.1.0")
SIZES, QUICK_SIZES = (10_000, 100_000, 500_000), (10_000,)
N_QUERIES, N_QUICK_QUERIES = 60, 30
N_QUICK_PASSAGES = 400
COLUMNS = {
    "rows": ("rows", "{:,}"),
    "faiss, ms": ("faiss_ms", "{:.2f}"),
    "sqlite-vec, ms": ("sqlite_vec_ms", "{:.2f}"),
    "all compared, ms": ("exact_ms", "{:.2f}"),
    "signs first, ms": ("filtered_ms", "{:.2f}"),
    "of the ten best found": ("recall", "{:.4f}"),
    "MB per 100,000 rows": ("mb_per_100k", "{:.1f}"),
    "filling, s": ("build_s", "{:.2f}"),
    "with signs, s": ("build_with_signs_s", "{:.2f}"),
}


def run(quick: bool) -> dict:
    """The figures by number of rows, with the versions that were measured. Raises MeasurementFailed."""
    python = _environment()
    base = rag_data.embedded(N_QUICK_PASSAGES if quick else sys.maxsize)
    found = []
    for n_rows in QUICK_SIZES if quick else SIZES:
        words = [python, REPO / "bench/rag_measure.py", base, n_rows, N_QUICK_QUERIES if quick else N_QUERIES]
        found.append(json.loads(_output(*words)))
    return {"packages": [*PACKAGES, f"numpy=={importlib.metadata.version('numpy')}"], "sizes": found}


def _environment() -> Path:
    """The Python that has the packages, and the numpy that OffGrid has here."""
    python = ENVIRONMENT / "bin" / "python"
    wanted = [*PACKAGES, f"numpy=={importlib.metadata.version('numpy')}"]
    stamp = ENVIRONMENT / "installed"
    if not stamp.exists() or stamp.read_text() != " ".join(wanted):
        print(f"Installing {', '.join(wanted)} into {ENVIRONMENT}: once.", flush=True)
        _output(sys.executable, "-m", "venv", ENVIRONMENT)
        _output(python, "-m", "pip", "install", "--quiet", *wanted)
        stamp.write_text(" ".join(wanted))
    return python


def _output(*command: object) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MeasurementFailed(f"`{' '.join(words)}` failed: {done.stderr[-2000:]}")
    return done.stdout


def table(figures: dict) -> str:
    """The figures as a table in Markdown."""
    lines = [list(COLUMNS), ["---:"] * len(COLUMNS)]
    lines += [[form.format(size[name]) for name, form in COLUMNS.values()] for size in figures["sizes"]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="10,000 rows of few passages")
    options = parser.parse_args()
    os.chdir(REPO)
    if not rag_data.MODEL.exists():
        print(f"There is no {rag_data.MODEL}. `make models` fetches it.", file=sys.stderr)
        return 1
    try:
        figures = run(options.quick)
    except MeasurementFailed as failure:
        print(f"rag_speed: {failure}", file=sys.stderr)
        return 1
    print(table(figures))
    print(f"Medians of {figures['sizes'][0]['queries']} queries; {', '.join(figures['packages'])}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
