"""The index of vectors against a naive one, through changes, filters and threads."""

import threading

import numpy as np
import pytest

from offgrid.rag.vectors import Vectors


class Naive:
    """What `Vectors` must do, said in the shortest way."""

    def __init__(self):
        self.rows: dict[int, tuple[int, np.ndarray]] = {}  # id → document, row of unit length in float64

    def add(self, document, ids, block):
        for id, row in zip(ids.tolist(), block.astype(np.float64), strict=True):
            norm = np.linalg.norm(row)
            self.rows[id] = (document, row / norm if norm else row)

    def remove(self, document):
        gone = [id for id, (of, _) in self.rows.items() if of == document]
        for id in gone:
            del self.rows[id]
        return len(gone)

    def search(self, query, n, allowed=None):
        query = query.astype(np.float64)
        unit = query / (np.linalg.norm(query) or 1)
        found = [(id, float(row @ unit)) for id, (of, row) in self.rows.items() if allowed is None or of in allowed]
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))[:n]


def check_integrity(vectors):
    """What vectors.py and slabs.py say of their state."""
    state = vectors._state
    assert all(len(slab) == vectors._slab_rows for slab in state.slabs[:-1])
    assert all(2 * slab.n_alive > len(slab) > 0 for slab in state.slabs)
    assert sum(slab.n_alive for slab in state.slabs) == state.n_alive == len(vectors)
    for slab in state.slabs:
        assert np.count_nonzero(slab.alive) == slab.n_alive
        ids = slab.ids if slab.by_id is None else slab.ids[slab.by_id]
        assert len(ids) == slab.n_alive and (ids[1:] > ids[:-1]).all()
        norms = np.linalg.norm(slab.rows, axis=1)
        assert ((np.abs(norms - 1) < 1e-5) | (norms == 0)).all()
        if state.planes:
            # A row just beside a plane may be on either side: how products are added up depends on their number.
            n_other = np.bitwise_count(slab.signs ^ state.planes.signs(slab.rows)).sum()
            assert n_other <= 1e-3 * slab.rows.size
    if state.tail:
        assert np.shares_memory(state.tail.rows, state.slabs[-1].rows)


def assert_same(found, wanted):
    """The same rows in the same order, but for those whose scores are the same but for rounding."""
    assert np.allclose([score for _, score in found], [score for _, score in wanted], atol=1e-6)
    for (id, score), (other, _) in zip(found, wanted, strict=True):
        near = {i for i, s in wanted if abs(s - score) < 1e-6}
        assert id == other or id in near or abs(score - wanted[-1][1]) < 1e-6


def clustered(rng, n, n_dim, n_clusters, spread=0.7):
    """(n, n_dim) float32 around a common mean, as embeddings are: in clusters, each of few dimensions of its own."""
    mean = rng.normal(size=n_dim) * 0.5
    centres = rng.normal(size=(n_clusters, n_dim))
    rows = mean + centres[rng.integers(n_clusters, size=n)] + spread * rng.normal(size=(n, n_dim))
    return rows.astype(np.float32)


@pytest.mark.parametrize("seed", range(6))
def test_any_sequence_of_changes_finds_what_a_naive_search_finds(seed):
    rng = np.random.default_rng(seed)
    n_dim = int(rng.choice([3, 48, 64, 70]))
    vectors, naive = Vectors(n_dim, slab_rows=32), Naive()
    next_id, documents = 1, []
    for _ in range(150):
        if documents and rng.random() < 0.4:
            document = documents.pop(int(rng.integers(len(documents))))
            assert vectors.remove(document) == naive.remove(document)
            assert vectors.remove(document) == 0
        else:
            n = int(rng.choice([0, 1, 5, 20, 90]))
            block = rng.normal(size=(n, n_dim)).astype(np.float32) * rng.choice([1e-30, 1, 1e30])
            block[rng.random(n) < 0.05] = 0
            document = int(rng.integers(1 << 40))
            ids = np.arange(next_id, next_id + n)
            if rng.random() < 0.3:
                ids = rng.permutation(ids) - 10**15  # not in order, and below those before
            next_id += n
            documents.append(document)
            vectors.add(document, ids, block)
            naive.add(document, ids, block)
        check_integrity(vectors)
        assert len(vectors) == len(naive.rows)
        query = rng.normal(size=n_dim).astype(np.float32)
        n = int(rng.choice([1, 3, 10, 1000]))
        allowed = None if rng.random() < 0.5 else {d for d in documents if rng.random() < 0.4} | {-5}
        assert_same(vectors.search(query, n, allowed), naive.search(query, n, allowed))


