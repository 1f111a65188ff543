"""Files that a client sends: as multipart/form-data, straight to the disk, or as a text within JSON.

The handler of a route that streams its body calls `receive`; the same fields may come in either form. Must stay true:
no file is larger than allowed, nor is it ever whole in memory; what an error leaves behind is deleted.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from offgrid.api.fields import Asked, Object
from offgrid.engine.model_files import require_room, written_to
from offgrid.errors import BadRequest, TooLarge
from offgrid.web.message import Request, parse_json_object
from offgrid.web.multipart import Part, read_parts

FORM_DATA = "multipart/form-data"
MAX_FIELD_BYTES = 1 << 20
MAX_FILES = 1000
MAX_NAME_CHARS = 500
SYNC_EVERY_BYTES = 64 << 20  # how often it is asked whether the disk still has room


@dataclass(frozen=True, slots=True)
class Received:
    """One file; `path` is a fresh one and the caller's from now on."""

    name: str  # as the client spells it, without folders
    content_type: str
    path: Path
    n_bytes: int


@contextmanager
def receive(request: Request, app, fields: Object) -> Iterator[tuple[Asked, list[Received]]]:
    """What the request says and the files that came with it, on the disk; when the block raises, they are deleted.

    Raises BadRequest, TooLarge, StorageFull.
    """
    files: list[Received] = []
    try:
        if _media_type(request) == FORM_DATA:
            texts: dict[str, str] = {}
            pieces = request.incoming.pieces() if request.incoming else iter(())
            for part in read_parts(request.headers.get("content-type", ""), pieces):
                if part.filename is None:
                    if part.name in fields.fields:  # others are passed over: a thousand of them would fill the memory
                        texts[part.name] = part.text(MAX_FIELD_BYTES)
                elif part.filename:  # browsers send an empty name where no file was chosen
                    if len(files) == MAX_FILES:
                        raise BadRequest(f"One request may bring {MAX_FILES} files.")
                    files.append(_keep(part, app))
            asked = fields.read_form(texts)
        else:
            body = request.incoming.read(app.config.server.max_body_bytes) if request.incoming else request.body
            asked = fields.read(parse_json_object(body), "")
        yield asked, files
    except BaseException:
        for file in files:
            file.path.unlink(missing_ok=True)
        raise


def file_name(sent: str) -> str:
    """A name without the folders that a client may have put before it, and fit to be shown."""
    return document_name(sent.replace("\\", "/").rpartition("/")[2])


def document_name(name: str) -> str:
    """A name that somebody has chosen, fit to be shown; / in it has no meaning."""
    name = "".join(c for c in name if c.isprintable()).strip()[:MAX_NAME_CHARS]
    return name if name.strip(". ") else "document"


def private(path: str, flags: int) -> int:
    """An `opener`: nobody else on this machine reads what people send."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _keep(part: Part, app) -> Received:
    path = app.knowledge.new_upload()
    most = app.config.rag.max_file_bytes
    n_bytes = 0
    try:
        with written_to(path.parent), open(path, "xb", opener=private) as file:
            for piece in part.pieces:
                n_bytes += len(piece)
                if n_bytes > most:
                    raise TooLarge(
                        f"The file {file_name(part.filename)} has more than {most} bytes, the most that is taken "
                        "(rag.max_file_bytes).",
                        param=part.name,
                    )
                if n_bytes // SYNC_EVERY_BYTES != (n_bytes - len(piece)) // SYNC_EVERY_BYTES or n_bytes == len(piece):
                    require_room(path.parent, SYNC_EVERY_BYTES)
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise
    return Received(file_name(part.filename), part.content_type, path, n_bytes)
