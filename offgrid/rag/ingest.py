"""Takes one file into a data store: read, cut, embed, and found from the last step on.

Each step is kept before the next begins, so that after a power cut the work goes on where it was: chunks that have
their vectors are not computed again. Must stay true: a document is found whole or not at all; whatever fails, what had
come in of it is given up, unless the server itself is ending.
"""

import hashlib
import os
import stat
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from offgrid.errors import BadRequest, InsufficientMemory, NotFound, Unavailable
from offgrid.rag import chunk as chunking
from offgrid.rag.embedding import CHECK_INTERVAL_S, Check, EmbeddingModel
from offgrid.rag.parsed import Parsed
from offgrid.store.datastores import DataStore, DataStores, Space
from offgrid.store.documents import Document, Documents, NewChunk, NewDocument, SpaceChanged
from offgrid.store.intake import Accepted, Intake
from offgrid.store.passages import Passages
from offgrid.store.tasks import Interrupted, Run

if TYPE_CHECKING:  # it loads numpy, which is not for the server's start
    from offgrid.rag.indexes import Indexes

N_EMBEDDED = 32  # chunks of one request: some seconds on a Pi, so that little is lost and progress is seen
N_KEPT_AT_ONCE = 200  # chunks of one transaction
LONGEST_SHARE = 0.8  # of what the model takes in; the rest is for the headings and for how words merge
READ_BYTES = 1 << 20
N_TRIES, RETRY_S = 30, 10  # of work in the background, while models are busy

Report = Callable[[float], None]  # the share that is done, 0 to 1


class Reading(Protocol):
    """What turns a file into text; `reader.Reader` is the real one."""

    def read(self, path: Path, name: str, content_type: str = "", check: Check = ...) -> Parsed: ...


