"""How often the knowledge base finds the passage that answers a question: by words, by meaning, and by both.

    python bench/rag_quality.py            some 460 questions, 5,000 chunks: five to ten minutes on two free cores
    python bench/rag_quality.py --quick    a sixth of the pages: does it all work?
    python bench/rag_quality.py --threads 1     on a machine that others use, too

Needs Debian's or a like system's apt-get and dpkg-deb, and all-MiniLM-L6-v2 in models/. The documents go the way of
every document (read, cut, embedded, indexed) into a server's knowledge base in this process, with the settings that are
the defaults. It stays in bench/build/rag; what is in it is not taken in again while the documents, the models and the
code in INGEST are the same. What the questions are, and what is weak in them: `rag_questions.py`.

A hit: a returned chunk that shares with an answer at least half of the shorter of the two. recall@n is the share of the
questions with a hit among the first n, MRR@10 the mean of 1 / the place of the first hit, 0 beyond the tenth. What can
be set was set by the even questions ("tuned"); the odd ones ("test") were kept out of it, and their figures count.
"""

import argparse
import hashlib
import json
import logging
import statistics
import sys
import time
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

from rag_questions import FOLDER, Pair, QuestionSet, question_set  # noqa: E402

from offgrid import config  # noqa: E402
from offgrid.app import App  # noqa: E402
from offgrid.logs import Logs  # noqa: E402
from offgrid.rag.search import MODES, Question  # noqa: E402
from offgrid.store.datastores import DataStore  # noqa: E402
from offgrid.store.intake import Accepted  # noqa: E402

INGEST = ("rag/chunk.py", "rag/words.py", "rag/ingest.py", "rag/readers/text.py", "sections.py", "store/migrations.py")
N_RESULTS = 10
COLUMNS = ("recall@1", "recall@5", "recall@10", "MRR@10")


def run(quick: bool, threads: int = 0) -> dict:
    """The figures by mode and kind of question, with what they were measured on."""
    questions = question_set(quick)
    app = _start(questions, threads)
    try:
        began = time.perf_counter()
        store, n_new, n_chunks = _fill(app, questions)
        filled_s = time.perf_counter() - began
        found = {mode: _measure(app, store, questions, mode) for mode in MODES}
        model = app.knowledge.embedding_model().id
    finally:
        app.stop()
    documents = {"documents": len(questions.documents), "chunks": n_chunks, "questions": len(questions.pairs)}
    return {"model": model, **documents, "new_chunks": n_new, "filled_s": filled_s, "modes": found}


def _start(questions: QuestionSet, threads: int) -> App:
    sources = [(REPO / "offgrid" / path).read_text() for path in INGEST]
    models = sorted((path.name, path.stat().st_size) for path in (REPO / "models").glob("*.gguf"))
    digest = hashlib.sha256(json.dumps([questions.documents, sources, models]).encode()).hexdigest()
    paths = {"paths.data_dir": str(FOLDER / f"data-{digest[:16]}"), "paths.models_dir": str(REPO / "models")}
    settings = config.load(paths | {"server.port": "0", "engine.threads": str(threads)}, {})
    app = App(settings, Logs(settings.log, settings.paths.data_dir))
    logging.getLogger("offgrid").setLevel(logging.WARNING)
    app.start()
    if app.knowledge.embedding_model() is None:
        raise SystemExit("rag_quality: no embedding model in models/: python offgrid.py models starter")
    return app


def _fill(app: App, questions: QuestionSet) -> tuple[DataStore, int, int]:
    """The store that all documents are in, how many chunks are new in it, and how many there are."""
    knowledge, store = app.knowledge, app.knowledge.stores.default("local")
    path, n_new = FOLDER / "document.md", 0
    for done, (name, text) in enumerate(questions.documents.items(), 1):
        if knowledge.documents.hash_of(store, name) is None:
            path.write_text(text)
            n_new += knowledge.add(store, Accepted(name, path, is_upload=False), _go_on).n_chunks
        if done % 20 == 0:
            print(f"{done} of {len(questions.documents)} documents", file=sys.stderr)
    store = knowledge.stores.by_number(store.number)
    return store, n_new, knowledge.documents.count(store)[1]


def _measure(app: App, store: DataStore, questions: QuestionSet, mode: str) -> dict:
    places, times_ms = [], []
    for pair in questions.pairs:
        began = time.perf_counter()
        hits = app.knowledge.search(store, Question(pair.question, top_k=N_RESULTS, mode=mode)).hits
        times_ms.append(1000 * (time.perf_counter() - began))
        places.append(next((place for place, hit in enumerate(hits, 1) if _answers(hit.passage, pair)), None))
    halves = {"tuned": range(0, len(places), 2), "test": range(1, len(places), 2)}
    kinds = {
        f"test, {kind}": [i for i in halves["test"] if questions.pairs[i].kind == kind]
        for kind in sorted({pair.kind for pair in questions.pairs})
    }
    figures = {name: _figures([places[i] for i in chosen]) for name, chosen in (halves | kinds).items()}
    return {**figures, "median_ms": statistics.median(times_ms)}


def _answers(passage, pair: Pair) -> bool:
    """Whether a chunk shares at least half of itself, or of the answer, with it."""
    for document, start, end in pair.answers:
        shared = min(end, passage.end) - max(start, passage.start)
        if passage.document_name == document and 2 * shared >= min(end - start, passage.end - passage.start):
            return True
    return False


def _figures(places: list[int | None]) -> dict[str, float]:
    """By the place of the first hit, None: none."""
    n = max(1, len(places))
    found = [place for place in places if place is not None]
    recalls = {f"recall@{most}": sum(place <= most for place in found) / n for most in (1, 5, 10)}
    return {"n": len(places), **recalls, "MRR@10": sum(1 / place for place in found) / n}


def _go_on() -> None:
    """A check of work that nobody ends."""


def _print(found: dict) -> None:
    documents = f"{found['documents']} documents, {found['chunks']:,} chunks, {found['questions']} questions"
    print(f"{documents}; {found['new_chunks']:,} chunks taken in in {found['filled_s']:.0f} s; {found['model']}")
    print(f"{'':10}{'questions':>24}" + "".join(f"{name:>11}" for name in COLUMNS) + "  median ms")
    for mode, figures in found["modes"].items():
        for name, half in figures.items():
            if name != "median_ms":
                row = "".join(f"{half[column]:11.3f}" for column in COLUMNS)
                print(f"{mode:10}{name + ' (' + str(half['n']) + ')':>24}{row}{figures['median_ms']:11.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a sixth of the pages")
    parser.add_argument("--threads", type=int, default=0, help="for the model; 0: one for each core")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    options = parser.parse_args()
    found = run(options.quick, options.threads)
    _print(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
