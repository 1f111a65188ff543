"""/v1/documents: what is in a data store; without `datastore_id` it is the caller's own knowledge base."""

from offgrid.api import paging
from offgrid.api.answers import DONE, PAGE
from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked, Field, Object
from offgrid.api.knowledge import DOCUMENT, STORE, as_json, store_for
from offgrid.api.shapes import Text
from offgrid.api.uploads import MAX_NAME_CHARS
from offgrid.errors import BadRequest
from offgrid.web.message import Request, Response

WHICH = (Field("id", Text(1, MAX_NAME_CHARS, is_unicode=True), "The document's id or its name."), STORE)
_NAMED = Object(*WHICH)


@endpoint(query=(*paging.PAGE, STORE), answer={"documents": [DOCUMENT], **PAGE})
def list_documents(request: Request, app, asked: Asked) -> Response:
    """The documents of a data store, newest first."""
    store = store_for(request, app, asked)
    found = app.knowledge.documents.list(store, asked["limit"], asked["offset"])
    answer = {"documents": [as_json(one) for one in found], "count": len(found)}
    return Response.json(answer | {"total": app.knowledge.documents.count(store)[0]})


@endpoint(query=(STORE,), answer=DOCUMENT)
def get_document(request: Request, app, asked: Asked, id: str) -> Response:
    """One document, by its id or name."""
    return Response.json(as_json(app.knowledge.documents.get(store_for(request, app, asked), id)))


@endpoint(query=(STORE,), answer={"id": str, "name": str, "content": str})
def get_content(request: Request, app, asked: Asked, id: str) -> Response:
    """The text of a document, as it was read."""
    document = app.knowledge.documents.get(store_for(request, app, asked), id)
    content = app.knowledge.documents.text(document.number)
    return Response.json({"id": document.id, "name": document.name, "content": content})


@endpoint(query=(STORE,), answer=DONE)
def delete_document(request: Request, app, asked: Asked, id: str) -> Response:
    """Delete a document, by its id or name."""
    return _delete(request, app, asked, id)


@endpoint(query=WHICH, answer=DONE)
def delete_by_query(request: Request, app, asked: Asked) -> Response:
    """Delete the document that `id` names."""
    return _delete(request, app, asked, _id_of(asked))


@endpoint(body=WHICH, answer=DONE)
def delete_by_body(request: Request, app, asked: Asked) -> Response:
    """Delete the document that `id` names, for programs that cannot send DELETE."""
    named = _NAMED.read_query(request.query) | asked  # some clients say it in the address
    return _delete(request, app, named, _id_of(named))


def _delete(request: Request, app, asked: Asked | dict, id: str) -> Response:
    store = store_for(request, app, asked, "read_write")
    document = app.knowledge.documents.get(store, id)
    app.knowledge.delete(store, document)
    return Response.json({"success": True, "message": f"{document.name!r} is deleted."})


def _id_of(asked: Asked | dict) -> str:
    if "id" not in asked:
        raise BadRequest("id is missing: the document's id or its name.", param="id")
    return asked["id"]