class Ingest:
    """Any number of threads, each with a file of its own."""

    def __init__(
        self,
        stores: DataStores,
        documents: Documents,
        passages: Passages,
        intake: Intake,
        indexes: "Callable[[], Indexes]",
        space_of: Callable[[DataStore], tuple[Space, EmbeddingModel] | None],
        chunk_tokens: int,
        overlap_tokens: int,
    ):
        """`space_of`: the space that a store is searched in and its model; None: by words alone. May raise Conflict."""
        self._stores, self._documents, self._passages, self._intake = stores, documents, passages, intake
        self._indexes = indexes
        self._space_of = space_of
        self._chunk_tokens = chunk_tokens
        self._overlap_tokens = overlap_tokens

    def take_in(self, store: DataStore, file: Accepted, reader: Reading, check: Check, report: Report) -> Document:
        """The document that a file became. Raises ApiError (what is wrong with the file, Conflict), and as `check`."""
        number = file.document
        try:
            n_chunks = self._documents.incoming(number) if number is not None else None
            if not n_chunks:
                number = self._begin(store, file, reader, check)
                n_chunks = self._documents.incoming(number)
            while True:
                store = self._current(store)
                chosen = self._space_of(store)
                if chosen is not None:
                    space, model = chosen
                    self.embed(number, n_chunks, space, model, check, report)
                try:
                    return self._finish(store, number, chosen[0] if chosen else None, file)
                except SpaceChanged:
                    continue
        except BaseException as error:
            if number is not None and not is_end_of_server(error):
                self._documents.drop(number)
            raise

    def embed(
        self, number: int, n_chunks: int, space: Space, model: EmbeddingModel, check: Check, report: Report
    ) -> None:
        """Compute the vectors of a document that are not there yet, and keep them a few at a time."""
        done = self._documents.n_vectors(number, space)
        while done < n_chunks:
            check()
            texts = [embedded_text(*one) for one in self._passages.texts(number, done, N_EMBEDDED)]
            if not texts:
                raise NotFound("The document was deleted while it was embedded.")
            vectors = model.embed_documents(texts, check)
            self._documents.add_vectors(number, space, done, vectors.data)
            done += len(texts)
            report(done / n_chunks)

    def _begin(self, store: DataStore, file: Accepted, reader: Reading, check: Check) -> int:
        """Read and cut a file; the number of the document whose chunks are all there."""
        if file.document is not None:
            self._documents.drop(file.document)
        digest, n_bytes = hash_file(file.path, check)
        parsed = reader.read(file.path, file.name, file.content_type, check)
        new = NewDocument(
            file.name,
            parsed.content_type,
            n_bytes,
            digest,
            parsed.metadata | (file.metadata or {}),
            parsed.text,
            parsed.n_pages,
        )
        number = self._documents.begin(store, new, does_replace=file.does_replace)
        if file.number:
            self._intake.note_document(file.number, number)
        try:
            chunks = self._cut(store, parsed, check)
            if not chunks:
                raise BadRequest(f"{file.name} holds no text.")
            for first in range(0, len(chunks), N_KEPT_AT_ONCE):
                check()
                self._documents.add_chunks(store, number, first, chunks[first : first + N_KEPT_AT_ONCE])
            self._documents.all_chunks_added(number, len(chunks))
        except BaseException as error:
            if not is_end_of_server(error):
                self._documents.drop(number)
            raise
        return number

    def _cut(self, store: DataStore, parsed: Parsed, check: Check) -> list[NewChunk]:
        chosen = self._space_of(self._current(store))
        most, overlap = store.chunk_tokens or self._chunk_tokens, store.overlap_tokens or self._overlap_tokens
        if chosen is None:
            return chunking.chunk(parsed, chunking.estimate, most, min(overlap, most // 2))
        model = chosen[1]
        n_limit = model.lengths([], check).n_limit
        most = max(8, min(most, int(n_limit * LONGEST_SHARE)))

        def count(texts: list[str]) -> tuple[int, ...]:
            return model.lengths(texts, check).n_tokens

        chunks = chunking.chunk(parsed, count, most, min(overlap, most // 2))
        return chunks if most + chunking.MAX_HEADING_CHARS <= n_limit else _fitted(chunks, count, n_limit)

    def _finish(self, store: DataStore, number: int, space: Space | None, file: Accepted) -> Document:
        finish = {"does_replace": file.does_replace, "intake": file.number}
        if space is None:
            document, _ = self._documents.finish(store, number, None, **finish)
            return document
        indexes = self._indexes()
        with indexes.changing(store):
            indexes.add(store, space, number, self._documents.parts(number, space))
            try:
                document, old = self._documents.finish(store, number, space, **finish)
            except BaseException:
                indexes.remove(store, number)
                raise
            if old is not None:
                indexes.remove(store, old)
        return document

    def _current(self, store: DataStore) -> DataStore:
        """The store as it is by now. Raises NotFound."""
        found = self._stores.by_number(store.number)
        if found is None:
            raise NotFound(f"The data store {store.name!r} was deleted.", code="datastore_not_found")
        return replace(found, level=store.level)


def is_end_of_server(error: BaseException) -> bool:
    """Whether the work is to be gone on with at the next start."""
    return isinstance(error, Interrupted) or (isinstance(error, Unavailable) and error.code == "server_stopping")


def patiently(run: Run, take_in: Callable[[], Document]) -> Document:
    """Take a file in, and again after a while where the model had no room or no time for it. Raises as `take_in`."""
    for _ in range(N_TRIES - 1):
        try:
            return take_in()
        except (InsufficientMemory, Unavailable) as error:
            if is_end_of_server(error):
                raise
            run.note(f"{error.message} Tried again in {RETRY_S} s.", "warning")
        ends_at = time.monotonic() + RETRY_S
        while (left_s := ends_at - time.monotonic()) > 0:
            run.check()
            time.sleep(min(left_s, CHECK_INTERVAL_S))
    return take_in()


def _fitted(chunks: list[NewChunk], count: chunking.Count, n_limit: int) -> list[NewChunk]:
    """The chunks without the headings that would make them too long for the model."""
    fitted: list[NewChunk] = []
    for first in range(0, len(chunks), N_KEPT_AT_ONCE):
        some = chunks[first : first + N_KEPT_AT_ONCE]
        lengths = count([embedded_text(one.heading, one.text) for one in some])
        fitted += [one if n <= n_limit else replace(one, heading="") for one, n in zip(some, lengths, strict=True)]
    return fitted


def embedded_text(heading: str, text: str) -> str:
    """What a model is given of a chunk: what it stands under says what it is about."""
    return f"{heading}\n{text}" if heading else text


def hash_file(path: Path, check: Check) -> tuple[bytes, int]:
    """(SHA-256, bytes) of a file. Raises BadRequest where it cannot be read."""
    digest, n_bytes = hashlib.sha256(), 0
    try:
        # Not to follow a link, nor to wait for who never writes into a FIFO.
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise BadRequest(f"{path.name} is not a regular file.")
            while piece := file.read(READ_BYTES):
                check()
                digest.update(piece)
                n_bytes += len(piece)
    except OSError as error:
        raise BadRequest(f"The file {path.name} cannot be read: {error.strerror}.") from None
    return digest.digest(), n_bytes