def test_the_ids_of_a_removed_document_can_be_used_again():
    vectors = Vectors(2, slab_rows=8)
    vectors.add(1, np.arange(6), np.ones((6, 2)))
    vectors.add(2, np.arange(6, 12), np.ones((6, 2)))
    vectors.remove(1)
    vectors.add(3, np.arange(6), np.tile([1.0, -1.0], (6, 1)))
    check_integrity(vectors)
    assert np.allclose(vectors.rows([5, 6]), np.array([[1, -1], [1, 1]]) / np.sqrt(2))
    assert vectors.search(np.array([1, -1]), 1) == [(0, pytest.approx(1))]


def test_equal_rows_come_in_the_order_of_their_ids_wherever_they_lie():
    rng = np.random.default_rng(1)
    row = rng.normal(size=384).astype(np.float32)
    vectors = Vectors(384, slab_rows=50)
    ids = rng.permutation(333)
    for document, part in enumerate(np.array_split(ids, 7)):
        vectors.add(document, part, np.tile(row, (len(part), 1)))
    found = vectors.search(row + rng.normal(size=384) * 0.1, 40)
    assert [id for id, _ in found] == list(range(40))
    assert len({score for _, score in found}) == 1


def test_scores_are_cosines_and_those_of_named_rows_are_the_same():
    rng = np.random.default_rng(2)
    block = rng.normal(size=(100, 48)).astype(np.float32) * 7
    vectors = Vectors(48, slab_rows=16)
    vectors.add(1, np.arange(100), block)
    query = rng.normal(size=48)
    found = vectors.search(query, 100)
    assert vectors.score(query, [id for id, _ in found]) == [score for _, score in found]
    id, score = found[3]
    assert score == pytest.approx(block[id] @ query / np.linalg.norm(block[id]) / np.linalg.norm(query), abs=1e-6)


def test_rows_come_in_the_order_that_was_asked_for_with_unit_length():
    vectors = Vectors(2, slab_rows=2)
    vectors.add(1, np.array([5, 3, 9]), np.array([[2, 0], [0, 0.5], [0, 0]]))
    assert vectors.rows([9, 5, 3, 5]).tolist() == [[0, 0], [1, 0], [0, 1], [1, 0]]
    assert vectors.rows([]).shape == (0, 2)


def test_the_score_of_an_unknown_or_removed_row_is_nan_and_its_vector_is_an_error():
    vectors = Vectors(2)
    vectors.add(1, np.array([1]), np.array([[1, 0]]))
    vectors.add(2, np.array([2]), np.array([[1, 0]]))
    vectors.remove(2)
    assert np.isnan(vectors.score(np.array([1, 0]), [2, 1, 77])).tolist() == [True, False, True]
    with pytest.raises(KeyError, match="77"):
        vectors.rows([1, 77])


def test_an_empty_index_finds_nothing():
    vectors = Vectors(4)
    assert (len(vectors), vectors.n_bytes, vectors.remove(1)) == (0, 0, 0)
    assert vectors.search(np.ones(4), 5) == []
    assert vectors.search(np.ones(4), 5, allowed=[1]) == []
    assert np.isnan(vectors.score(np.ones(4), [1])).all()
    vectors.add(1, np.empty(0, np.int64), np.empty((0, 4)))
    assert vectors.search(np.ones(4), 5) == []


