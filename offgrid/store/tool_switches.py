"""Which tools an administrator has switched on or off. What was acknowledged survives.

Knows names, not tools: one that is not there at the moment (a server of tools that is away) keeps its switch. They are
few and asked for by every call, so all are kept in memory, as they were last written.
"""

import threading
from collections.abc import Mapping

from offgrid.store.db import Database


class ToolSwitches:
    """Every method may be called from any thread."""

    def __init__(self, db: Database):
        self._db = db
        self._lock = threading.Lock()  # of writes: what is in memory is what was written last
        rows = db.read("SELECT name, is_on FROM tool_switches")
        self._by_name = {row["name"]: bool(row["is_on"]) for row in rows}

    def all(self) -> Mapping[str, bool]:
        """Those that were ever set, by name; never changed once it is given out."""
        return self._by_name

    def set(self, name: str, *, is_on: bool) -> None:
        """Raises StorageFull."""
        with self._lock:
            with self._db.write() as sql:
                sql.execute("INSERT OR REPLACE INTO tool_switches VALUES (?, ?)", (name, is_on))
            self._by_name = {**self._by_name, name: is_on}

    def forget(self, name: str) -> None:
        """For a tool that is gone for good. Raises StorageFull."""
        with self._lock:
            with self._db.write() as sql:
                sql.execute("DELETE FROM tool_switches WHERE name = ?", (name,))
            self._by_name = {key: is_on for key, is_on in self._by_name.items() if key != name}
