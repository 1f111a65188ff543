"""The shape of the database, as the steps that lead to it.

Append only: a step that has been released is never changed, because it has already been taken somewhere. Each is taken
in one transaction together with its record. Steps add tables, columns and rows; SQLite can do little else in place.
"""

# (name, statements)
MIGRATIONS: tuple[tuple[str, str], ...] = ()
