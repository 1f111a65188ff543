"""The vectors that searches are measured on: real passages, embedded by OffGrid itself, and many more of their kind.

The passages are Python's own documentation, as it lies beside every Python: the language reference of pydoc and the
docstrings of the standard library. Their embeddings are kept in bench/build, which git ignores.

`more` makes a large collection of them. A new row stands between a passage and one of its eight nearest ones, nearer to
the first (a part t of the way, t even between 0 and 0.5), and is then moved by noise in a random direction, a quarter
as long as the way between the two. So it has the neighbourhood of real text, with other rows in every direction that
real neighbours lie in; hundreds of thousands of rows stand close together around some thousand centres, which makes the
ten nearest harder to tell from the next hundred than they are in as many real texts.
"""

import ast
import hashlib
import pydoc_data.topics
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import numpy as np

BUILD = Path(__file__).resolve().parent / "build"
MODEL = Path("models/all-MiniLM-L6-v2.F16.gguf")
LEAST_CHARS, MOST_CHARS = 120, 700
LEAST_LETTERS = 0.75  # of its characters: tables of signs are no passages, and have more tokens than the model reads
N_QUERIES = 200
N_TEXTS_AT_ONCE = 64
N_NEIGHBOURS = 8
MOST_WAY = 0.5
NOISE = 0.25
STEP_ROWS = 8192


def passages() -> list[str]:
    """Passages of Python's documentation, each once, in an order that is always the same and mixes all sources."""
    found = {}
    for text in _texts():
        for passage in _cut(text):
            found[hashlib.sha256(passage.encode()).digest()] = passage
    return [found[key] for key in sorted(found)]


def _texts() -> Iterator[str]:
    yield from pydoc_data.topics.topics.values()
    for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if "site-packages" in path.parts:
            continue
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):  # some files are broken on purpose, for tests of Python
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield ast.get_docstring(node) or ""


def _cut(text: str) -> Iterator[str]:
    """Paragraphs, put together up to MOST_CHARS."""
    passage = ""
    for paragraph in [*text.split("\n\n"), ""]:
        paragraph = " ".join(paragraph.split())[:MOST_CHARS]
        if passage and (not paragraph or len(passage) + len(paragraph) > MOST_CHARS):
            n_letters = sum(letter.isalpha() or letter == " " for letter in passage)
            if len(passage) >= LEAST_CHARS and n_letters > LEAST_LETTERS * len(passage):
                yield passage
            passage = ""
        passage = f"{passage} {paragraph}".strip()


def embedded(n: int) -> Path:
    """The file (.npy, (n or fewer, n_dim) float32, rows of unit length) of the first passages' embeddings."""
    texts = passages()[:n]
    key = hashlib.sha256("\0".join(texts).encode() + MODEL.name.encode()).hexdigest()[:16]
    path = BUILD / f"rag_base_{key}.npy"
    if not path.exists():
        print(f"Embedding {len(texts)} passages: once, some minutes.", flush=True)
        rows = np.array(list(_embeddings(texts)), np.float32)
        BUILD.mkdir(exist_ok=True)
        temporary = path.with_suffix(".tmp.npy")
        np.save(temporary, rows / np.linalg.norm(rows, axis=1)[:, np.newaxis])
        temporary.rename(path)
    return path


def _embeddings(texts: list[str]) -> Iterator[list[float]]:
    from servers import OFFGRID, Settings, starting  # not at the top: those who only read the vectors need no server

    with starting(OFFGRID, Settings(MODEL)) as server:
        server.wait_until_healthy()
        for start in range(0, len(texts), N_TEXTS_AT_ONCE):
            body = {"model": MODEL.stem, "input": texts[start : start + N_TEXTS_AT_ONCE]}
            for item in server.post("/v1/embeddings", body)["data"]:
                yield item["embedding"]


def more(base: np.ndarray, n: int, seed: int = 1, noise: float = NOISE) -> Iterator[np.ndarray]:
    """`n` rows (n_dim,) float32 of unit length, in pieces: those of `base` first, then new ones as said above."""
    rng = np.random.default_rng(seed)
    yield base[:n]
    neighbours = np.concatenate([_nearest(base, base[at : at + 1024]) for at in range(0, len(base), 1024)])
    for start in range(len(base), n, STEP_ROWS):
        n_rows = min(STEP_ROWS, n - start)
        first = rng.integers(len(base), size=n_rows)
        second = neighbours[first, rng.integers(N_NEIGHBOURS, size=n_rows)]
        way = base[second] - base[first]
        lengths = np.linalg.norm(way, axis=1)[:, np.newaxis]
        aside = rng.standard_normal(way.shape, dtype=np.float32)
        aside *= noise * lengths / np.linalg.norm(aside, axis=1)[:, np.newaxis]
        rows = base[first] + rng.uniform(0, MOST_WAY, (n_rows, 1)).astype(np.float32) * way + aside
        yield rows / np.linalg.norm(rows, axis=1)[:, np.newaxis]


def _nearest(base: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(n, N_NEIGHBOURS) numbers of rows of `base`; a row itself is not its neighbour."""
    likeness = rows @ base.T
    return np.argpartition(likeness, -N_NEIGHBOURS - 1, axis=1)[:, -N_NEIGHBOURS - 1 : -1]
