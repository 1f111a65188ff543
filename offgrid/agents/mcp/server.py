"""One MCP server as it is used: started at need, started again with back-off, ended.

Knows when to connect and what came of it, nothing of the database or of other servers. Must stay true: the lock is
never held across input or output, so that nobody waits for a server but who asked it; at most one connection at a time;
what was asked of a server that then died is an error and is not asked again, for it may have been done.
"""

import hashlib
import logging
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from offgrid.agents.mcp.http import Http
from offgrid.agents.mcp.results import ToolResult
from offgrid.agents.mcp.rpc import McpError, NotSent, Progress
from offgrid.agents.mcp.session import Session
from offgrid.agents.mcp.spec import ServerSpec, check_allowed, program_of
from offgrid.agents.mcp.stdio import Stdio
from offgrid.errors import ApiError
from offgrid.sections import AgentSettings

log = logging.getLogger(__name__)

LONGEST_PAUSE_S = 60.0
END_S = 10.0  # the ladder, and what it takes to climb it
LIST_INTERVAL_S = 1.0  # between two listings that a server asks for
MAX_WIRE_NAME = 64  # OpenAI's clients: ^[a-zA-Z0-9_-]{1,64}$


@dataclass(frozen=True, slots=True)
class McpTool:
    """A tool of a server. `wire_name` is the same in what OpenAI's format allows, and no other tool's."""

    server: str
    name: str
    wire_name: str
    description: str
    schema: dict  # JSON Schema of its arguments
    annotations: dict = field(default_factory=dict)  # the server's own word: readOnlyHint, destructiveHint, …

    @property
    def full_name(self) -> str:
        return f"{self.server}.{self.name}"


