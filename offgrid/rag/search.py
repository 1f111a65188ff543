"""Finds the passages that answer a question: by meaning, by words, and both rankings merged.

The order is that of the merged ranks (reciprocal rank fusion: Cormack, Clarke and Büttcher, 2009); the score of a hit
is always the cosine of its vector and the question's, also where only words found it, so that a least score means one
thing. Without vectors the score is the share of the question's words that a passage holds. Must stay true: vectors of
one model are never compared with those of another.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from offgrid.errors import InsufficientMemory, Unavailable
from offgrid.rag.embedding import EmbeddingModel
from offgrid.rag.indexes import Indexes
from offgrid.rag.vectors import Vectors as Rows
from offgrid.rag.words import match_query, words_of
from offgrid.store.datastores import DataStore
from offgrid.store.passages import Passage, Passages
from offgrid.types import Vectors

USUAL_MIN_SCORE = 0.2  # below, passages have nothing to do with the question
N_CANDIDATES = 50  # of each ranking; more where more are asked for
PER_RESULT = 4
# How little the first ranks stand out. 60 is usual where many rankings are merged; of two, 10 found more
# (bench/rag_quality.py): a passage that both have in the middle should not come before the best of one.
RANK_BASE = 10
MODES = ("hybrid", "vector", "keyword")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which documents may answer; what is None or empty filters nothing. Times are in seconds since 1970."""

    documents: tuple[str, ...] | None = None  # ids or names
    metadata: dict[str, str] = field(default_factory=dict)  # each of these values
    added_after: float | None = None
    added_before: float | None = None

    @property
    def is_open(self) -> bool:
        times = (self.added_after, self.added_before)
        return self.documents is None and not self.metadata and times == (None, None)


@dataclass(frozen=True, slots=True)
class Question:
    """`diversity` from 0 to 1: how much a hit loses for being like those before it (MMR)."""

    text: str
    top_k: int = 5
    min_score: float | None = None  # None: what is usual, and none without vectors
    mode: str = "hybrid"
    diversity: float = 0.0
    filter: Filter = field(default_factory=Filter)


@dataclass(frozen=True, slots=True)
class Hit:
    passage: Passage
    score: float  # -1 to 1


@dataclass(frozen=True, slots=True)
class Found:
    """`mode`: how it was searched; `note` says why, where that is not what was asked for."""

    hits: list[Hit]
    mode: str
    note: str = ""


def search(
    store: DataStore,
    question: Question,
    passages: Passages,
    indexes: Indexes,
    model: EmbeddingModel | None,
    why_none: str = "",
) -> Found:
    """The best passages of a store, best first; `model` made the vectors of its space, None: `why_none`."""
    allowed = None if question.filter.is_open else _allowed(passages.documents(store), question.filter)
    if model is None or store.space is None or question.mode == "keyword":
        hits = _by_words(store, question, passages, allowed)
        return Found(hits, "keyword", why_none if question.mode != "keyword" else "")
    try:
        query = _vector(model.embed_query(question.text))
    except (InsufficientMemory, Unavailable) as error:
        if question.mode == "vector":
            raise
        why = f"The embedding model could not be asked, so only words were looked for: {error.message}"
        return Found(_by_words(store, question, passages, allowed), "keyword", why)
    vectors = indexes.get(store, store.space)
    n = max(N_CANDIDATES, PER_RESULT * question.top_k)
    by_meaning = vectors.search(query, n, allowed) if len(vectors) else []
    by_words = []
    if question.mode == "hybrid" and (match := match_query(question.text)):
        by_words = passages.by_words(store, match, n, allowed)
    scores = dict(by_meaning)
    missing = [number for number in by_words if number not in scores]
    scores |= {n: score for n, score in zip(missing, vectors.score(query, missing), strict=True) if score == score}
    order = [number for number in _merged([number for number, _ in by_meaning], by_words) if number in scores]
    least = USUAL_MIN_SCORE if question.min_score is None else question.min_score
    order = [number for number in order if scores[number] >= least]
    there = passages.get(store, order)
    order = [number for number in order if number in there]
    if question.diversity:
        order = _diverse(order[:n], scores, vectors, question)
    hits = [Hit(there[number], min(1.0, max(-1.0, scores[number]))) for number in order[: question.top_k]]
    return Found(hits, question.mode)


def _vector(embedded: Vectors) -> np.ndarray:
    """(n_dim,) float32, unit length: the mean of the vectors of a question's pieces."""
    mean = np.frombuffer(embedded.data, "<f4").reshape(-1, embedded.n_dim).mean(axis=0)
    norm = float(np.linalg.norm(mean))
    return mean / norm if norm else mean


def _by_words(store: DataStore, question: Question, passages: Passages, allowed: set[int] | None) -> list[Hit]:
    match = match_query(question.text)
    numbers = passages.by_words(store, match, question.top_k * PER_RESULT, allowed) if match else []
    there = passages.get(store, numbers)
    words = words_of(question.text)
    hits = [Hit(there[number], _share(there[number], words)) for number in numbers if number in there]
    return [hit for hit in hits if hit.score >= (question.min_score or 0)][: question.top_k]


def _share(passage: Passage, words: list[str]) -> float:
    """How many of the question's words the passage holds, of all; a word's beginning counts, as the index has stems."""
    text = f"{passage.heading}\n{passage.text}".lower()
    return sum(word[: max(4, len(word) - 3)] in text for word in words) / len(words)


def _merged(*rankings: Iterable[int]) -> list[int]:
    """The numbers by reciprocal rank fusion, the best first."""
    sums: dict[int, float] = {}
    for ranking in rankings:
        for rank, number in enumerate(ranking, 1):
            sums[number] = sums.get(number, 0.0) + 1 / (RANK_BASE + rank)
    return sorted(sums, key=lambda number: (-sums[number], number))


def _diverse(order: list[int], scores: dict[int, float], vectors: Rows, question: Question) -> list[int]:
    """Maximal marginal relevance (Carbonell and Goldstein, 1998): each next one is like the question, and new."""
    try:
        rows = vectors.rows(order)  # (n, n_dim) float32, unit length
    except KeyError:  # a document went meanwhile
        return order
    like_question = np.array([scores[number] for number in order])  # (n,)
    like_chosen = np.full(len(order), -1.0)  # the most that each is like one of the chosen
    left = np.ones(len(order), bool)
    chosen: list[int] = []
    for _ in range(min(question.top_k, len(order))):
        gain = (1 - question.diversity) * like_question - question.diversity * np.maximum(like_chosen, 0)
        best = int(np.argmax(np.where(left, gain, -np.inf)))
        chosen.append(order[best])
        left[best] = False
        like_chosen = np.maximum(like_chosen, rows @ rows[best])
    return chosen


def _allowed(documents: list, chosen: Filter) -> set[int]:
    """The numbers of the documents that a filter lets through."""
    names = None if chosen.documents is None else set(chosen.documents)
    return {
        row["number"]
        for row in documents
        if (names is None or row["id"] in names or row["name"] in names)
        and (chosen.added_after is None or row["created_at"] >= chosen.added_after)
        and (chosen.added_before is None or row["created_at"] <= chosen.added_before)
        and _has(row["metadata"], chosen.metadata)
    }


def _has(metadata: str, wanted: dict[str, str]) -> bool:
    return not wanted or wanted.items() <= json.loads(metadata).items()
