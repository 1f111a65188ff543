"""A clock for logins that goes right where the machine's own does not: a Raspberry Pi starts in 1970, then jumps.

It counts the seconds that the server runs. Over a restart it goes on by the difference of the machine's clock, if that
can be right: both readings are of 2020 or later, and the second is not before the first. So the clock may be slow
(a Pi that is switched off at night gains a night's validity for its logins), and it never goes back or jumps ahead
while the server runs. A reading far in the future ends logins early, which is the safe side.
"""

import time
from collections.abc import Callable

from offgrid.store.db import Database

PLAUSIBLE_FROM = 1_577_836_800  # 2020-01-01; before it, a clock has never been set


def _running_s() -> float:
    """Seconds, those of a suspended laptop included where the system counts them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class SessionClock:
    """From any thread. `running_s` never goes back; `wall_s` is the machine's clock, unix seconds."""

    def __init__(
        self, db: Database, running_s: Callable[[], float] = _running_s, wall_s: Callable[[], float] = time.time
    ):
        self._db = db
        self._running_s, self._wall_s = running_s, wall_s
        row = db.row("SELECT at_s, wall_s FROM session_clock")
        self._origin_s = (row["at_s"] + _passed(row["wall_s"], wall_s()) if row else 0.0) - running_s()

    def now_s(self) -> float:
        return self._origin_s + self._running_s()

    def save(self) -> None:
        """Write it down, for the next start to go on from."""
        with self._db.write() as sql:
            sql.execute("INSERT OR REPLACE INTO session_clock VALUES (1, ?, ?)", (self.now_s(), self._wall_s()))


def _passed(wall_before_s: float, wall_s: float) -> float:
    """Seconds between two readings of the machine's clock, as far as they can be believed."""
    return max(0.0, wall_s - wall_before_s) if wall_before_s >= PLAUSIBLE_FROM else 0.0
