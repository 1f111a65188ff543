"""How an MCP server is reached: a program to start, or a URL. What a person may write for it, checked.

Pure, but for a look whether the program is there. Values of `env` and `headers` are secrets: they are kept, used, and
never shown.
"""

import json
import os
import re
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from urllib.parse import urlsplit

from offgrid.agents.mcp.stdio import MARK, Program
from offgrid.errors import BadRequest, PermissionDenied
from offgrid.sections import AgentSettings

NAME = r"(?!.*__)[A-Za-z0-9_-]{0,31}[A-Za-z0-9-]"  # `server__tool` must come apart again
VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"
HEADER = r"[A-Za-z0-9-]+"
URL = re.compile(r"https?://", re.IGNORECASE)
# Set by us on every request, or what another server would be fooled by.
OWN_HEADERS = {"host", "content-length", "content-type", "accept", "mcp-session-id", "mcp-protocol-version"}


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """Either `command` (argv) with `env`, `cwd` and `roots`, or `url` with `headers`."""

    command: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    cwd: str = ""  # "": the router's own
    roots: tuple[str, ...] = ()  # absolute folders that the server is told of
    url: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def transport(self) -> str:
        return "http" if self.url else "stdio"

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "ServerSpec":
        known = json.loads(text)
        return cls(**{**known, "command": tuple(known["command"]), "roots": tuple(known["roots"])})


def make_spec(
    *,
    url: str = "",
    command: str = "",
    args: tuple[str, ...] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str = "",
    roots: tuple[str, ...] = (),
    headers: Mapping[str, str] | None = None,
) -> ServerSpec:
    """`url` may be a command line; `command` is one, too, unless `args` are given. Raises BadRequest."""
    if bool(url) == bool(command):
        raise BadRequest("Say either url or command: an address, or a program to start.", param="url")
    env, headers = dict(env or {}), dict(headers or {})
    for where, names, pattern in (("env", env, VARIABLE), ("headers", headers, HEADER)):
        for name, value in names.items():
            is_right = re.fullmatch(pattern, name) and not re.search(r"[\0\r\n]", value)
            if not is_right or name.lower() in OWN_HEADERS or name == MARK:
                raise BadRequest(f"{where}.{name[:80]} cannot be set: its name or its value.", param=where)
    for folder in (*roots, *([cwd] if cwd else [])):
        if not os.path.isabs(folder) or not os.path.isdir(folder):
            raise BadRequest(
                f"{folder[:200]!r} is no absolute path of a folder.", param="cwd" if folder == cwd else "roots"
            )
    if URL.match(url):
        if args or env or cwd or roots:
            raise BadRequest("args, env, cwd and roots are for programs; a url has headers.", param="url")
        return ServerSpec(url=_checked_url(url), headers=headers)
    if headers:
        raise BadRequest("headers are for a url; a program has env.", param="headers")
    argv = _argv(url, "url") if url else _argv(command, "command") if args is None else (command, *args)
    if any("\0" in word for word in argv):
        raise BadRequest("A command cannot hold a zero byte.", param="command")
    return ServerSpec(argv, env, cwd, tuple(roots))


def check_allowed(spec: ServerSpec, settings: AgentSettings) -> None:
    """Raises PermissionDenied where the settings forbid it."""
    if spec.url:
        if not settings.mcp_allow_http:
            raise PermissionDenied(
                "MCP servers by URL are off; agents.mcp_allow_http allows them.", code="mcp_http_off"
            )
        return
    program = spec.command[0]
    if "*" not in settings.mcp_commands and program not in settings.mcp_commands:
        allowed = ", ".join(settings.mcp_commands) or "none"
        raise PermissionDenied(
            f"{program[:100]!r} is not among agents.mcp_commands: {allowed}.", code="mcp_command_off"
        )


def program_of(spec: ServerSpec, mark: str) -> Program:
    """What to start. Raises BadRequest when there is no such program."""
    name = spec.command[0]
    path = spec.env.get("PATH", os.environ.get("PATH", os.defpath))
    found = shutil.which(os.path.join(spec.cwd, name) if os.path.dirname(name) else name, path=path)
    if found is None:
        raise BadRequest(f"There is no program {name[:200]!r} here that could be started.", param="command")
    return Program((os.path.abspath(found), *spec.command[1:]), dict(spec.env), spec.cwd or None, mark)


def _argv(line: str, param: str) -> tuple[str, ...]:
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise BadRequest(f"{param} cannot be read as a command line: {error}.", param=param) from None
    if not words:
        raise BadRequest(f"{param} is empty.", param=param)
    return tuple(words)


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadRequest(f"url is not right: {error}.", param="url") from None
    is_plain = re.fullmatch(r"[!-~]+", url) and not parts.fragment
    if not is_plain or not parts.hostname or parts.username is not None or port == 0:
        raise BadRequest(
            "url must be http://host:port/path or https://…, without a user, a password and a fragment; what is "
            "secret belongs into headers.",
            param="url",
        )
    return url
