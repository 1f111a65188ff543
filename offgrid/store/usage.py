"""Usage: how many requests and tokens each account, key, model and service took, day by day.

Counted in memory and written in batches, so that an SD card sees one small transaction in ten seconds and none while
nothing is asked: a power cut loses the counts of the last batch, never one that was written. Knows nothing of limits.
Must stay true: what is unwritten and what the table holds together are every request that was counted, once. Days are
UTC, by the machine's clock, which may jump: a count belongs to the day that the clock showed when it was made.
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from offgrid.store.batch import Batch
from offgrid.store.db import Database
from offgrid.store.networks import network_of
from offgrid.types import Principal, Tally

log = logging.getLogger(__name__)

WRITE_EVERY_S = 10.0
MAX_UNWRITTEN = 10_000  # rows; reached only while the disk takes nothing
OTHERS = "(others)"  # the account of what is counted beyond that: the sums stay true
DAY_S = 86_400
# A clock before this was never set: each start of such a machine may show the same day again, so that what an earlier
# start counted on "this day" is nothing to go by.
_FIRST_TRUE_DAY = 20_089  # 2025-01-01

# what rows can be told apart by → column
DIMENSIONS = {"day": "day", "user": "account", "key": "key_id", "model": "model", "service": "service"}
COUNTS = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens")

_ADD = f"""INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET {", ".join(f"{name} = {name} + excluded.{name}" for name in COUNTS)}"""
_TODAY = "SELECT account, key_id, sum(prompt_tokens + completion_tokens) FROM usage WHERE day = ? GROUP BY 1, 2"

# (day, account, key_id, model, service) → COUNTS
_Rows = dict[tuple[str, str, int, str, str], list[int]]


def account_of(who: Principal) -> str:
    """Whose counters a request goes to: the user's, without one the key's, else the address's (never its port)."""
    if who.user_id is not None:
        return who.user_id
    return f"key {who.key_id}" if who.key_id is not None else network_of(who.address)


class UsageBook:
    """Every method may be called from any thread. `now` is the time since 1970 in seconds."""

    def __init__(self, db: Database, now: Callable[[], float] = time.time):
        self._db = db
        self._now = now
        self._lock = threading.Lock()  # of everything below; held for microseconds, but for the first look at a day
        self._unwritten: _Rows = {}
        self._today = -1  # days since 1970
        self._day = ""
        self._tokens_of_account: dict[str, int] = {}  # today
        self._tokens_of_key: dict[int, int] = {}  # today
        self._later = Batch(self.write, WRITE_EVERY_S, "usage:clock")
        self._writing = threading.Lock()  # one batch at a time; taken before the other lock

    def add(self, who: Principal | None, tally: Tally) -> None:
        """Count a request that has ended; one that no model was asked by leaves no trace."""
        if who is None or not tally.service or not tally.model:
            return
        account, key_id = account_of(who), who.key_id or 0
        n_tokens = tally.prompt_tokens + tally.completion_tokens
        with self._lock:
            self._look_at_the_day()
            self._tokens_of_account[account] = self._tokens_of_account.get(account, 0) + n_tokens
            if key_id:
                self._tokens_of_key[key_id] = self._tokens_of_key.get(key_id, 0) + n_tokens
            at = (self._day, account, key_id, tally.model, tally.service)
            self._count(at, (1, tally.prompt_tokens, tally.cached_tokens, tally.completion_tokens))
        self._later.mark()

    def tokens_of_account(self, account: str) -> int:
        """Tokens of prompts and answers today, by whichever keys and logins."""
        with self._lock:
            self._look_at_the_day()
            return self._tokens_of_account.get(account, 0)

    def tokens_of_key(self, key_id: int) -> int:
        with self._lock:
            self._look_at_the_day()
            return self._tokens_of_key.get(key_id, 0)

    def left_of_day_s(self) -> float:
        """Seconds until the next day begins, by the clock as it goes now."""
        return DAY_S - self._now() % DAY_S

    def sums(self, by: Sequence[str], first_day: str, last_day: str, most: int) -> list[dict]:
        """The counts from one day to another ("2030-01-31", both inclusive), up to the last request that ended.

        One entry for each combination of `by`, names of DIMENSIONS, ordered by them; at most `most` entries.
        """
        self.write()
        columns = [DIMENSIONS[name] for name in by]
        heads = [f'{column} AS "{name}"' for column, name in zip(columns, by, strict=True)]
        counts = [f"coalesce(sum({name}), 0) AS {name}" for name in COUNTS]
        grouping = f"GROUP BY {', '.join(columns)} ORDER BY {', '.join(columns)}" if by else ""
        sql = f"SELECT {', '.join(heads + counts)} FROM usage WHERE day BETWEEN ? AND ? {grouping} LIMIT ?"
        return [dict(row) for row in self._db.read(sql, (first_day, last_day, most))]

    def write(self) -> None:
        """Write what is unwritten. Raises StorageFull, sqlite3.Error: it stays unwritten then, for a later call."""
        with self._writing:
            with self._lock:
                batch, self._unwritten = self._unwritten, {}
            if not batch:
                return
            try:
                with self._db.write() as sql:
                    sql.executemany(_ADD, [(*at, *counts) for at, counts in batch.items()])
            except BaseException:
                with self._lock:
                    for at, counts in batch.items():
                        self._count(at, counts)
                raise

    def close(self) -> None:
        """Write the rest. What is counted after this is lost."""
        self._later.stop()

    # --- below here the lock is held ---

    def _look_at_the_day(self) -> None:
        """Begin the day's counters anew when the clock shows another day than before."""
        today = int(self._now() // DAY_S)
        if today == self._today:
            return
        self._today, self._day = today, _iso(today)
        self._tokens_of_account, self._tokens_of_key = {}, {}
        if today < _FIRST_TRUE_DAY:
            return
        try:
            rows = [tuple(row) for row in self._db.read(_TODAY, (self._day,))]
        except sqlite3.Error:  # a worn-out card must not refuse answers that need nothing of it
            log.exception("what was used today cannot be read: this day begins at zero")
            rows = []
        # After a jump there and back.
        rows += [(at[1], at[2], n[1] + n[3]) for at, n in self._unwritten.items() if at[0] == self._day]
        for account, key_id, n_tokens in rows:
            self._tokens_of_account[account] = self._tokens_of_account.get(account, 0) + n_tokens
            if key_id:
                self._tokens_of_key[key_id] = self._tokens_of_key.get(key_id, 0) + n_tokens

    def _count(self, at: tuple[str, str, int, str, str], counts: Sequence[int]) -> None:
        if at not in self._unwritten and len(self._unwritten) >= MAX_UNWRITTEN:
            at = (at[0], OTHERS, 0, at[3], at[4])
        held = self._unwritten.get(at)
        self._unwritten[at] = list(counts) if held is None else [a + b for a, b in zip(held, counts, strict=True)]


def _iso(day: int) -> str:
    return datetime.fromtimestamp(day * DAY_S, UTC).strftime("%Y-%m-%d")
