"""/v1/documents/ingest: how documents come into a data store, as text, as files, from this machine or from the web."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from offgrid.api.access import PERMISSIONS
from offgrid.api.answers import JSON
from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked, Field, Object, required
from offgrid.api.knowledge import DOCUMENT, MAX_TAG_CHARS, STORE, Metadata, Switch, as_json, require_rag, store_for
from offgrid.api.shapes import Text
from offgrid.api.tasks import TASK
from offgrid.api.tasks import as_json as task_as_json
from offgrid.api.uploads import MAX_NAME_CHARS, Received, document_name, file_name, private, receive
from offgrid.errors import BadRequest, PermissionDenied
from offgrid.rag.folders import allowed_path, files_below
from offgrid.rag.readers.formats import is_text
from offgrid.rag.web import fetch_document
from offgrid.store.datastores import DataStore
from offgrid.store.intake import Accepted
from offgrid.web.message import Request, Response
from offgrid.web.stream import Wakeup

MAX_FOLDER_FILES = 10_000

NAME = Text(1, MAX_NAME_CHARS, is_unicode=True)
METADATA = Field("metadata", Metadata(), "Notes about it, for people and for filters.", {})
REPLACE = Field("replace", Switch(), "In the place of the document that has this name.", False)
BACKGROUND = Field("background", Switch(), "Answer at once with a task that does it.", False)
INGEST = (
    Field("name", NAME, "What the document is called; its extension tells what it is.", example="notes.md"),
    Field("content", Text(1, is_unicode=True), "Its text.", example="Water boils at 100 degrees."),
    Field("url", Text(1, 8192), "Where it is fetched from, where the setting rag.fetch_urls allows it."),
    Field(
        "path",
        Text(1, 4096, is_unicode=True),
        "A file or folder of the server's, below one of rag.roots; for administrators.",
    ),
    METADATA,
    REPLACE,
    BACKGROUND,
    STORE,
)
INGEST_URL = (
    required("url", Text(1, 8192), "Where it is fetched from.", "https://example.org/page.html"),
    Field("name", NAME, "What the document is called; else the last part of the address."),
    METADATA,
    REPLACE,
    BACKGROUND,
    STORE,
)
ADDED = {"success": True, "message": str, "document": DOCUMENT}
ACCEPTED = {"success": True, "message": str, "task": TASK}


@endpoint(upload=INGEST, answers={200: {JSON: ADDED}, 202: {JSON: ACCEPTED}})
def ingest(request: Request, app) -> Response:
    """Add documents: a text, files, or what a path or an address names."""
    require_rag(app)  # before a file fills the disk
    with receive(request, app, Object(*INGEST)) as (asked, files):
        store = store_for(request, app, asked, "read_write")
        sources = [name for name in ("content", "url", "path") if name in asked] + (["file"] if files else [])
        if len(sources) != 1:
            given = " and ".join(sources) or "none of them"
            raise BadRequest(f"Send one of content, url and path, or files as multipart/form-data; it is {given}.")
        if len(files) > 1 and "name" in asked:
            raise BadRequest("name goes with one file; several have their own names.", param="name")
        if "path" in asked:
            return add_path(request, app, store, asked)
        if "url" in asked:
            return add_url(request, app, store, asked)
        if "content" in asked:
            files.append(_text_file(app, asked))
        return add_files(request, app, store, asked, files)


@endpoint(body=INGEST_URL, answers={200: {JSON: ADDED}, 202: {JSON: ACCEPTED}}, errors=(502,))
def ingest_url(request: Request, app, asked: Asked) -> Response:
    """Add a document from the web, where the server's settings allow that."""
    return add_url(request, app, store_for(request, app, asked, "read_write"), asked)


def add_files(request: Request, app, store: DataStore, asked: Asked, files: list[Received]) -> Response:
    """Take in files that were uploaded: one while the client waits, several in the background."""
    name = asked.get("name")
    accepted = [
        Accepted(
            document_name(name) if name and len(files) == 1 else file.name,
            *(file.path, True, file.content_type, asked["metadata"], asked["replace"]),
        )
        for file in files
    ]
    return add(request, app, store, accepted, in_background=asked["background"] or len(files) > 1)


def add(request: Request, app, store: DataStore, files: list[Accepted], *, in_background: bool) -> Response:
    if in_background:
        description = files[0].name if len(files) == 1 else f"{len(files)} documents"
        task = app.knowledge.add_later(request.who.owner, store, files, f"{description} into {store.name}")
        message = f"{len(files)} document{'s are' if len(files) > 1 else ' is'} taken in by the task {task.id}."
        return Response.json({"success": True, "message": message, "task": task_as_json(task)}, status=202)
    with Wakeup() as never:
        document = app.knowledge.add(store, files[0], lambda: request.wait_for(never, 0))
    n = document.n_chunks
    message = f"{document.name!r} is added: {n} passage{'s' if n > 1 else ''}."
    return Response.json({"success": True, "message": message, "document": as_json(document)})


def add_path(request: Request, app, store: DataStore, asked: Asked) -> Response:
    """Take in a file or a folder of this machine, which stays where it is."""
    if "documents:local" not in PERMISSIONS[request.who.role]:
        raise PermissionDenied("Only an administrator adds documents by their path on the server.", param="path")
    path = allowed_path(Path(asked["path"]), app.config.rag.roots)
    if path.is_dir():
        found = [(str(one.relative_to(path)), one) for one in files_below(path, MAX_FOLDER_FILES)]
        if not found:
            raise BadRequest(f"There is nothing in {asked['path']} that can be read.", param="path")
    else:
        found = [(asked.get("name") or path.name, path)]
    does_replace = asked["replace"] or path.is_dir()  # what has changed in a folder is taken in anew
    files = [Accepted(name, one, False, "", asked["metadata"], does_replace) for name, one in found]
    return add(request, app, store, files, in_background=asked["background"] or path.is_dir())


def add_url(request: Request, app, store: DataStore, asked: Asked) -> Response:
    """Fetch a document and take it in."""
    with fetched_file(request, app, asked["url"]) as fetched:
        name = document_name(asked["name"]) if "name" in asked else fetched.name
        metadata = {"url": asked["url"][:MAX_TAG_CHARS], **asked["metadata"]}
        file = Accepted(name, fetched.path, True, fetched.content_type, metadata, asked["replace"])
        return add(request, app, store, [file], in_background=asked["background"])


@contextmanager
def fetched_file(request: Request, app, url: str) -> Iterator[Received]:
    """A document from the web, on the disk; when the block raises it is deleted. Raises PermissionDenied, ApiError."""
    if not app.config.rag.fetch_urls:
        raise PermissionDenied("Documents are not fetched from addresses here (rag.fetch_urls).", param="url")
    path = app.knowledge.new_upload()
    try:
        with Wakeup() as never:
            found = fetch_document(url, path, app.config.rag.max_file_bytes, lambda: request.wait_for(never, 0))
        yield Received(file_name(found.name), found.content_type, path, path.stat().st_size)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _text_file(app, asked: Asked) -> Received:
    if "name" not in asked:
        raise BadRequest("name is needed with content: what the document is called.", param="name")
    path = app.knowledge.new_upload()
    path.parent.mkdir(parents=True, exist_ok=True)
    data = asked["content"].encode()
    if len(data) > app.config.rag.max_file_bytes:
        raise BadRequest(f"content has {len(data)} bytes; rag.max_file_bytes is the most.", param="content")
    with open(path, "xb", opener=private) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    name = document_name(asked["name"])
    return Received(name, "" if is_text(name) else "text/plain", path, len(data))