def test_asking_for_more_than_there_is_gives_all_and_for_none_gives_none():
    vectors = Vectors(2)
    vectors.add(1, np.array([1, 2]), np.array([[1, 0], [0, 1]]))
    assert vectors.search(np.array([2, 1]), 10) == [(1, pytest.approx(0.8944272)), (2, pytest.approx(0.4472136))]
    assert vectors.search(np.array([2, 1]), 0) == []
    assert vectors.search(np.array([2, 1]), 10, allowed=[]) == []
    assert vectors.search(np.zeros(2), 10) == [(1, 0), (2, 0)]


@pytest.mark.parametrize(
    ("ids", "block", "words"),
    [
        ([1], [[1, 2]], r"\(1, 3\) is needed"),
        ([1, 2], [[1, 2, 3]], r"\(2, 3\) is needed"),
        ([1], [1, 2, 3], r"\(1, 3\) is needed"),
        ([[1]], [[1, 2, 3]], r"\(1, 3\) is needed"),
        ([1, 2], [[1, 2, 3], [1, np.nan, 3]], "row 1 .* not finite"),
        ([1, 2], [[1, 2, -np.inf], [1, 2, 3]], "row 0 .* not finite"),
        ([1, 1], [[1, 2, 3], [1, 2, 3]], "twice"),
        ([8, 7], [[1, 2, 3], [1, 2, 3]], "id 7 is here"),
    ],
)
def test_a_block_that_is_not_right_is_refused_whole(ids, block, words):
    vectors = Vectors(3)
    vectors.add(1, np.array([7]), np.ones((1, 3)))
    with pytest.raises(ValueError, match=words):
        vectors.add(2, np.array(ids), np.array(block, np.float32))
    assert len(vectors) == 1


@pytest.mark.parametrize("query", [[1, 2], [[1, 2, 3]], [1, 2, np.nan], [1, 2, np.inf]])
def test_a_query_that_is_not_right_is_refused(query):
    vectors = Vectors(3)
    with pytest.raises(ValueError):
        vectors.search(np.array(query), 1)
    with pytest.raises(ValueError):
        vectors.score(np.array(query), [])


def test_vectors_of_no_dimensions_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        Vectors(0)


@pytest.mark.parametrize("shape", ["plain", "in a narrow cone", "of few large dimensions"])
@pytest.mark.parametrize("n_clusters", [30, 1000])
def test_the_prefilter_finds_what_comparing_all_finds(n_clusters, shape):
    rng = np.random.default_rng(n_clusters)
    scales = np.where(np.arange(128) < (4 if shape == "of few large dimensions" else 0), 6, 1).astype(np.float32)
    cone = rng.normal(size=128).astype(np.float32) * (20 if shape == "in a narrow cone" else 0)
    rows, queries = np.split(clustered(rng, 20_050, 128, n_clusters) * scales + cone, [20_000])
    filtered, exact = (Vectors(128, prefilter_from=at, slab_rows=1024) for at in (5000, 10**9))
    for document, ids in enumerate(np.array_split(np.arange(20_000), 40)):
        filtered.add(document, ids, rows[ids])
        exact.add(document, ids, rows[ids])
    check_integrity(filtered)
    assert filtered._state.planes and not exact._state.planes
    n_same = 0
    for query in queries:
        found, wanted = filtered.search(query, 10), exact.search(query, 10)
        assert [score for _, score in found] == exact.score(query, [id for id, _ in found])
        n_same += len(set(found) & set(wanted))
    assert n_same >= 0.98 * 500


def test_the_prefilter_keeps_to_allowed_documents_and_to_what_was_not_removed():
    rng = np.random.default_rng(5)
    rows = clustered(rng, 6000, 96, 40)
    vectors, naive = Vectors(96, prefilter_from=1000, slab_rows=512), Naive()
    for document, ids in enumerate(np.array_split(rng.permutation(6000), 60)):
        vectors.add(document, ids, rows[ids])
        naive.add(document, ids, rows[ids])
    for document in range(0, 60, 3):
        assert vectors.remove(document) == naive.remove(document)
    check_integrity(vectors)
    for allowed in ({4, 7}, set(range(40)), None):
        for query in rows[:20]:
            found, wanted = vectors.search(query, 10, allowed), naive.search(query, 10, allowed)
            assert len({id for id, _ in found} & {id for id, _ in wanted}) >= 9


