"""Throttle: whether somebody may ask now, by the limits that the administrator has set. Off where none is set.

Everything that applies to a request holds: its role's limits (each member counted alone), its user's, its key's. What
is over a limit is refused before anything is computed, and is not counted itself.

A minute is 61 parts of a second each: the running one and the 60 before it. So never more than the limit passes in any
60 seconds, wherever they begin (a token bucket lets twice as much pass right after a pause), what was used comes back
after 60 to 61 s, and a counter stays small however large its limit is. A token limit is compared before a request and
charged after it, when its tokens are known, so that the answers that run already may exceed it. Tokens of a day are
those of `store/usage.py`, which survive a restart; minutes and what runs do not need to.

Must stay true: checking and charging is one act under one lock; what an admitted request holds is given back once.
Minutes go by the monotonic clock, which never jumps.
"""

import math
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

from offgrid.api.access import PUBLIC
from offgrid.errors import RateLimited
from offgrid.store.limits import Limits, LimitStore
from offgrid.store.usage import UsageBook, account_of
from offgrid.types import Principal
from offgrid.web.message import Request

# The permissions of routes that compute: only there do tokens and `concurrent` count, so that the page of somebody
# whose answer is being written, or whose tokens are used up, still opens.
COMPUTING = frozenset({"chat", "embeddings", "agents:run"})
MINUTE_S = 60
# The last bytes of a stream arrive before its place is given back: who asks again at once is not to be told off.
GRACE_S = 0.25
_FORGET_AFTER_S = 2 * MINUTE_S
_FREE = nullcontext()


class Minute:
    """What was counted in the last minute."""

    __slots__ = ("_parts", "total")

    def __init__(self):
        self.total = 0
        self._parts: list[list[int]] = []  # [second, how much], oldest first, at most 61

    def add(self, n: int, now: float) -> None:
        if self._parts and self._parts[-1][0] == int(now):
            self._parts[-1][1] += n
        else:
            self._parts.append([int(now), n])
        self.total += n

    def pass_to(self, now: float) -> None:
        """Drop what is more than a minute old."""
        while self._parts and self._parts[0][0] < int(now) - MINUTE_S:
            self.total -= self._parts.pop(0)[1]

    def wait_s(self, limit: int, now: float) -> float:
        """Seconds until less than `limit` is counted."""
        left, free_at = self.total, now
        for second, n in self._parts:
            if left < limit:
                break
            left, free_at = left - n, second + MINUTE_S + 1
        return free_at - now

    def reset_s(self, now: float) -> float:
        """Seconds until nothing is counted."""
        return self._parts[-1][0] + MINUTE_S + 1 - now if self._parts else 0.0


class Counter:
    """What one limited user, key, or member of a role has asked for."""

    __slots__ = ("n_running", "requests", "tokens", "used_at")

    def __init__(self):
        self.requests, self.tokens = Minute(), Minute()
        self.n_running = 0
        self.used_at = 0.0


class Rule(NamedTuple):
    """A subject whose limits apply to somebody, and what it has counted of them."""

    scope: str
    id: str
    limits: Limits
    counter: Counter
    account: str  # whose tokens of the day count; "" for a key

    def __str__(self) -> str:
        return f"{self.scope} {self.id}"


class Standing(NamedTuple):
    """How far one limit is used."""

    rule: Rule
    type: str  # requests, tokens, concurrent
    period: str  # minute, day; now for `concurrent`
    limit: int
    current: int
    wait_s: float  # until one more passes; 0 when it passes now
    reset_s: float  # until nothing is counted any more, if nothing is asked

    @property
    def remaining(self) -> int:
        return max(self.limit - self.current, 0)


