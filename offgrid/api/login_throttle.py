"""How often a password may be guessed. Pure: knows names, networks and a clock; hashes nothing.

Two bounds: an account from one network waits twice as long after each failure from the fifth on; a network has a
bucket of attempts, which refills slowly. A right password gives its attempt back, so that a class that logs in at once
is not slowed; who has logged in from a network before is outside its bucket, so that a guesser there locks nobody out.
Not covered: guesses at one account from very many networks (each is slowed alone), and somebody who guesses at the
account of a person in the same network, who then waits as well.
Must stay true: every table is bounded; an attempt counts as a failure until `succeed` says otherwise, so that a
thousand at once are not all let through.
"""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

N_FREE = 5  # attempts at one account before its waits begin
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 900.0
FORGOTTEN_AFTER_S = 3600.0  # without an attempt
BUCKET, REFILL_S = 60, 6.0  # attempts of one network: so many at once, then one each so many seconds
MOST_REMEMBERED = 10_000  # entries of each table; the one unused for longest goes


class LoginThrottle:
    """From any thread. `account` is a name as it is compared, `network` what `network_of` says."""

    def __init__(self, now: Callable[[], float] = time.monotonic):
        self._now = now
        self._lock = threading.Lock()
        self._failures: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()  # how many, the last one's time
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # attempts left, at this time
        self._welcome: OrderedDict[tuple[str, str], None] = OrderedDict()  # who has logged in, from where

    def begin(self, account: str, network: str) -> float:
        """0 for an attempt that may go on, which is counted; else the seconds to wait, and nothing is counted."""
        pair, now = (account, network), self._now()
        with self._lock:
            n, last = self._failures.get(pair, (0, now))
            if now - last > FORGOTTEN_AFTER_S:
                n = 0
            if n >= N_FREE and (wait_s := last + _pause(n) - now) > 0:
                return wait_s
            if pair not in self._welcome:
                left, at = self._buckets.get(network, (BUCKET, now))
                left = min(BUCKET, left + (now - at) / REFILL_S)
                if left < 1:
                    return (1 - left) * REFILL_S
                _remember(self._buckets, network, (left - 1, now))
            _remember(self._failures, pair, (n + 1, now))
        return 0.0

    def succeed(self, account: str, network: str) -> None:
        """The attempt was right: the account starts anew, and is known here from now on."""
        pair = (account, network)
        with self._lock:
            self._failures.pop(pair, None)
            if pair not in self._welcome and network in self._buckets:
                left, at = self._buckets[network]
                self._buckets[network] = (min(BUCKET, left + 1), at)
            _remember(self._welcome, pair, None)


def _pause(n_failures: int) -> float:
    return min(LONGEST_WAIT_S, FIRST_WAIT_S * math.pow(2, min(n_failures - N_FREE, 60)))


def _remember(table: OrderedDict, key: object, value: object) -> None:
    table[key] = value
    table.move_to_end(key)
    if len(table) > MOST_REMEMBERED:
        table.popitem(last=False)
