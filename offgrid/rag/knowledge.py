"""The knowledge base as a whole: what the API and the agents ask of it.

Owns the data stores' documents, their vectors in memory, and the work on them in the background. Every store keeps to
one embedding model; while that is missing, or there is none at all, it is searched by words. Must stay true: what was
accepted is in the database until it is a document or was refused, and is gone on with after a restart.
"""

import logging
import secrets
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from offgrid.engine.catalog import Catalog, ModelFile
from offgrid.engine.pool import Pool
from offgrid.errors import ApiError, BadRequest, Conflict, ModelNotFound, NotFound, StorageFull
from offgrid.rag.embedding import Check, EmbeddingModel
from offgrid.rag.ingest import Ingest, is_end_of_server, patiently
from offgrid.rag.reader import Reader
from offgrid.rag.readers.limits import Limits
from offgrid.sections import EngineSettings, RagSettings
from offgrid.store.datastores import DataStore, DataStores, Space
from offgrid.store.db import Database
from offgrid.store.documents import Document, Documents
from offgrid.store.intake import Accepted, Intake
from offgrid.store.passages import Passages
from offgrid.store.task_rows import Task
from offgrid.store.tasks import Interrupted, Run, Tasks

if TYPE_CHECKING:  # they load numpy, which is not for the server's start
    from offgrid.rag.indexes import Indexes
    from offgrid.rag.search import Found, Question

log = logging.getLogger(__name__)

N_NAMED = 100  # documents and failures in a task's result