class Throttle:
    """Every method may be called from any thread. `now` is a clock in seconds that never jumps."""

    def __init__(self, limits: LimitStore, usage: UsageBook, now: Callable[[], float] = time.monotonic):
        self._limits = limits
        self._usage = usage
        self._now = now
        self._lock = threading.Lock()
        self._ended = threading.Condition(self._lock)  # something that computed
        self._counters: dict[tuple[str, str, str], Counter] = {}  # (scope, id, member of a role or "")
        self._swept_at = now()

    def admit(self, request: Request, permission: str, *, is_new: bool = True) -> AbstractContextManager:
        """A context that lasts as long as the request is answered; at its end the request's tally is charged.

        `is_new` False: what goes on after its request was answered, and was counted as a request with that.

        Puts OpenAI's x-ratelimit-* headers into the request's `answer_headers`. Where only places are missing, it waits
        a moment for one. Raises RateLimited.
        """
        who = request.who
        if not self._limits.by_subject or who is None or permission == PUBLIC:
            return _FREE
        does_compute = permission in COMPUTING
        with self._lock:
            rules = self._rules(who)
            if not rules:
                return _FREE
            now = self._now()
            standings, late = self._weigh(rules, now, does_compute)
            late = late if is_new else [s for s in late if s.type != "requests"]
            if late and all(s.type == "concurrent" for s in late) and self._wait_for_places(rules):
                rules, now = self._rules(who), self._now()  # anew: the lock was open meanwhile
                standings, late = self._weigh(rules, now, does_compute)
            if not late:
                for rule in rules:
                    rule.counter.requests.add(is_new, now)
                    rule.counter.n_running += does_compute
                    rule.counter.used_at = now
        request.answer_headers.update(_headers(standings, 0 if late else 1))
        if late:
            raise _refusal(max(late, key=lambda s: s.wait_s))
        return _Admission(self, rules, request, does_compute)

    def standings(self, who: Principal) -> list[Standing]:
        """How far each limit that applies to somebody is used."""
        with self._lock:
            return self._standings(self._rules(who), self._now())

    def settle(self, rules: list[Rule], n_tokens: int, *, has_computed: bool) -> None:
        """Charge the tokens of an admitted request that has ended, and give its place back."""
        with self._lock:
            now = self._now()
            if has_computed:
                self._ended.notify_all()
            for rule in rules:
                rule.counter.n_running -= has_computed
                rule.counter.used_at = now
                if n_tokens:
                    rule.counter.tokens.pass_to(now)
                    rule.counter.tokens.add(n_tokens, now)
            if now - self._swept_at > _FORGET_AFTER_S:
                self._forget_idle(now)

    # --- below here the lock is held ---

    def _rules(self, who: Principal) -> list[Rule]:
        limits, rules = self._limits.by_subject, []
        if found := limits.get(("role", who.role)):
            rules.append(self._rule("role", who.role, found, account_of(who)))
        if who.user_id is not None and (found := limits.get(("user", who.user_id))):
            rules.append(self._rule("user", who.user_id, found, who.user_id))
        if who.key_id is not None and (found := limits.get(("key", str(who.key_id)))):
            rules.append(self._rule("key", str(who.key_id), found, ""))
        return rules

    def _rule(self, scope: str, id: str, limits: Limits, account: str) -> Rule:
        at = (scope, id, account)
        counter = self._counters.get(at)
        if counter is None:
            counter = self._counters[at] = Counter()
        return Rule(scope, id, limits, counter, account)

    def _weigh(self, rules: list[Rule], now: float, does_compute: bool) -> tuple[list[Standing], list[Standing]]:
        """(how far the limits are used that matter to a request, those of them that hold it off)."""
        standings = [s for s in self._standings(rules, now) if does_compute or s.type == "requests"]
        return standings, [s for s in standings if s.wait_s > 0]

    def _wait_for_places(self, rules: list[Rule]) -> bool:
        counted = [(rule.counter, limit) for rule in rules if (limit := rule.limits.concurrent) is not None]
        return self._ended.wait_for(lambda: all(c.n_running < limit for c, limit in counted), GRACE_S)

    def _standings(self, rules: list[Rule], now: float) -> list[Standing]:
        found = []
        for rule in rules:
            limits, counter = rule.limits, rule.counter
            counter.requests.pass_to(now)
            counter.tokens.pass_to(now)
            for type, minute, limit in (
                ("requests", counter.requests, limits.requests_per_minute),
                ("tokens", counter.tokens, limits.tokens_per_minute),
            ):
                if limit is not None:
                    wait_s, reset_s = minute.wait_s(limit, now), minute.reset_s(now)
                    found.append(Standing(rule, type, "minute", limit, minute.total, wait_s, reset_s))
            if limits.tokens_per_day is not None:
                found.append(self._day(rule, limits.tokens_per_day))
            if (limit := limits.concurrent) is not None:
                wait_s = 1.0 if counter.n_running >= limit else 0.0  # nobody knows when an answer ends
                found.append(Standing(rule, "concurrent", "now", limit, counter.n_running, wait_s, 0.0))
        return found

    def _day(self, rule: Rule, limit: int) -> Standing:
        usage = self._usage
        current = usage.tokens_of_account(rule.account) if rule.account else usage.tokens_of_key(int(rule.id))
        left_s = usage.left_of_day_s()
        return Standing(
            rule, "tokens", "day", limit, current, left_s if current >= limit else 0.0, left_s if current else 0.0
        )

    def _forget_idle(self, now: float) -> None:
        self._swept_at = now
        self._counters = {
            at: counter
            for at, counter in self._counters.items()
            if counter.n_running or counter.used_at > now - _FORGET_AFTER_S
        }


