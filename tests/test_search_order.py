"""In which order passages are found, on a real database and index, with vectors that the tests choose."""

import numpy as np
import pytest

from offgrid.rag.indexes import Indexes
from offgrid.rag.search import Filter, Question, search
from offgrid.store.datastores import DataStores
from offgrid.store.db import Database
from offgrid.store.documents import Documents, NewChunk, NewDocument
from offgrid.store.passages import Passages
from offgrid.types import Vectors

ACROSS = 90  # degrees: nothing in common


def row(degrees):
    """(3,) float32: a vector at that angle from the question's."""
    return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees)), 0], np.float32)


class AtZero:
    """An embedding model for which every question points the same way."""

    def embed_query(self, text):
        return Vectors(row(0).tobytes(), 3, 1)


class Shelf:
    """A data store."""

    def __init__(self, folder):
        self.db = Database(folder / "shelf.db")
        self.stores, self.documents, self.passages = DataStores(self.db), Documents(self.db), Passages(self.db)
        self.indexes = Indexes(self.passages, 1 << 20)
        self.store = self.stores.default("somebody")
        self.space = self.stores.add_space(self.store, "model", "file", 3)
        assert self.stores.use_space(self.store, self.space)
        self.store = self.stores.by_number(self.store.number)

    def add(self, name, text, *vectors, heading="", metadata=None):
        """A document with the same passage as often as there are vectors, given as such or as angles."""
        rows = [one if isinstance(one, np.ndarray) else row(one) for one in vectors or (ACROSS,)]
        new = NewDocument(name, "text/plain", len(text), name.encode(), metadata or {}, text)
        number = self.documents.begin(self.store, new, does_replace=False)
        self.documents.add_chunks(self.store, number, 0, [NewChunk(0, len(text), heading, text)] * len(rows))
        self.documents.all_chunks_added(number, len(rows))
        self.documents.add_vectors(number, self.space, 0, np.stack(rows).tobytes())
        return self.documents.finish(self.store, number, self.space, does_replace=False)[0]

    def search(self, text, model=AtZero(), **options):  # noqa: B008 - it has no state
        question = Question(text, **({"min_score": -1.0} | options))
        return search(self.store, question, self.passages, self.indexes, model, "no model")

    def names(self, text, **options):
        return [hit.passage.document_name for hit in self.search(text, **options).hits]


@pytest.fixture
def shelf(tmp_path):
    shelf = Shelf(tmp_path)
    yield shelf
    shelf.db.close()


def test_what_both_rankings_have_comes_before_what_one_has(shelf):
    shelf.add("meaning", "nothing alike", 10)
    shelf.add("both", "the lighthouse keeper", 20)
    shelf.add("words", "a lighthouse, a lighthouse", ACROSS)
    shelf.add("filler", "something else", *range(30, 89))
    assert shelf.names("lighthouse", top_k=1) == ["both"]
    assert set(shelf.names("lighthouse", top_k=3)) == {"both", "meaning", "words"}


def test_the_best_of_one_ranking_comes_before_what_both_have_far_below(shelf):
    shelf.add("best", "nothing alike", 5)
    shelf.add("nearer", "something else", *range(10, 65))
    shelf.add("wordier", "lighthouse, lighthouse", *[ACROSS] * 30)
    shelf.add("middle", "the lighthouse and much else besides", 39.5)
    assert set(shelf.names("lighthouse", top_k=2)) == {"best", "wordier"}
    assert shelf.names("lighthouse", mode="vector", top_k=40).index("middle") == 31
    assert shelf.names("lighthouse", mode="keyword", top_k=40).index("middle") == 30


def test_each_mode_asks_only_what_it_says(shelf):
    shelf.add("words", "the lighthouse", 80)
    shelf.add("meaning", "nothing alike", 10)
    assert shelf.names("lighthouse", mode="keyword") == ["words"]
    assert shelf.names("lighthouse", mode="vector") == ["meaning", "words"]
    assert set(shelf.names("lighthouse", mode="hybrid")) == {"words", "meaning"}


def test_the_score_is_the_cosine_whoever_found_the_passage(shelf):
    shelf.add("words", "the lighthouse", 100)
    shelf.add("nearer", "something else", *[50] * 70)
    hits = {hit.passage.document_name: hit.score for hit in shelf.search("lighthouse", top_k=10).hits}
    assert hits["words"] == pytest.approx(np.cos(np.radians(100)), abs=1e-6)
    assert hits["nearer"] == pytest.approx(np.cos(np.radians(50)), abs=1e-6)


