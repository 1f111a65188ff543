"""Whose rows are whose: every table with a column `owner`, for when an account goes or the first one comes.

A new table with that column is added to OWNED_TABLES; a test holds it against the database.
"""

import sqlite3
from collections.abc import Iterable

OWNED_TABLES = ("sessions", "tasks", "responses", "datastores")


def delete_owned(sql: sqlite3.Connection, owner: str, tables: Iterable[str] = OWNED_TABLES) -> None:
    """Delete everything of `owner`, within a transaction of `Database.write`."""
    for table in tables:
        if table == "datastores":  # what is in them would take minutes: it is cleared away little by little
            mine = "SELECT number FROM datastores WHERE owner = ?"
            sql.execute(f"UPDATE documents SET state = 'gone' WHERE store IN ({mine})", (owner,))
            sql.execute("UPDATE datastores SET is_gone = 1 WHERE owner = ?", (owner,))
        else:
            sql.execute(f"DELETE FROM {table} WHERE owner = ?", (owner,))
    sql.execute("DELETE FROM datastore_shares WHERE grantee = ?", (owner,))


def adopt(sql: sqlite3.Connection, owner: str, new_owner: str, tables: Iterable[str] = OWNED_TABLES) -> None:
    """Give everything of `owner` to `new_owner`, who has nothing yet, within a transaction of `Database.write`."""
    for table in tables:
        sql.execute(f"UPDATE {table} SET owner = ? WHERE owner = ?", (new_owner, owner))