class _Admission:
    """Holds what one request was let in with, until it ends."""

    __slots__ = ("_does_compute", "_request", "_rules", "_throttle")

    def __init__(self, throttle: Throttle, rules: list[Rule], request: Request, does_compute: bool):
        self._throttle, self._rules, self._request = throttle, rules, request
        self._does_compute = does_compute

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc_info) -> None:
        tally = self._request.tally
        n_tokens = tally.prompt_tokens + tally.completion_tokens
        self._throttle.settle(self._rules, n_tokens, has_computed=self._does_compute)


def _refusal(standing: Standing) -> RateLimited:
    rule, limit, current = standing.rule, standing.limit, standing.current
    if standing.type == "concurrent":
        said = f"concurrent is {limit} for the {rule}, and {current} of its requests are being answered"
    else:
        said = f"{standing.type}_per_{standing.period} is {limit} for the {rule}, and {current} are used"
    seconds = math.ceil(standing.wait_s)
    again = "when one of them has ended" if standing.type == "concurrent" else f"in {duration(seconds)}"
    return RateLimited(f"A limit of this server is reached: {said}. Try again {again}.", retry_after_s=seconds)


def _headers(standings: list[Standing], n_requests: int) -> dict[str, str]:
    """OpenAI's headers: of requests and of tokens, the limit of which least is left.

    `n_requests` were counted since the standings were taken.
    """
    headers = {}
    for type, n in (("requests", n_requests), ("tokens", 0)):
        if of_type := [s for s in standings if s.type == type]:
            tightest = min(of_type, key=lambda s: (s.remaining, -s.reset_s))
            headers[f"x-ratelimit-limit-{type}"] = str(tightest.limit)
            headers[f"x-ratelimit-remaining-{type}"] = str(tightest.remaining - n)
            reset_s = MINUTE_S + 1 if n else tightest.reset_s
            headers[f"x-ratelimit-reset-{type}"] = duration(math.ceil(reset_s))
    return headers


def duration(seconds: int) -> str:
    """As OpenAI's headers spell it: 1h2m3s."""
    minutes, s = divmod(seconds, 60)
    hours, m = divmod(minutes, 60)
    return (f"{hours}h" if hours else "") + (f"{m}m" if minutes else "") + f"{s}s"
