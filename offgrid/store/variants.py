"""Variants: models that are a name and settings of their own over a model file. What was acknowledged survives.

Knows rows, nothing of files or of what settings mean. They are few and asked for by every request, so all are kept in
memory, as they were last written.
"""

import json
import threading
import time
from collections.abc import Mapping

from offgrid.store.db import Database
from offgrid.types import Variant


class Variants:
    """Every method may be called from any thread. Names are told apart without regard to case."""

    def __init__(self, db: Database):
        self._db = db
        self._lock = threading.Lock()  # of writes: what is in memory is what was written last
        self._by_key = {_key(row["name"]): _variant(row) for row in db.read("SELECT * FROM variants ORDER BY name")}

    def all(self) -> Mapping[str, Variant]:
        """By name in lower case; never changed once it is given out."""
        return self._by_key

    def get(self, name: str) -> Variant | None:
        return self._by_key.get(_key(name))

    def of(self, model_id: str) -> list[Variant]:
        """Those that are made of a model file, but not the settings of that very name."""
        return [v for v in self._by_key.values() if v.base == model_id and _key(v.name) != _key(model_id)]

    def put(self, name: str, base: str, settings: dict, license: str) -> Variant:
        """Keep a variant, in the place of one of that name. Raises StorageFull."""
        variant = Variant(name, base, settings, license, time.time())
        row = (name, base, json.dumps(settings), license, variant.created_at)
        with self._lock:
            with self._db.write() as sql:
                sql.execute("DELETE FROM variants WHERE name = ?", (name,))
                names = "name, base, settings, license, created_at"
                sql.execute(f"INSERT INTO variants ({names}) VALUES (?, ?, ?, ?, ?)", row)
            self._by_key = {**self._by_key, _key(name): variant}
        return variant

    def hand_over(self, base: str, heir: str) -> None:
        """A model file is called otherwise from now on: what is made of `base` is made of `heir`. What was set for the
        old name goes. Raises StorageFull."""
        with self._lock:
            with self._db.write() as sql:
                sql.execute("DELETE FROM variants WHERE name = ?", (base,))
                sql.execute("UPDATE variants SET base = ? WHERE base = ?", (heir, base))
                # Nothing but a further name, and now the file's own.
                nothing = ("{}", "")
                sql.execute("DELETE FROM variants WHERE name = base AND settings = ? AND license = ?", nothing)
                rows = sql.execute("SELECT * FROM variants ORDER BY name").fetchall()
            self._by_key = {_key(row["name"]): _variant(row) for row in rows}

    def delete(self, name: str) -> bool:
        """False when there is none of that name. Raises StorageFull."""
        with self._lock:
            with self._db.write() as sql:
                n = sql.execute("DELETE FROM variants WHERE name = ?", (name,)).rowcount
            self._by_key = {key: variant for key, variant in self._by_key.items() if key != _key(name)}
        return bool(n)


def _key(name: str) -> str:
    return name.lower()


def _variant(row) -> Variant:
    settings = json.loads(row["settings"])
    if "stop" in settings:
        settings["stop"] = tuple(settings["stop"])
    return Variant(row["name"], row["base"], settings, row["license"], row["created_at"])
