"""Measure the knowledge base: how often it finds the passage, how fast it searches, how fast it embeds.

    python bench/rag.py                      everything: half an hour on a quiet machine
    python bench/rag.py --quick              everything in small: does it all work?
    python bench/rag.py --only speed         one part; may be said several times
    python bench/rag.py --out docs           the figures go there, those of parts that were left out stay

The figures go to benchmarks-rag.json in --out, and their tables into the report beside it (`rag_report.py`).
"""

import argparse
import json
import os
import sys
from datetime import date
from pathlib import Path

import build_llama
import rag_embedding
import rag_quality
import rag_report
import rag_speed
import report
from servers import REPO, MeasurementFailed

PARTS = {"quality": rag_quality.run, "speed": rag_speed.run, "embedding": rag_embedding.run}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="everything in small")
    parser.add_argument("--only", action="append", choices=PARTS, help="one part")
    parser.add_argument("--out", type=Path, default=Path("bench/build/report"), help="folder of the figures")
    options = parser.parse_args()
    out = options.out.resolve()
    os.chdir(REPO)
    path = out / rag_report.DATA
    figures = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for part in options.only or PARTS:
        print(f"--- {part}", flush=True)
        try:
            found = PARTS[part](options.quick)
        except (MeasurementFailed, build_llama.BuildFailed) as failure:
            print(f"bench: {failure}", file=sys.stderr)
            return 1
        figures[part] = {"on": date.today().isoformat(), "is_quick": options.quick, **found}
        out.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print("\n".join(rag_report.lines(figures, [part])), flush=True)
    if (out / report.DATA).exists():
        report.write(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
