"""Asks the embedding models: which one there is, its vectors, and how many tokens it finds in a text.

What goes wrong in a worker is raised here as the ApiError that it is. Threads: any; each call waits for its answer.
"""

import hashlib
import threading
from collections.abc import Callable

from offgrid.engine.catalog import ModelFile
from offgrid.engine.pool import Pool
from offgrid.errors import ApiError, Conflict
from offgrid.rag.prefixes import prefixes_for
from offgrid.rag.words import MAX_QUERY_CHARS
from offgrid.sections import EngineSettings
from offgrid.store.datastores import Space
from offgrid.types import Asked, Begun, EmbedRequest, End, Event, Lengths, LengthsRequest, Part, Vectors

CHECK_INTERVAL_S = 0.25  # how soon it is noticed that nobody wants the answer any more
SAMPLE_BYTES = 1 << 20  # of a file's beginning and of its end
ROOM_FOR_SPECIALS = 8  # tokens that a vocabulary puts around a text

Check = Callable[[], None]  # raises when the work is to end


def unwatched() -> None:
    """A Check of work that nobody ends."""


def ask(pool: Pool, model: ModelFile, asked: Asked, check: Check = unwatched) -> End:
    """What comes back of anything but a generation. Raises ApiError, and what `check` raises."""
    ended = threading.Event()
    events: list[Event] = []

    def take(event: Event) -> None:
        if not isinstance(event, Begun | Part):
            events.append(event)
            ended.set()

    job = pool.submit(model, asked, take)
    try:
        while not ended.wait(None if check is unwatched else CHECK_INTERVAL_S):
            check()
    finally:
        job.cancel()
    if isinstance(events[0], ApiError):
        raise events[0]
    return events[0]


class EmbeddingModel:
    """One embedding model file, and how it wants to be asked."""

    def __init__(self, pool: Pool, file: ModelFile, settings: EngineSettings):
        self.id = file.id
        self._pool = pool
        self._file = file
        own = settings.models.get(file.id)
        query, document = prefixes_for(file.id)
        self._query_prefix = query if own is None or own.query_prefix is None else own.query_prefix
        self._document_prefix = document if own is None or own.document_prefix is None else own.document_prefix

    @property
    def identity(self) -> str:
        """What tells its vectors from those of another file of that name; reads 2 MB of the file. Raises Conflict."""
        digest = hashlib.sha256(f"{self._file.size_bytes} {self._document_prefix}".encode())
        try:
            with open(self._file.path, "rb") as file:
                digest.update(file.read(SAMPLE_BYTES))
                file.seek(max(0, file.seek(0, 2) - SAMPLE_BYTES))
                digest.update(file.read(SAMPLE_BYTES))
        except OSError as error:
            raise Conflict(f"The embedding model {self.id} cannot be read: {error.strerror}.") from None
        return digest.hexdigest()

    def matches(self, space: Space) -> bool:
        """Whether vectors of that space are this model's."""
        return self.id == space.model and self.identity == space.file

    def embed_documents(self, texts: list[str], check: Check = unwatched) -> Vectors:
        return ask(self._pool, self._file, EmbedRequest(self.id, [self._document_prefix + t for t in texts]), check)

    def embed_query(self, text: str) -> Vectors:
        """The vectors of a question: one, or, where it is longer than the model takes in, one for each piece of it.

        Of a question its first MAX_QUERY_CHARS count.
        """
        pieces = [self._query_prefix + piece for piece in self._pieces(text[:MAX_QUERY_CHARS])]
        return ask(self._pool, self._file, EmbedRequest(self.id, pieces))

    def _pieces(self, text: str) -> list[str]:
        found = self.lengths([text])
        if found.n_tokens[0] <= found.n_limit or len(text) < 2:
            return [text]
        middle = text.find(" ", len(text) // 2)
        middle = middle if middle > 0 else len(text) // 2
        return [*self._pieces(text[:middle]), *self._pieces(text[middle:])]

    def lengths(self, texts: list[str], check: Check = unwatched) -> Lengths:
        """Tokens of each text; `n_limit`: how many a text to be embedded may have, with its prefix."""
        found = ask(self._pool, self._file, LengthsRequest([*texts, self._document_prefix, self._query_prefix]), check)
        *lengths, n_document, n_query = found.n_tokens
        return Lengths(tuple(lengths), found.n_limit - max(n_document, n_query) - ROOM_FOR_SPECIALS)
