"""Responses of /v1/responses as they are kept, and the conversations that they form.

A response may go on from an earlier one of its owner. What others go on from stays as long as they do: deleted, it can
no longer be asked for, but its items are still theirs. Knows rows, owners and bounds; what is in an item or in the rest
of a response is the wire's. Must stay true: every call is one transaction; an owner never sees another's response; a
hidden row has a later one that goes on from it; `previous` is the number of an earlier row, so there is no circle.
"""

import json
import sqlite3

from offgrid.errors import BadRequest, NotFound
from offgrid.store.db import Database

MAX_RESPONSES = 1000  # of one owner; the oldest go
MAX_BYTES = 64 << 20  # of one owner, as UTF-8; the newest stays however large it is

_CONVERSATION = """
WITH RECURSIVE line (number, previous) AS (
    SELECT number, previous FROM responses WHERE owner = ? AND id = ? AND NOT is_hidden
    UNION ALL
    SELECT before.number, before.previous FROM line JOIN responses AS before ON before.number = line.previous
)
SELECT input, output FROM line JOIN responses USING (number) ORDER BY number
"""
_ONE_BEFORE = """
SELECT number, input, output FROM responses
WHERE owner = ? AND is_hidden = 0 AND number < ? ORDER BY number DESC LIMIT 1
"""
_MAX_NUMBER = 2**63 - 1
_DROP = """
DELETE FROM responses WHERE number = ? AND is_hidden
AND NOT EXISTS (SELECT 1 FROM responses AS later WHERE later.previous = responses.number)
RETURNING previous
"""


class Responses:
    """Every method may be called from any thread. Items and responses are JSON, as the wire has them."""

    def __init__(self, db: Database):
        self._db = db

    def keep(self, owner: str, response: dict, items: list[dict], previous_id: str | None) -> None:
        """Keep a response (its `id`, its `output` and what else it says) and the items that it was asked with.

        Raises BadRequest when what it goes on from was deleted meanwhile.
        """
        about = {**response, "output": None}  # its place among the others
        texts = [_to_json(items), _to_json(response["output"]), _to_json(about)]
        with self._db.write() as sql:
            previous = None if previous_id is None else self._number(sql, owner, previous_id)
            sql.execute(
                "INSERT INTO responses (id, owner, previous, is_hidden, n_bytes, input, output, about)"
                " VALUES (?, ?, ?, 0, ?, ?, ?, ?)",
                (response["id"], owner, previous, sum(len(text.encode()) for text in texts), *texts),
            )
            _bound(sql, owner)

    def get(self, owner: str, id: str) -> dict:
        """The response. Raises NotFound, also for somebody else's, as the other methods do."""
        row = self._db.row(
            "SELECT output, about FROM responses WHERE owner = ? AND id = ? AND NOT is_hidden", (owner, id)
        )
        if row is None:
            raise _not_found(id)
        return {**json.loads(row["about"]), "output": json.loads(row["output"])}

    def items_before(self, owner: str, id: str) -> list[dict]:
        """All items that the response was asked with: those of the responses before it, theirs and the answers, too."""
        *earlier, last = self._turns(owner, id) or [None]
        if last is None:
            raise _not_found(id)
        return [item for turn in earlier for item in (*turn[0], *turn[1])] + last[0]

    def conversation(self, owner: str, id: str) -> list[dict]:
        """All items up to the response's end. Raises BadRequest where it is not there to go on from."""
        turns = self._turns(owner, id)
        if not turns:
            raise _no_previous(id)
        return [item for turn in turns for item in (*turn[0], *turn[1])]

    def items(self, owner: str, ids: set[str]) -> dict[str, dict]:
        """Those of the items of the owner's responses that have one of these ids, the newest of each.

        A row at a time, the newest first: what is looked for is mostly in one of the last, and nobody waits for a
        read of all.
        """
        found: dict[str, dict] = {}
        before = _MAX_NUMBER
        while ids - found.keys() and (row := self._db.row(_ONE_BEFORE, (owner, before))):
            before = row["number"]
            for item in json.loads(row["output"]) + json.loads(row["input"]):
                if item["id"] in ids:
                    found.setdefault(item["id"], item)
        return found

    def delete(self, owner: str, id: str) -> None:
        with self._db.write() as sql:
            row = sql.execute(
                "SELECT number FROM responses WHERE owner = ? AND id = ? AND NOT is_hidden", (owner, id)
            ).fetchone()
            if row is None:
                raise _not_found(id)
            _hide(sql, row["number"])

    def _turns(self, owner: str, id: str) -> list[tuple[list[dict], list[dict]]]:
        """(input, output) of each response of the conversation, the first one first; none for an unknown id."""
        rows = self._db.read(_CONVERSATION, (owner, id))
        return [(json.loads(row["input"]), json.loads(row["output"])) for row in rows]

    @staticmethod
    def _number(sql: sqlite3.Connection, owner: str, id: str) -> int:
        # Hidden or not: that it was deleted meanwhile does not matter as long as its items are there.
        row = sql.execute("SELECT number FROM responses WHERE owner = ? AND id = ?", (owner, id)).fetchone()
        if row is None:
            raise _no_previous(id)
        return row["number"]


def _bound(sql: sqlite3.Connection, owner: str) -> None:
    """Let the oldest responses go until no more than the bounds are left."""
    while True:
        n, n_bytes = sql.execute(
            "SELECT count(*) FILTER (WHERE NOT is_hidden), sum(n_bytes) FROM responses WHERE owner = ?", (owner,)
        ).fetchone()
        if n <= 1 or (n <= MAX_RESPONSES and n_bytes <= MAX_BYTES):
            return
        [oldest] = sql.execute(
            "SELECT min(number) FROM responses WHERE owner = ? AND NOT is_hidden", (owner,)
        ).fetchone()
        _hide(sql, oldest)


def _hide(sql: sqlite3.Connection, number: int) -> None:
    """Let a response go; and it, and hidden ones before it, for good, where none goes on from them."""
    sql.execute("UPDATE responses SET is_hidden = 1, about = '' WHERE number = ?", (number,))
    while number is not None:
        row = sql.execute(_DROP, (number,)).fetchone()
        number = row["previous"] if row else None


def _to_json(value: object) -> str:
    """Half a surrogate pair, which JSON can spell and SQLite cannot keep, becomes a question mark."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace").decode()


def _not_found(id: str) -> NotFound:
    return NotFound(f"There is no response {id[:200]!r}.", code="response_not_found")


def _no_previous(id: str) -> BadRequest:
    message = (
        f"Previous response with id {id[:200]!r} not found: made with store: false, deleted, never come to its "
        "end, or not yours."
    )
    return BadRequest(message, code="previous_response_not_found", param="previous_response_id")
