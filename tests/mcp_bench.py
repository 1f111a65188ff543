"""MCP servers for tests: `Servers` on a database of its own, and the program that plays them."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from running import children_of, wait_until

from offgrid.agents.mcp.servers import Servers
from offgrid.agents.mcp.spec import ServerSpec, make_spec
from offgrid.sections import AgentSettings
from offgrid.store.db import Database
from offgrid.store.mcp_servers import McpServerRows

PROGRAM = Path(__file__).resolve().parent / "mcp_program.py"


def program(*words: str, **more) -> ServerSpec:
    """tests/mcp_program.py in a mode."""
    return make_spec(command=sys.executable, args=("-I", "-S", str(PROGRAM), *words), **more)


@dataclass
class McpBench:
    servers: Servers
    lines: list[str]  # what the servers said

    def call(self, tool: str, server: str = "small", **arguments) -> str:
        return self.servers.call(server, tool, arguments).text


@contextmanager
def mcp_bench(folder: Path, **settings) -> Iterator[McpBench]:
    """Afterwards there must be no more threads, children and open files than before."""
    before = (threads(), set(children_of(os.getpid())), open_files())
    db = Database(folder / "offgrid.db")
    lines: list[str] = []
    settings = AgentSettings(**{"mcp_timeout_s": 20, **settings})
    servers = Servers(McpServerRows(db), settings, folder, lambda name, text: lines.append(f"{name}: {text}"))
    try:
        yield McpBench(servers, lines)
    finally:
        servers.stop()
        db.close()
    wait_until(lambda: (threads(), set(children_of(os.getpid())), open_files()) == before, 10)


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))
