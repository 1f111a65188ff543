"""GET /openapi.json: the document of the API, as OpenAPI 3.1.

Made from the table of routes and the endpoints in it; nothing is written down here that they say. What is added is
which statuses follow from a route's facts: everything it may be answered with is in the document.
"""

import inspect
import re
import sys
from functools import cache
from http import HTTPStatus

import offgrid
from offgrid.api.access import PUBLIC
from offgrid.api.answers import ERRORS, EVENTS, JSON, NDJSON, schema_of
from offgrid.api.endpoint import FORM, Endpoint, endpoint
from offgrid.api.fields import Object
from offgrid.api.throttle import COMPUTING
from offgrid.api.uploads import FORM_DATA
from offgrid.web.guard import SAFE_METHODS
from offgrid.web.message import Request, Response
from offgrid.web.router import PARAM, Route

ABOUT = "A private AI server for places with no internet."
# What the reading of a request and a stopping server may say, whatever is asked; 501: an unknown transfer coding.
OF_ALL = {400, 408, 413, 421, 431, 500, 501, 503, 505}
MEANINGS = {
    400: "A wrong value, which `param` names, or a request that cannot be read.",
    401: "No credentials, or wrong ones.",
    403: "Not for this role, or not on a server like this one; or a web page of another origin asks.",
    404: "There is no such thing, or it is somebody else's.",
    408: "The request did not arrive in time.",
    409: "It is there already, or not in the state for that.",
    413: "The request, or what it asks to keep, is too large.",
    415: "Another content type is wanted.",
    421: "The server does not answer to this Host.",
    429: "A limit is reached; Retry-After says when it passes.",
    431: "The head of the request is too large.",
    500: "The server or the model's process failed; asking the same again may end the same.",
    501: "This version does not do that.",
    503: "Busy, or about to stop; ask again after Retry-After.",
    502: "The other machine failed, or answered what is of no use.",
    505: "HTTP/1.1 and HTTP/1.0 are spoken here.",
    507: "The model does not fit into the memory, or the disk is full.",
}
IN_PATH = r"^[^\x00-\x1f\x7f]+$"  # as web/message.py reads it
SECURITY = {
    "key": {"type": "http", "scheme": "bearer", "description": "An API key, or the token of a login."},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "The same key."},
}


@endpoint(answer={"openapi": str, "info": {"title": str, "version": str}, "paths": {str: object}})
def get_document(_request: Request, app) -> Response:
    """This document."""
    return Response.json(document(app.router.routes))


@cache
def document(routes: tuple[Route, ...]) -> dict:
    """The whole document, made once; nobody may change it."""
    paths: dict[str, dict] = {}
    tags = {}
    for route in routes:
        tag, meaning = _tag(route.handler)
        tags.setdefault(tag, {"name": tag, "description": meaning})
        path = PARAM.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = {"tags": [tag], **_operation(route)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "OffGrid", "version": offgrid.__version__, "summary": ABOUT, "license": {"name": "MIT"}},
        "servers": [{"url": "/"}],
        "tags": list(tags.values()),
        "paths": paths,
        "components": {"securitySchemes": SECURITY, "responses": _shared_responses()},
    }


def _operation(route: Route) -> dict:
    """Without a key in `security` first where none may be wanted: which it is the server's settings say."""
    made = route.handler
    return {
        "operationId": re.sub(r"\W+", "_", route.method.lower() + PARAM.sub(r"\1", route.path)).strip("_"),
        "summary": first_sentence(made.__doc__),
        "x-permission": route.permission,
        "security": [] if route.permission == PUBLIC else [{}, *({name: []} for name in SECURITY)],
        "parameters": _parameters(route),
        **_body(made),
        "responses": _responses(route),
    }


def _parameters(route: Route) -> list[dict]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "pattern": IN_PATH}}
        for name, _ in PARAM.findall(route.path)
    ]
    if route.handler.source != "query":
        return in_path
    return in_path + [
        {"name": field.name, "in": "query", "description": field.means, "schema": field.schema(is_text=True)}
        for field in route.handler.takes.fields.values()
    ]


def _body(made: Endpoint) -> dict:
    if made.source == "form":
        content = {FORM: {"schema": made.takes.form_schema()}}
    elif made.source == "body":
        content = {JSON: {"schema": made.takes.schema()}}
    elif made.source == "upload":
        content = {JSON: {"schema": made.takes.schema()}, FORM_DATA: {"schema": _with_files(made.takes)}}
    else:
        return {}
    return {"requestBody": {"required": not made.may_be_empty, "content": content}}


def _with_files(fields: Object) -> dict:
    schema = fields.form_schema()
    file = {"contentMediaType": "application/octet-stream", "description": "A file; several of them may come."}
    return schema | {"properties": {**schema["properties"], "file": file}}


def _responses(route: Route) -> dict[str, dict]:
    answers = {
        str(status): {"description": HTTPStatus(status).phrase} | ({"content": _content(media)} if media else {})
        for status, media in route.handler.answers.items()
    }
    shared = {str(status): f"#/components/responses/{_name(route.family, status)}" for status in _errors(route)}
    return {status: {"$ref": ref} for status, ref in shared.items()} | answers


def _content(media: dict) -> dict[str, dict]:
    """Of a stream it is the data of each event, or each line, that has the shape, for which OpenAPI 3.1 has no word."""
    found = {}
    for kind, spec in media.items():
        schema = schema_of(spec)
        found[kind] = {"x-event": schema} if kind in (EVENTS, NDJSON) else {"schema": schema}
    return found


def _errors(route: Route) -> list[int]:
    found = OF_ALL | set(route.handler.errors)
    if route.permission != PUBLIC:
        found |= {401, 403, 429}
    if route.needs_accounts:
        found |= {403}
    if route.method not in SAFE_METHODS:
        found |= {403, 415, 507}  # another site's page; a full disk
    if "{" in route.path:
        found |= {404}
    if route.permission in COMPUTING:
        found |= {404, 507}
    if route.permission.startswith("documents"):
        found |= {403, 404, 409, 507}  # the store, what one may do with it, how it stands; its model
    return sorted(found)


def _shared_responses() -> dict[str, dict]:
    return {
        _name(family, status): {"description": meaning, "content": {JSON: {"schema": schema_of(body)}}}
        for family, body in ERRORS.items()
        for status, meaning in MEANINGS.items()
    }


def _name(family: str, status: int) -> str:
    return f"{family}-{status}"


def _tag(made: Endpoint) -> tuple[str, str]:
    """(name, meaning) of the group that a route is shown in: its module, which is one resource's, or its family's."""
    module = ".".join(made.handler.__module__.split(".")[:3])
    sentence = first_sentence(sys.modules[module].__doc__)
    meaning = sentence.partition(": ")[2] or sentence  # without the paths, which are there to be seen
    name = module.removeprefix("offgrid.api.").replace("_", " ").replace(".", " ")
    return name, meaning[0].upper() + meaning[1:]


def first_sentence(doc: str | None) -> str:
    """Of a docstring, without backquotes."""
    text = " ".join(inspect.cleandoc(doc or "").partition("\n\n")[0].split()).replace("`", "")
    return re.split(r"(?<=[.?])\s", text)[0]
