"""The files of a data store as LoLLMs' clients add and remove them, at /api/store and /lollms/v1/datastores.

A file is a document under its name. Uploads answer with a task at once, as LoLLMs' do.
"""

from offgrid.api.answers import JSON
from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked, Field, Ignored, Object, Unsupported, required
from offgrid.api.ingest import fetched_file
from offgrid.api.knowledge import MAX_TAG_CHARS, Metadata, Switch
from offgrid.api.lollms.datastores import open_store, username_of
from offgrid.api.shapes import ListOf, Text
from offgrid.api.tasks import TASK, as_json
from offgrid.api.uploads import MAX_NAME_CHARS, receive
from offgrid.errors import BadRequest, NotFound
from offgrid.store.intake import Accepted
from offgrid.store.task_rows import Task
from offgrid.web.message import Request, Response

MAX_LISTED = 100_000
LOLLMS_TASK = {**TASK, "file_name": (str, None), "total_files": int, "owner_username": str}
FILENAME = required("filename", Text(1, MAX_NAME_CHARS, is_unicode=True), "The file's name.", "law.txt")
UPLOAD = (
    Field("manual_metadata_json", Metadata(), "Notes about these files: a JSON object.", {}),
    Ignored("metadata_option", "Notes are those that are sent; none are made up."),
    Ignored("vectorize_with_metadata", "Vectors are made of headings and text."),
    Field("replace", Switch(), "In the place of the files that have these names.", False),
)
SCRAPE = (
    required("url", Text(1, 8192), "The page.", "https://example.org/"),
    Unsupported("depth", "one page is fetched, not those that it links to.", 0),
)


@endpoint(answer=[{"filename": str}])
def list_files(request: Request, app, id: str) -> Response:
    """The files of a data store."""
    store = open_store(request, app, id)
    found = app.knowledge.documents.list(store, MAX_LISTED, 0)
    return Response.json([{"filename": document.name} for document in found])


@endpoint(query=(FILENAME,), answer={"content": str})
def get_content(request: Request, app, asked: Asked, id: str) -> Response:
    """The text of a file."""
    store = open_store(request, app, id)
    document = app.knowledge.documents.get(store, asked["filename"])
    return Response.json({"content": app.knowledge.documents.text(document.number)})


@endpoint(upload=UPLOAD, answers={202: {JSON: LOLLMS_TASK}})
def upload_files(request: Request, app, id: str) -> Response:
    """Add files to a data store, in the background."""
    store = open_store(request, app, id, "read_write")
    with receive(request, app, Object(*UPLOAD)) as (asked, files):
        if not files:
            raise BadRequest("There is no file in the form: send one or several as multipart/form-data.", param="files")
        accepted = [
            Accepted(f.name, f.path, True, f.content_type, asked["manual_metadata_json"], asked["replace"])
            for f in files
        ]
        return _accept(request, app, store, accepted)


@endpoint(body=SCRAPE, answers={202: {JSON: LOLLMS_TASK}}, errors=(502,))
def scrape_url(request: Request, app, asked: Asked, id: str) -> Response:
    """Add a page of the web to a data store, where the server's settings allow that."""
    store = open_store(request, app, id, "read_write")
    with fetched_file(request, app, asked["url"]) as fetched:
        metadata = {"url": asked["url"][:MAX_TAG_CHARS]}
        file = Accepted(fetched.name, fetched.path, True, fetched.content_type, metadata, does_replace=True)
        return _accept(request, app, store, [file])


@endpoint(answer={"message": str})
def delete_file(request: Request, app, id: str, filename: str) -> Response:
    """Delete a file from a data store."""
    store = open_store(request, app, id, "read_write")
    app.knowledge.delete(store, app.knowledge.documents.get(store, filename))
    return Response.json({"message": f"The file {filename!r} is deleted."})


@endpoint(
    body=(
        required("filenames", ListOf(Text(1, MAX_NAME_CHARS, is_unicode=True), 1000, 1), "Which files.", ["law.txt"]),
    ),
    answer={"message": str, "deleted_count": int, "failed_files": [str]},
)
def delete_files(request: Request, app, asked: Asked, id: str) -> Response:
    """Delete several files from a data store."""
    store = open_store(request, app, id, "read_write")
    failed = []
    for name in asked["filenames"]:
        try:
            app.knowledge.delete(store, app.knowledge.documents.get(store, name))
        except NotFound:
            failed.append(name)
    n = len(asked["filenames"]) - len(failed)
    return Response.json({"message": f"{n} files are deleted.", "deleted_count": n, "failed_files": failed})


@endpoint(answer=[LOLLMS_TASK])
def list_tasks(request: Request, app) -> Response:
    """One's tasks, newest first."""
    tasks = app.tasks.list(request.who.owner, 200, 0)
    return Response.json([task_as_json(app, task) for task in tasks])


@endpoint(answer=LOLLMS_TASK)
def get_task(request: Request, app, id: str) -> Response:
    """How far a task is."""
    return Response.json(task_as_json(app, app.tasks.get(request.who.owner, id)))


@endpoint(body=(), answer=LOLLMS_TASK, errors=(409,))
def cancel_task(request: Request, app, _asked: Asked, id: str) -> Response:
    """Cancel a task."""
    return Response.json(task_as_json(app, app.tasks.cancel(request.who.owner, id)))


def _accept(request: Request, app, store, files: list[Accepted]) -> Response:
    names = files[0].name if len(files) == 1 else f"{len(files)} documents"
    task = app.knowledge.add_later(request.who.owner, store, files, f"{names} into {store.name}")
    about = {"file_name": files[0].name if len(files) == 1 else None, "total_files": len(files)}
    return Response.json(task_as_json(app, task) | about, status=202)


def task_as_json(app, task: Task) -> dict:
    about = {"file_name": None, "total_files": 0, "owner_username": username_of(app, task.owner)}
    return as_json(task) | about
