"""Which route answers a method and a path. Pure: knows no sockets, and never calls a handler.

Must stay true: the order of the table changes nothing; a static path wins over `{name}`, and that over `{name:path}`.
"""

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from offgrid.errors import MethodNotAllowed, NotFound

PARAM = re.compile(r"\{([a-z_]+)(:path)?\}")
MAX_PARENTS = 8  # of an unknown path; no route is deeper
_RANK_STATIC, _RANK_SEGMENT, _RANK_PATH, _RANK_END = range(4)


@dataclass(frozen=True)
class Route:
    """One row of the table.

    `path` may hold `{name}` (one segment) and `{name:path}` (one or more segments), each standing for whole segments.
    `family` names the error body's shape; `accepts` the request content types. `service`: of which of the families of
    clients that can be switched off it is; "": of none, so it is always there. `needs_accounts`: it is of no use on a
    server without accounts, and refused there. `streams_body`: the handler reads it as it comes, however long it is.
    """

    method: str
    path: str
    handler: Callable
    permission: str
    family: str = "openai"
    accepts: tuple[str, ...] = ("application/json",)
    service: str = ""
    needs_accounts: bool = False
    streams_body: bool = False


class Router:
    """Finds routes. A trailing slash is not significant; `path` is expected percent-decoded and without query."""

    def __init__(self, routes: Iterable[Route]):
        """Raises ValueError for a path it cannot read and for two routes that would answer the same requests."""
        self.routes = tuple(routes)
        self._static: dict[str, dict[str, Route]] = {}  # path → method → route
        self._patterns: list[tuple[list[int], re.Pattern, Route]] = []  # most specific first
        self._paths: list[str] = []
        taken = set()
        for route in self.routes:
            path = _without_trailing_slash(route.path)
            shape = PARAM.sub(lambda match: "{" + (match[2] or "") + "}", path)  # the names tell nothing apart
            if (route.method, shape) in taken:
                raise ValueError(f"two routes for {route.method} {route.path}")
            taken.add((route.method, shape))
            self._paths.append(path)
            rank, regex = _compiled(path)
            if "{" in path:
                self._patterns.append((rank, regex, route))
            else:
                self._static.setdefault(path, {})[route.method] = route
        self._patterns.sort(key=lambda pattern: pattern[0])

    def match(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """The route and its parameters; HEAD is answered by GET.

        A pattern is tried where a more specific path has no such method: `DELETE /models/loaded` may be
        `DELETE /models/{id}` although `GET /models/loaded` exists.
        Raises NotFound for an unknown path, MethodNotAllowed for a known one that does not answer `method`.
        """
        path = _without_trailing_slash(path)
        if route := self._static.get(path, {}).get(method):
            return route, {}
        candidates = self._candidates(path)
        for wanted in (method, "GET") if method == "HEAD" else (method,):
            for route, params in candidates:
                if route.method == wanted:
                    return route, params
        if candidates:
            raise MethodNotAllowed(method, path, ", ".join(self.methods(path)))
        raise NotFound(f"There is no {path} here.{self._suggestion(path)}")

    def family(self, path: str) -> str:
        """The family of whoever asks for this path, by whatever method; an unknown one is of the family above it."""
        path = _without_trailing_slash(path)
        for _ in range(MAX_PARENTS):
            if candidates := self._candidates(path):
                return candidates[0][0].family
            path = path.rpartition("/")[0]
        return Route.family

    def methods(self, path: str) -> list[str]:
        """What `path` answers, sorted, with HEAD and OPTIONS; empty for an unknown path."""
        found = {route.method for route, _ in self._candidates(_without_trailing_slash(path))}
        if "GET" in found:
            found.add("HEAD")
        return sorted(found | {"OPTIONS"}) if found else []

    def _candidates(self, path: str) -> list[tuple[Route, dict[str, str]]]:
        """Every route of this path, whatever its method, most specific first."""
        found = [(route, {}) for route in self._static.get(path, {}).values()]
        for _, regex, route in self._patterns:
            if match := regex.fullmatch(path):
                found.append((route, match.groupdict()))
        return found

    def _suggestion(self, path: str) -> str:
        # Cut, because difflib's time grows with the square of the length and the path is the client's.
        near = difflib.get_close_matches(path[:200], self._paths, n=1)
        return f" The nearest known path is {near[0]}." if near else ""


def _without_trailing_slash(path: str) -> str:
    return path[:-1] if path.endswith("/") and path != "/" else path


def _compiled(path: str) -> tuple[list[int], re.Pattern]:
    """(sort key: smaller is more specific, expression that matches the whole path)."""
    if not path.startswith("/"):
        raise ValueError(f"{path!r} does not start with /")
    rank, expression = [], ""
    for segment in path[1:].split("/"):
        param = PARAM.fullmatch(segment)
        if param is None and ("{" in segment or "}" in segment):
            raise ValueError(f"{path}: {{name}} must be a whole segment, in lower case")
        if param is None:
            rank.append(_RANK_STATIC)
            expression += "/" + re.escape(segment)
        else:
            rank.append(_RANK_PATH if param[2] else _RANK_SEGMENT)
            expression += f"/(?P<{param[1]}>{'.+' if param[2] else '[^/]+'})"
    # The end ranks last: /models/{id:path}/load must be tried before /models/{id:path}, which matches it too.
    return [*rank, _RANK_END], re.compile(expression, re.DOTALL)
