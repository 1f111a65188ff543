"""Endpoints: a handler together with what a request to it may say and what it answers.

The fields that stand here are those that are read: the handler is given them as `asked`, checked, and nothing else of
the body or the query. `openapi.py` makes the document of the API from the same values.
"""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from offgrid.api.answers import JSON
from offgrid.api.fields import Asked, Field, Object
from offgrid.api.shapes import Shape
from offgrid.errors import BadRequest
from offgrid.web.message import Request, Response

FORM = "application/x-www-form-urlencoded"


class Endpoint:
    """Called as `endpoint(request, app, **params of the path)`.

    `takes`: the fields of the body or the query, None where neither is looked at; `source` says which of them. An
    "upload" comes as JSON or with files as multipart/form-data, and its handler reads it (`uploads.receive`).
    `answers`: status → media type → what it holds, as `answers.py` writes it. `errors`: statuses of errors that no
    other fact of the route tells.
    """

    def __init__(self, handler: Callable, takes: Shape | None, source: str, answers: dict, errors: tuple[int, ...]):
        self.handler, self.takes, self.source = handler, takes, source
        self.answers, self.errors = answers, errors
        self.may_be_empty = isinstance(takes, Object) and takes.needs_nothing
        self.__doc__ = handler.__doc__
        self.__name__ = handler.__name__

    def __call__(self, request: Request, app, **params: str) -> Response | None:
        if self.takes is None or self.source == "upload":
            return self.handler(request, app, **params)
        return self.handler(request, app, self._read(request), **params)

    def _read(self, request: Request) -> Asked:
        if self.source == "query":
            return self.takes.read_query(request.query)
        if self.source == "form":
            return self.takes.read_form(_form(request))
        return self.takes.read({} if self.may_be_empty and not request.body else request.json(), "")


def endpoint(
    *,
    body: tuple[Field, ...] | Shape | None = None,
    query: tuple[Field, ...] | None = None,
    form: tuple[Field, ...] | None = None,
    upload: tuple[Field, ...] | None = None,
    answer: Any = None,
    answers: dict[int, dict[str, Any]] | None = None,
    errors: tuple[int, ...] = (),
) -> Callable[[Callable], Endpoint]:
    """Makes a handler an endpoint. `answer` is that of a 200 in JSON; `answers` says more.

    A body may also be a shape of its own that is read as `Asked`.
    """
    given = {"body": body, "query": query, "form": form, "upload": upload}
    sources = [source for source, fields in given.items() if fields is not None]
    if len(sources) > 1:
        raise ValueError("a request says what it asks in one place: body, query, form or upload")
    takes = given[sources[0]] if sources else None
    takes = Object(*takes) if isinstance(takes, tuple) else takes
    told = {200: {JSON: answer}} if answers is None else answers
    return lambda handler: Endpoint(handler, takes, "".join(sources), told, errors)


def _form(request: Request) -> dict[str, str]:
    try:
        pairs = parse_qsl(request.body.decode(), keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError:
        raise BadRequest(f"The body is not a form: send {FORM} in UTF-8.") from None
    return dict(pairs)
