"""All MCP servers: added, kept, listed, asked, removed.

Nothing is started until somebody needs it: what tools there are is known from the last time a server listed them. Must
stay true: a server is connected to before it is kept; replacing one ends the old process; after `remove` and `stop`
nothing of it is left.
"""

import logging
import secrets
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from offgrid.agents.mcp.results import ToolResult
from offgrid.agents.mcp.rpc import McpError, Progress
from offgrid.agents.mcp.server import McpServer, McpTool
from offgrid.agents.mcp.session import Session
from offgrid.agents.mcp.spec import ServerSpec, check_allowed
from offgrid.agents.mcp.stdio import MARK
from offgrid.errors import BadRequest, NotFound
from offgrid.procs import ending
from offgrid.sections import AgentSettings
from offgrid.store.mcp_servers import McpServerRows, taken

log = logging.getLogger(__name__)


class Servers:
    """Every method may be called from any thread. Names are told apart without regard to case."""

    def __init__(
        self, rows: McpServerRows, settings: AgentSettings, data_dir: Path, log_line: Callable[[str, str], None]
    ):
        """`log_line(name, text)` is given what servers say."""
        self._rows = rows
        self._settings = settings
        self._log_line = log_line
        self._folder = str(data_dir.resolve())
        self._run = secrets.token_hex(8)
        self._n_marks = 0
        self._lock = threading.Lock()  # of which servers there are and are kept, never held while one is asked
        self._tried: set[McpServer] = set()  # connected to for the first time, and not yet kept
        self._by_key: Mapping[str, McpServer] = {
            _key(row.name): self._make(row.name, ServerSpec.from_json(row.spec), row.tools, is_enabled=row.is_enabled)
            for row in rows.all()
        }

    def all(self) -> list[McpServer]:
        return list(self._by_key.values())

    def get(self, name: str) -> McpServer:
        """Raises NotFound."""
        server = self._by_key.get(_key(name))
        if server is None:
            raise NotFound(f"There is no MCP server {name[:80]!r}.", code="mcp_server_not_found")
        return server

    def tools(self) -> list[McpTool]:
        """The tools of all servers that are enabled, as they listed them last. Starts nothing, waits for nothing."""
        return [tool for server in self._by_key.values() if server.is_enabled for tool in server.tools]

    def call(
        self,
        server: str,
        tool: str,
        arguments: dict,
        *,
        timeout_s: float | None = None,
        on_progress: Progress | None = None,
        is_cancelled: Callable[[], bool] | None = None,
    ) -> ToolResult:
        """What a tool answers; its server is started if need be.

        `timeout_s` of silence end the wait (without it, the setting); `on_progress` is called by another thread and
        must not block; `is_cancelled` is asked ten times a second, but not while the server starts.

        Raises McpError (Cancelled and TimedOut among them), NotFound, BadRequest, PermissionDenied.
        """
        found = self.get(server)
        if not found.is_enabled:
            raise McpError(f"The MCP server {found.name} is switched off.")
        return found.call(
            tool,
            arguments,
            timeout_s=self._settings.mcp_timeout_s if timeout_s is None else timeout_s,
            on_progress=on_progress,
            is_cancelled=is_cancelled,
        )

    def add(self, name: str, spec: ServerSpec, *, is_enabled: bool = True, replace: bool = False) -> McpServer:
        """Connect to a server and keep it. One that is not enabled is kept without.

        Raises BadRequest when it cannot be used, PermissionDenied, Conflict.
        """
        check_allowed(spec, self._settings)
        if not replace and _key(name) in self._by_key:
            raise taken(name)
        server = self._make(name, spec, [], is_enabled=is_enabled)
        self._tried.add(server)
        try:
            if is_enabled:
                _connect(server)
            with self._lock:
                self._rows.put(name, spec.to_json(), is_enabled=is_enabled, tools=server.listed, replace=replace)
                old = self._put(server)
        except BaseException:
            server.stop()
            raise
        finally:
            self._tried.discard(server)
        if old is not None:
            old.stop()
        return server

    def test(self, spec: ServerSpec) -> tuple[McpServer, Session]:
        """Connect to a server that is not kept; it has been ended again when this returns. Raises like `add`."""
        server = self._make("test", spec, [], is_enabled=True)
        self._tried.add(server)
        try:
            return server, _connect(server)
        finally:
            server.stop()
            self._tried.discard(server)

    def test_kept(self, name: str) -> tuple[McpServer, Session]:
        """Connect to a server at once, whatever happened before. Raises NotFound, and like `add`."""
        server = self.get(name)
        return server, _connect(server)

    def remove(self, name: str) -> None:
        """End a server and forget it. Raises NotFound."""
        with self._lock:
            server = self.get(name)
            self._rows.delete(server.name)
            self._by_key = {key: one for key, one in self._by_key.items() if one is not server}
        server.stop()

    def set_enabled(self, name: str, is_enabled: bool) -> McpServer:
        """Switch a server on or off; its process ends, and is started again at need. Raises NotFound."""
        with self._lock:
            old = self.get(name)
            self._rows.set_enabled(old.name, is_enabled)
            server = self._make(old.name, old.spec, old.listed, is_enabled=is_enabled)
            self._put(server)
        old.stop()
        return server

    def stop(self) -> None:
        """End all of them, at the same time: within 10 s."""
        servers = [*self.all(), *list(self._tried)]
        for server in servers:
            server.begin_stop()
        for server in servers:
            server.stop()

    def _make(self, name: str, spec: ServerSpec, tools: list[dict], *, is_enabled: bool) -> McpServer:
        return McpServer(
            name,
            spec,
            self._settings,
            tools=tools,
            is_enabled=is_enabled,
            tools_listed=self._keep_tools,
            new_mark=self._new_mark,
            log_line=lambda line: self._log_line(f"mcp:{name}", line),
        )

    def _put(self, server: McpServer) -> McpServer | None:
        """Have it among the others; what was there under its name. The lock is held."""
        old = self._by_key.get(_key(server.name))
        self._by_key = {**self._by_key, _key(server.name): server}
        return old

    def _keep_tools(self, server: McpServer) -> None:
        if self._by_key.get(_key(server.name)) is server:
            self._rows.set_tools(server.name, server.listed)

    def _new_mark(self) -> str:
        """A mark for a process. Before the first one, whatever a router that was killed has left is ended."""
        own = f"{self._folder}|{self._run}|"
        with self._lock:
            self._n_marks += 1
            n = self._n_marks
        if n == 1:
            n_left = ending.end_marked(MARK, lambda mark: mark.startswith(f"{self._folder}|") and own not in mark)
            if n_left:
                log.warning("%d processes of MCP servers were left from before, and were ended", n_left)
        return f"{own}{n}"


def _connect(server: McpServer) -> Session:
    try:
        return server.connect(is_patient=False)
    except McpError as error:
        raise BadRequest(str(error), code="mcp_failed") from None


def _key(name: str) -> str:
    return name.lower()
