"""MCP servers that somebody has added: how each is reached, whether it is used, and the tools it listed last.

Knows rows, nothing of what their texts mean. How a server is reached may hold secrets.
"""

import json
import sqlite3
import time
from dataclasses import dataclass

from offgrid.errors import Conflict
from offgrid.store.db import Database

MAX_SERVERS = 64


@dataclass(frozen=True, slots=True)
class McpServerRow:
    name: str  # told apart without regard to case
    spec: str  # JSON
    is_enabled: bool
    tools: list[dict]
    created_at: float  # seconds since 1970


class McpServerRows:
    """Every method may be called from any thread."""

    def __init__(self, db: Database):
        self._db = db

    def all(self) -> list[McpServerRow]:
        """By name."""
        return [
            McpServerRow(row["name"], row["spec"], bool(row["is_enabled"]), json.loads(row["tools"]), row["created_at"])
            for row in self._db.read("SELECT * FROM mcp_servers ORDER BY name")
        ]

    def put(self, name: str, spec: str, *, is_enabled: bool, tools: list[dict], replace: bool) -> None:
        """Keep a server. Raises Conflict where one of that name is to stay, or there are too many; StorageFull."""
        row = (name, spec, is_enabled, json.dumps(tools), time.time())
        with self._db.write() as sql:
            if replace:
                sql.execute("DELETE FROM mcp_servers WHERE name = ?", (name,))
            [n] = sql.execute("SELECT count(*) FROM mcp_servers").fetchone()
            if n >= MAX_SERVERS:
                raise Conflict(f"There are {n} MCP servers, and that is the most. Remove one first.", code="too_many")
            try:
                columns = "name, spec, is_enabled, tools, created_at"
                sql.execute(f"INSERT INTO mcp_servers ({columns}) VALUES (?, ?, ?, ?, ?)", row)
            except sqlite3.IntegrityError:
                raise taken(name) from None

    def set_tools(self, name: str, tools: list[dict]) -> None:
        with self._db.write() as sql:
            sql.execute("UPDATE mcp_servers SET tools = ? WHERE name = ?", (json.dumps(tools), name))

    def set_enabled(self, name: str, is_enabled: bool) -> None:
        with self._db.write() as sql:
            sql.execute("UPDATE mcp_servers SET is_enabled = ? WHERE name = ?", (is_enabled, name))

    def delete(self, name: str) -> None:
        with self._db.write() as sql:
            sql.execute("DELETE FROM mcp_servers WHERE name = ?", (name,))


def taken(name: str) -> Conflict:
    return Conflict(
        f"There is already an MCP server {name!r}. Send replace: true, or remove it first.",
        code="mcp_server_exists",
        param="name",
    )