def test_the_prefilter_finds_documents_that_alternate_with_others():
    rng = np.random.default_rng(9)
    rows = clustered(rng, 4000, 64, 20)
    vectors, naive = Vectors(64, prefilter_from=500, slab_rows=512), Naive()
    for document in range(4000):
        vectors.add(document % 4, np.array([document]), rows[document : document + 1])
        naive.add(document % 4, np.array([document]), rows[document : document + 1])
    for allowed in ({1}, {3}, {1, 3}):
        found, wanted = vectors.search(rows[0], 10, allowed), naive.search(rows[0], 10, allowed)
        assert len({id for id, _ in found} & {id for id, _ in wanted}) >= 9


def test_planes_are_laid_anew_when_the_rows_have_doubled():
    rng = np.random.default_rng(6)
    vectors = Vectors(64, prefilter_from=100, slab_rows=64)
    laid = []
    for document in range(30):
        vectors.add(document, np.arange(20) + 20 * document, clustered(rng, 20, 64, 3))
        check_integrity(vectors)
        laid.append(vectors._state.n_at_planes)
    assert sorted(set(laid)) == [0, 100, 200, 400]


def test_memory_is_given_back_when_documents_go_and_counts_what_is_held():
    rng = np.random.default_rng(7)
    vectors = Vectors(32, slab_rows=64)
    row_bytes = 32 * 4 + 8 + 8 + 1
    for document in range(100):
        vectors.add(document, np.arange(10) + 10 * document, rng.normal(size=(10, 32)))
    assert vectors.n_bytes == 1000 * row_bytes
    for document in range(90):
        vectors.remove(document)
        check_integrity(vectors)
        assert vectors.n_bytes <= 2 * (len(vectors) + 64) * (row_bytes + 8)
    for document in range(90, 100):
        vectors.remove(document)
    assert vectors.n_bytes == 0


@pytest.mark.parametrize("prefilter_from", [100, 10**9])
def test_searches_beside_changes_see_whole_documents_and_never_one_that_was_removed(prefilter_from):
    """Every row of document d is the same vector of its own, so a torn or foreign row would show in its score."""
    n_dim, n_rows, n_standing = 64, 7, 40
    rng = np.random.default_rng(8)
    of_document = rng.normal(size=(400, n_dim)).astype(np.float32)
    of_document /= np.linalg.norm(of_document, axis=1)[:, np.newaxis]
    vectors = Vectors(n_dim, prefilter_from=prefilter_from, slab_rows=32)
    first_there = 0  # documents below are removed: set after remove has returned
    failures, ready, done = [], threading.Barrier(4), threading.Event()

    def add(document):
        ids = np.arange(n_rows) + n_rows * document
        vectors.add(document, ids, np.tile(of_document[document], (n_rows, 1)))

    def search():
        order = np.random.default_rng(threading.get_ident())
        ready.wait(5)
        while not done.is_set():
            gone = first_there
            document = int(order.integers(max(0, gone - 3), min(gone + n_standing, 400)))
            found = vectors.search(of_document[document], n_rows)
            documents = [id // n_rows for id, _ in found]
            if min(documents) < gone:
                failures.append(f"document {min(documents)} is found, and those below {gone} were removed")
            if documents.count(document) not in (0, n_rows):
                failures.append(f"{documents.count(document)} rows of document {document}")
            for id, score in found:
                if abs(score - of_document[id // n_rows] @ of_document[document]) > 1e-5:
                    failures.append(f"row {id} is torn: {score}")

    for document in range(n_standing):
        add(document)
    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        ready.wait(5)
        for document in range(n_standing, 400):
            add(document)
            vectors.remove(document - n_standing)
            first_there = document - n_standing + 1
    finally:
        done.set()
        for thread in threads:
            thread.join(20)
    assert failures == []
    assert len(vectors) == n_rows * n_standing