class Knowledge:
    """Every method may be called from any thread. Raises ApiError."""

    def __init__(
        self,
        db: Database,
        tasks: Tasks,
        pool: Pool,
        catalog: Catalog,
        engine: EngineSettings,
        settings: RagSettings,
        uploads: Path,
    ):
        """`uploads`: the folder of files that are not yet documents."""
        self.settings = settings
        self.uploads = uploads
        self._limits = Limits(max_file_bytes=settings.max_file_bytes)
        self.stores = DataStores(db)
        self.documents = Documents(db)
        self.passages = Passages(db)
        self._intake = Intake(db, uploads)
        self._tasks = tasks
        self._pool = pool
        self._catalog = catalog
        self._engine = engine
        self._sweeping = threading.Lock()  # held by the only thread that clears away
        self._is_to_sweep = threading.Event()  # there may be something
        self._making = threading.Lock()
        self._made: Indexes | None = None
        self._is_stopping = False
        self._ingest = Ingest(
            *(self.stores, self.documents, self.passages, self._intake, lambda: self._indexes, self._space_of),
            *(settings.chunk_tokens, settings.overlap_tokens),
        )

    @property
    def _indexes(self) -> "Indexes":
        with self._making:  # two of them would not see each other's changes
            if self._made is None:
                from offgrid.rag.indexes import Indexes

                self._made = Indexes(self.passages, self._pool.budget.machine_bytes() // 4)
            return self._made

    def start(self) -> None:
        """Go on with what an earlier server did not finish, and clear away what it left."""
        try:
            self.documents.drop_unasked()
            self._resume()
        except StorageFull as error:  # no reason not to start: the next one goes on
            log.warning("unfinished documents stay as they are: %s", error.message)
        self.sweep()

    def _resume(self) -> None:
        for task in self._intake.tasks():
            batch = _Batch(self, self._intake.of(task), task)
            batch.has_rows.set()
            if self._tasks.resume(task, batch.work, on_end=batch.end) is None:
                self._give_up(task)
        kept = self._intake.uploads()
        for path in self.uploads.glob("*"):
            if path.name not in kept:
                path.unlink(missing_ok=True)

    def stop(self) -> None:
        self._is_stopping = True

    # --- searching ---

    def search(self, store: DataStore, question: "Question") -> "Found":
        """The passages of a store that answer a question."""
        from offgrid.rag.search import search

        if not store.is_on:
            message = f"The data store {store.name!r} is switched off: POST /v1/rag/enable switches it on."
            raise Conflict(message, code="rag_disabled")
        while True:
            model, why = self._model_of_space(store)
            found = search(store, question, self.passages, self._indexes, model, why)
            now = None if found.hits else self.stores.by_number(store.number)
            if now is None or now.space == store.space:
                return found
            store = replace(now, level=store.level)  # its vectors were another model's meanwhile

    def embedding_model(self, name: str = "") -> EmbeddingModel | None:
        """The embedding model of that name; without one the default, None when there is none. Raises ModelNotFound."""
        try:
            file = self._catalog.resolve(name) if name else self._default_file()
        except ModelNotFound:
            if name:
                raise
            return None
        if file.kind != "embedding":
            raise BadRequest(f"{file.id} is a {file.kind} model and makes no vectors.", param="embedding_model")
        return EmbeddingModel(self._pool, file, self._engine)

    def why_words_only(self, store: DataStore) -> str:
        """Why a store is searched by words alone; "" where it is not."""
        return self._model_of_space(store)[1]

    @property
    def index_bytes(self) -> int:
        """Memory that the vectors of all stores take now."""
        return 0 if self._made is None else self._made.n_bytes

    # --- adding ---

    def new_upload(self) -> Path:
        """A path for a file that is about to be taken in."""
        return self.uploads / secrets.token_hex(16)

    def add(self, store: DataStore, file: Accepted, check: Check) -> Document:
        """Take in one file now; an uploaded one is deleted. Raises what `check` does."""
        try:
            with Reader(self._limits) as reader:
                return self._ingest.take_in(store, file, reader, check, lambda share: None)
        finally:
            if file.is_upload:
                file.path.unlink(missing_ok=True)
            self.sweep()

    def add_later(self, owner: str, store: DataStore, files: list[Accepted], description: str) -> Task:
        """Take in files in the background; when this returns they are as good as added, whatever happens.

        Uploaded ones must be on the disk (fsync). Raises Unavailable.
        """
        batch = _Batch(self, files)
        task = self._tasks.start(owner, "ingest", description, batch.work, on_end=batch.end)
        batch.task = task.id
        try:
            self._intake.add(store, task.id, files)
        finally:
            batch.has_rows.set()
        return task

    def reembed(self, owner: str, store: DataStore, model: EmbeddingModel) -> Task:
        """Compute all vectors of a store anew with another model; it is searched with the old ones meanwhile."""
        description = f"Vectors of {store.name} with {model.id}"
        return self._tasks.start(owner, "reembed", description, lambda run: self._reembed(run, store, model))

    def choose_model(self, store: DataStore, model: EmbeddingModel) -> None:
        """Which model makes the vectors of a store that is still empty."""
        self.stores.use_space(store, self._new_space(store, model))

    # --- removing ---

    def delete(self, store: DataStore, document: Document) -> None:
        if store.space is None:
            self.documents.delete(store, document)
        else:
            with self._indexes.changing(store):
                self.documents.delete(store, document)
                self._indexes.remove(store, document.number)
        self.sweep()

    def delete_store(self, store: DataStore) -> None:
        if self._made is None:
            self.stores.delete(store)
        else:
            with self._made.changing(store):  # whoever reads its vectors in finds all of them or none
                self.stores.delete(store)
                self._made.forget(store)
        self.sweep()

    def forget(self, stores: list[DataStore]) -> None:
        """Stores that went with their owner's account."""
        for store in stores:
            if self._made is not None:
                with self._made.changing(store):
                    self._made.forget(store)
        self.sweep()

    def sweep(self) -> None:
        """Clear away what was deleted, in the background."""
        self._is_to_sweep.set()
        if self._sweeping.acquire(blocking=False):
            threading.Thread(target=self._sweep, name="kb:sweep", daemon=True).start()

    def _sweep(self) -> None:
        while True:
            self._is_to_sweep.clear()
            try:
                while not self._is_stopping and self.documents.sweep():
                    pass
            except Exception as error:  # the disk is full, or the database has been closed: the next start goes on
                log.log(logging.DEBUG if self._is_stopping else logging.WARNING, "not cleared away: %s", error)
            self._sweeping.release()
            # Who came since then has found it taken, and has left the work to us.
            if not self._is_to_sweep.is_set() or not self._sweeping.acquire(blocking=False):
                return

    # --- the work of tasks ---

    def take_in_all(self, run: Run) -> dict:
        """The files that a task was given become documents."""
        files = self._intake.of(run.task.id)
        added: list[str] = []
        failed: list[dict] = []
        try:
            with Reader(self._limits) as reader:
                for i, file in enumerate(files):
                    self._take_in_one(run, file, reader, (i, len(files)), added, failed)
        except BaseException as error:
            if not isinstance(error, Interrupted):
                self._give_up(run.task.id)
            raise
        finally:
            self.sweep()
        if failed and not added and len(files) == 1:
            raise BadRequest(failed[0]["error"])
        names = {"documents": added[:N_NAMED], "failed": failed[:N_NAMED]}
        return {"added": len(added), "n_failed": len(failed), **names}

    def _take_in_one(
        self, run: Run, file: Accepted, reader: Reader, place: tuple[int, int], added: list[str], failed: list[dict]
    ) -> None:
        i, n = place
        run.check()
        try:
            store = self.stores.by_number(file.store)
            if store is None:
                raise NotFound("The data store was deleted.", code="datastore_not_found")
            if file.does_replace and self._is_unchanged(store, file):
                self._intake.give_up(file.number)
            else:

                def report(share: float) -> None:
                    run.report(100 * (i + share) / n)

                document = patiently(run, lambda: self._ingest.take_in(store, file, reader, run.check, report))
                added.append(document.id)
        except ApiError as error:
            if is_end_of_server(error):
                raise Interrupted from None
            self._intake.give_up(file.number)
            failed.append({"name": file.name, "error": error.message})
            run.note(f"{file.name}: {error.message}", "error")
        if file.is_upload:
            file.path.unlink(missing_ok=True)
        run.report(100 * (i + 1) / n)

    def _is_unchanged(self, store: DataStore, file: Accepted) -> bool:
        from offgrid.rag.ingest import hash_file

        known = self.documents.hash_of(store, file.name)
        return known is not None and hash_file(file.path, lambda: None)[0] == known

    def end_of_batch(self, task: str, files: list[Accepted]) -> None:
        """Nothing is left of it but documents: its task was cancelled before it began, or its store was deleted."""
        if self._is_stopping:
            return
        try:
            self._give_up(task)
            for file in files:
                if file.is_upload:
                    file.path.unlink(missing_ok=True)
        except Exception:  # the next start does it
            log.exception("what the task %s left was not cleared away", task)

    def _give_up(self, task: str) -> None:
        for file in self._intake.of(task):
            self._intake.give_up(file.number)
            if file.document is not None:
                self.documents.drop(file.document)
            if file.is_upload:
                file.path.unlink(missing_ok=True)

    def _reembed(self, run: Run, store: DataStore, model: EmbeddingModel) -> dict:
        n_done = 0
        try:
            space = self._new_space(store, model)
            while True:  # documents may come in meanwhile
                missing = self.documents.without_vectors(store, space)
                if not missing and self._switch(store, space):
                    return {"embedding_model": model.id, "n_dim": space.n_dim, "documents": n_done}
                n_all = n_done + len(missing)
                for number in missing:
                    self._embed_anew(run, number, space, model, (n_done, n_all))
                    n_done += 1
        except ApiError as error:
            if is_end_of_server(error):
                raise Interrupted from None
            raise

    def _embed_anew(self, run: Run, number: int, space: Space, model: EmbeddingModel, place: tuple[int, int]) -> None:
        i, n = place
        n_chunks = len(self.passages.numbers(number))
        try:
            self._ingest.embed(number, n_chunks, space, model, run.check, lambda x: run.report(100 * (i + x) / n))
            self.documents.pack_vectors(number, space)
        except NotFound:  # it was deleted
            run.report(100 * (i + 1) / n)

    def _switch(self, store: DataStore, space: Space) -> bool:
        with self._indexes.changing(store):
            if not self.stores.use_space(store, space):
                return False
            self._indexes.forget(store)
            return True

    # --- models ---

    def _default_file(self) -> ModelFile:
        return self._catalog.default("embedding", self._engine.default_embedding_model or None)

    def _new_space(self, store: DataStore, model: EmbeddingModel) -> Space:
        return self.stores.add_space(store, model.id, model.identity, model.embed_documents(["A"]).n_dim)

    def _space_of(self, store: DataStore) -> tuple[Space, EmbeddingModel] | None:
        """The space that new documents of a store belong to, and its model; None: they are searched by words."""
        if store.space is None:
            model = self.embedding_model()
            if model is None or self.documents.count(store)[0]:
                return None
            space = self._new_space(store, model)
            return (space, model) if self.stores.use_space(store, space) else None
        model, why = self._model_of_space(store)
        if model is None:
            raise Conflict(f"{why} Put the model back, or choose another: POST /v1/rag/enable.", code="embedding_model")
        return store.space, model

    def _model_of_space(self, store: DataStore) -> tuple[EmbeddingModel | None, str]:
        """The model that made a store's vectors; or None, and why there is none."""
        if store.space is None:
            if self.embedding_model() is None:
                return None, "There is no embedding model, so only words were looked for."
            if not self.documents.count(store)[0]:
                return None, ""
            hint = "POST /v1/rag/enable makes them."
            return None, f"The documents have no vectors yet, so only words were looked for. {hint}"
        try:
            model = self.embedding_model(store.space.model)
        except ModelNotFound:
            return None, f"The embedding model {store.space.model}, which made the vectors, is not there."
        if not model.matches(store.space):
            return None, f"The vectors were made by another file than the {store.space.model} that is there now."
        return model, ""


class _Batch:
    """Files that one task takes in. `has_rows`: they are kept, so that its work may begin."""

    def __init__(self, knowledge: Knowledge, files: list[Accepted], task: str = ""):
        self.task = task
        self.has_rows = threading.Event()
        self._knowledge, self._files = knowledge, files
        self._is_to_go_on = False

    def work(self, run: Run) -> dict:
        self.has_rows.wait()
        try:
            return self._knowledge.take_in_all(run)
        except Interrupted:
            self._is_to_go_on = True
            raise

    def end(self) -> None:
        if not self._is_to_go_on:
            self._knowledge.end_of_batch(self.task, self._files)