class McpServer:
    """For any thread. `tools_listed(server)` is called when its tools have changed; `new_mark()` names a process."""

    def __init__(
        self,
        name: str,
        spec: ServerSpec,
        settings: AgentSettings,
        *,
        tools: list[dict],
        is_enabled: bool,
        tools_listed: "Callable[[McpServer], None]",
        new_mark: Callable[[], str],
        log_line: Callable[[str], None],
    ):
        self.name, self.spec, self.is_enabled = name, spec, is_enabled
        self.last_error = ""
        self.n_starts = 0
        self._settings = settings
        self._tools_listed = tools_listed
        self._new_mark = new_mark
        self._log_line = log_line
        self._changed = threading.Condition()
        self._session: Session | None = None
        self._transport: Stdio | Http | None = None
        self._is_starting = False
        self._n_failures = 0  # since the last call that went well
        self._not_before = 0.0
        self._over = threading.Event()
        self._to_list: Session | None = None  # whose tools have changed
        self._lister: threading.Thread | None = None
        self._take_tools(tools)

    @property
    def status(self) -> str:
        if not self.is_enabled:
            return "disabled"
        if self._is_starting:
            return "starting"
        if self._session is not None and self._session.rpc.is_open:
            return "connected"
        return "failed" if self.last_error else "stopped"

    @property
    def session(self) -> Session | None:
        """The conversation with it, if there is one now."""
        return self._session

    def connect(self, *, is_patient: bool = True) -> Session:
        """A session that is open now, of a server that is started if need be.

        `is_patient`: after failures, not before its pause is over. Raises McpError, BadRequest, PermissionDenied.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: not self._is_starting, 3 * self._settings.mcp_timeout_s):
                raise McpError(f"The MCP server {self.name} is being started for too long.")
            if self._over.is_set():
                raise McpError(f"The MCP server {self.name} was removed or stopped.")
            if self._session is not None and self._session.rpc.is_open:
                return self._session
            pause_s = self._not_before - time.monotonic()
            if is_patient and pause_s > 0:
                raise McpError(f"{self.last_error} It is tried again in {pause_s:.0f} s.")
            self._is_starting = True
        session, error = None, None
        try:
            session = self._open()
            return session
        except (McpError, ApiError) as failure:
            error = failure
            raise
        finally:
            with self._changed:
                self._is_starting = False
                self._session = session
                if error is not None:
                    self._note_failure(str(error))
                self._changed.notify_all()

    def call(
        self,
        tool: str,
        arguments: dict,
        *,
        timeout_s: float,
        on_progress: Progress | None = None,
        is_cancelled: Callable[[], bool] | None = None,
    ) -> ToolResult:
        """Raises McpError, BadRequest, PermissionDenied."""
        how = {"timeout_s": timeout_s, "on_progress": on_progress, "is_cancelled": is_cancelled}
        session = self.connect()
        try:
            result = session.call_tool(tool, arguments, **how)
        except NotSent as error:  # it ended, or began to, while we came: it has heard nothing
            session.rpc.end(str(error))
            result = self.connect().call_tool(tool, arguments, **how)
        self._n_failures, self.last_error = 0, ""
        return result

    def begin_stop(self) -> None:
        """End it for good; returns at once."""
        with self._changed:
            self._over.set()
            transport = self._transport
        if transport is not None:
            transport.close()

    def stop(self) -> None:
        """The same, and wait until nothing is left of it: 10 s at most."""
        self.begin_stop()
        with self._changed:
            self._changed.wait_for(lambda: not self._is_starting, END_S)
        if self._transport is not None:
            self._transport.join(END_S)

    # --- inside ---

    def _open(self) -> Session:
        check_allowed(self.spec, self._settings)
        session = Session(self.spec.roots, lambda: self._want_list(session), self._log_line)
        transport = self._make_transport(session)
        session.rpc.transport = transport
        with self._changed:
            old, self._transport = self._transport, transport
        if old is not None:  # it may still be ending, and the two could be in each other's way
            old.close()
            old.join(END_S)
        try:
            transport.start()
            if self._over.is_set():  # stop() came before there was anything to close
                transport.close()
            session.shake_hands(self._settings.mcp_timeout_s)
            self._list(session)
            if isinstance(transport, Http):
                transport.listen()
        except (McpError, ApiError) as error:
            transport.close()
            transport.join(END_S)
            raise McpError(f"The MCP server {self.name} cannot be used. {error}{_last_words(transport)}") from None
        self.n_starts += 1
        self.last_error = ""
        return session

    def _make_transport(self, session: Session) -> Stdio | Http:
        def ended(why: str, is_crash: bool) -> None:
            session.rpc.end(f"The MCP server {self.name} has ended. {why}")
            with self._changed:
                if is_crash and self._session is session:
                    self._note_failure(f"The MCP server {self.name} has ended. {why}")

        if self.spec.url:
            return Http(
                self.spec.url,
                self.spec.headers,
                self.name,
                rpc=session.rpc,
                version=lambda: session.version,
                ended=ended,
            )
        return Stdio(
            program_of(self.spec, self._new_mark()),
            self.name,
            take=session.rpc.take,
            ended=ended,
            may_rest=lambda: session.rpc.n_waiting == 0,
            idle_s=self._settings.mcp_idle_s,
            log_line=self._log_line,
        )

    def _note_failure(self, why: str) -> None:
        """The first one costs no pause: a server that crashed once is back for the next call."""
        self.last_error = why
        self._n_failures += 1
        pause_s = min(LONGEST_PAUSE_S, 2.0 ** (self._n_failures - 2)) if self._n_failures > 1 else 0
        self._not_before = time.monotonic() + pause_s

    def _list(self, session: Session) -> None:
        listed = session.list_tools(self._settings.mcp_timeout_s)
        if listed != self.listed:
            self._take_tools(listed)
            self._tools_listed(self)

    def _take_tools(self, listed: list[dict]) -> None:
        self.listed = listed
        self.tools = tuple(
            McpTool(
                self.name,
                tool["name"],
                wire_name(self.name, tool["name"]),
                tool["description"],
                tool["inputSchema"],
                tool["annotations"],
            )
            for tool in listed
        )

    def _want_list(self, session: Session) -> None:
        """By the thread that reads, which cannot ask itself: another does, as often as is good for us."""
        with self._changed:
            self._to_list = session
            if self._lister is None and not self._over.is_set():
                self._lister = threading.Thread(target=self._list_again, name=f"mcp-tools:{self.name}", daemon=True)
                self._lister.start()

    def _list_again(self) -> None:
        while True:
            with self._changed:
                session, self._to_list = self._to_list, None
                if session is None or self._over.is_set():
                    self._lister = None
                    return
            try:
                self._list(session)
            except McpError as error:
                self._log_line(f"its tools could not be listed again: {error}")
            except Exception:  # the disk is full, say: the next listing is as good
                log.exception("the tools of the MCP server %s", self.name)
            self._over.wait(LIST_INTERVAL_S)


def wire_name(server: str, tool: str) -> str:
    """`server__tool`; where the format forbids that, its beginning and a hash in its place."""
    name = f"{server}__{tool}"
    if re.fullmatch(r"[A-Za-z0-9_-]+", tool) and len(name) <= MAX_WIRE_NAME:
        return name
    suffix = "_" + hashlib.sha256(tool.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[: MAX_WIRE_NAME - len(suffix)] + suffix


def _last_words(transport: Stdio | Http) -> str:
    words = " / ".join(transport.last_words)[-1000:]
    return f" It said last: {words}" if words else ""