def test_what_is_below_the_least_score_is_left_out(shelf):
    shelf.add("near", "a lamp", 20)
    shelf.add("far", "a lamp", 85)
    assert shelf.names("lamp", min_score=0.5) == ["near"]
    assert shelf.names("lamp", min_score=None) == ["near"]  # cos 85° is less than what is usual
    assert len(shelf.names("lamp", min_score=0.0)) == 2


def test_the_rarer_word_counts_more(shelf):
    shelf.add("ships", "the ship sails", *[90] * 10)
    shelf.add("rare", "the sextant lies there, wherever there is")
    assert shelf.names("ship sextant", mode="keyword")[0] == "rare"


def test_headings_are_searched_by_words(shelf):
    shelf.add("below", "It opens at eight.", heading="Pharmacy > Hours")
    shelf.add("other", "It opens at nine.", heading="Library")
    assert shelf.names("pharmacy hours", mode="keyword") == ["below"]


def test_equals_stand_in_the_order_in_which_they_came(shelf):
    for i in range(4):
        shelf.add(f"same {i}", "the very same", 30, 30, 30)
    for mode in ("keyword", "vector", "hybrid"):
        assert shelf.names("same", mode=mode, top_k=12) == [f"same {i}" for i in range(4) for _ in range(3)]


def test_as_many_as_asked_for_and_no_more(shelf):
    shelf.add("lamps", "the lamp", *range(120))
    for top_k in (1, 5, 100):
        assert len(shelf.names("lamp", top_k=top_k)) == top_k


def test_diversity_takes_what_is_new_before_what_is_the_same_again(shelf):
    shelf.add("first", "one", row(10))
    shelf.add("again", "two", row(11))
    shelf.add("new", "three", np.array([0.9, 0, np.sqrt(1 - 0.81)], np.float32))
    assert shelf.names("zzz", top_k=2) == ["first", "again"]
    assert shelf.names("zzz", top_k=2, diversity=0.5) == ["first", "new"]


@pytest.mark.parametrize("mode", ["keyword", "vector", "hybrid"])
def test_filters_hold_in_every_mode(mode, shelf):
    shelf.add("a.txt", "a lamp", 10, metadata={"year": "2024", "by": "Ines"})
    second = shelf.add("b.txt", "a lamp", 20, metadata={"year": "2025", "by": "Ines"})

    def names(**wanted):
        return shelf.names("lamp", mode=mode, filter=Filter(**wanted))

    assert names() == ["a.txt", "b.txt"]
    assert names(documents=("b.txt",)) == names(documents=(second.id,)) == ["b.txt"]
    assert names(metadata={"by": "Ines"}) == ["a.txt", "b.txt"]
    assert names(metadata={"by": "Ines", "year": "2025"}) == ["b.txt"]
    assert names(added_after=second.created_at) == ["b.txt"]
    assert names(added_before=second.created_at - 60) == names(documents=()) == names(metadata={"by": "x"}) == []


@pytest.mark.parametrize("mode", ["keyword", "vector", "hybrid"])
def test_a_deleted_document_is_not_found(mode, shelf):
    gone = shelf.add("gone", "a lamp", 10)
    shelf.add("kept", "a lamp", 20)
    assert len(shelf.names("lamp", mode=mode)) == 2
    with shelf.indexes.changing(shelf.store):
        shelf.documents.delete(shelf.store, gone)
        shelf.indexes.remove(shelf.store, gone.number)
    assert shelf.names("lamp", mode=mode) == ["kept"]


def test_without_a_model_words_are_looked_for_and_it_is_said_why(shelf):
    shelf.add("all", "the red lamp of the harbour", 90)
    shelf.add("half", "a red house", 0)
    found = shelf.search("Where is the red lamp?", model=None)
    assert (found.mode, found.note) == ("keyword", "no model")
    assert [(hit.passage.document_name, hit.score) for hit in found.hits] == [("all", 1.0), ("half", 0.5)]
    assert shelf.search("lamp", model=None, mode="keyword").note == ""


def test_a_question_of_signs_alone_is_searched_by_meaning(shelf):
    shelf.add("near", "a lamp", 20)
    assert shelf.names("???", mode="hybrid") == ["near"]
    assert shelf.names("???", mode="keyword") == []


def test_an_empty_store_answers_nothing(shelf):
    assert [shelf.names("lamp", mode=mode) for mode in ("keyword", "vector", "hybrid")] == [[], [], []]


def test_other_stores_are_not_searched(shelf):
    shelf.add("mine", "a lamp", 10)
    other = shelf.stores.create("somebody else", "theirs")
    question = Question("lamp", mode="keyword")
    assert search(other, question, shelf.passages, shelf.indexes, None).hits == []
    assert shelf.names("lamp") == ["mine"]
