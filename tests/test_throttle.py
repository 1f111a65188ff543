"""Limits: exact under threads, per member, key and user, with true waiting times; by a clock of the test's own."""

import math
import threading
from contextlib import suppress
from dataclasses import replace

import pytest
from running import wait_until

from offgrid.api import throttle as throttle_module
from offgrid.api.throttle import Throttle, duration
from offgrid.errors import RateLimited
from offgrid.store.db import Database
from offgrid.store.limits import Limits, LimitStore
from offgrid.store.usage import DAY_S, UsageBook, account_of
from offgrid.types import Principal
from offgrid.web.message import Request

ANNA = Principal("user", "anna", "Anna", "10.0.0.5", user_id="a1", key_id=1)
BEN = Principal("user", "ben", "Ben", "10.0.0.5", user_id="b2")
GUEST = Principal("guest", "guest", "guest", "10.0.0.9")
NOON = 25_000 * DAY_S + DAY_S // 2


class Room:
    """A throttle with its database, and two clocks that go when the test says so."""

    def __init__(self, folder):
        self.minutes, self.wall = 1000.0, float(NOON)
        self.db = Database(folder / "offgrid.db")
        self.usage = UsageBook(self.db, now=lambda: self.wall)
        self.limits = LimitStore(self.db)
        self.throttle = Throttle(self.limits, self.usage, now=lambda: self.minutes)

    def go(self, seconds: float) -> None:
        self.minutes += seconds
        self.wall += seconds

    def ask(self, who: Principal, *, permission: str = "chat", n_tokens: int = 0) -> dict[str, str]:
        """One request from beginning to end; the headers of its answer."""
        request = Request("POST", "/", who=who)
        with self.throttle.admit(request, permission):
            self.answer(request, n_tokens)
        self.usage.add(who, request.tally)
        return request.answer_headers

    def answer(self, request: Request, n_tokens: int) -> None:
        if n_tokens:
            request.tally.service, request.tally.model = "chat", "m"
            request.tally.prompt_tokens, request.tally.completion_tokens = n_tokens - 1, 1

    def refusal(self, who: Principal, **kw) -> RateLimited:
        with pytest.raises(RateLimited) as caught:
            self.ask(who, **kw)
        return caught.value


@pytest.fixture
def room(tmp_path):
    room = Room(tmp_path)
    yield room
    room.usage.close()
    room.db.close()


def test_without_limits_nothing_is_counted_or_said(room):
    assert room.ask(ANNA, n_tokens=9) == {}
    assert room.throttle.standings(ANNA) == []
    assert not room.throttle._counters


def test_a_limit_of_requests_names_itself_and_the_wait_it_states_is_true(room):
    room.limits.put("user", "a1", Limits(requests_per_minute=3))
    for _ in range(3):
        room.ask(ANNA)
        room.go(10)
    error = room.refusal(ANNA)
    assert (error.status, error.type, error.code) == (429, "rate_limit_error", "rate_limit_exceeded")
    assert "requests_per_minute is 3 for the user a1" in error.message
    wait_s = int(error.headers["Retry-After"])
    room.go(wait_s - 1.001)
    assert room.refusal(ANNA)
    room.go(1.001)
    room.ask(ANNA)
    assert room.refusal(ANNA)


def test_never_more_than_the_limit_pass_in_any_sixty_seconds(room):
    room.limits.put("user", "a1", Limits(requests_per_minute=7))
    passed = []
    for i in range(4000):
        room.go(0.0379 * (1 + i % 5))
        with suppress(RateLimited):
            room.ask(ANNA)
            passed.append(room.minutes)
    assert len(passed) > 30
    for i in range(len(passed) - 7):
        assert passed[i + 7] - passed[i] >= 60


def test_what_is_refused_is_not_counted(room):
    room.limits.put("user", "a1", Limits(requests_per_minute=1))
    room.ask(ANNA)
    for _ in range(50):
        room.go(1)
        room.refusal(ANNA)
    room.go(11)
    room.ask(ANNA)


def test_each_member_of_a_role_is_counted_alone(room):
    room.limits.put("role", "user", Limits(requests_per_minute=1))
    room.limits.put("role", "guest", Limits(requests_per_minute=1))
    for who in (ANNA, BEN, GUEST, replace(GUEST, address="10.0.0.10")):
        room.ask(who)
        assert "for the role" in room.refusal(who).message
    assert room.refusal(replace(ANNA, key_id=2, address="10.0.0.99"))  # another key, another place, the same person


def test_a_key_a_user_and_a_role_have_counters_of_their_own_and_all_hold(room):
    room.limits.put("key", "1", Limits(requests_per_minute=1))
    room.limits.put("user", "a1", Limits(requests_per_minute=2))
    room.limits.put("role", "user", Limits(requests_per_minute=3))
    room.ask(ANNA)
    assert "for the key 1" in room.refusal(ANNA).message
    room.ask(replace(ANNA, key_id=2))
    assert "for the user a1" in room.refusal(replace(ANNA, key_id=2)).message
    room.limits.delete("user", "a1")
    room.ask(replace(ANNA, key_id=None))
    assert "for the role user" in room.refusal(replace(ANNA, key_id=None)).message
    room.ask(BEN)


@pytest.mark.parametrize(
    ("one", "other", "are_same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8:0:1::5", "2001:db8:0:1:ffff::6", True),
        ("2001:db8:0:1::5", "2001:db8:0:2::5", False),
        ("fe80::1%eth0", "fe80::2%eth0", False),
        ("fe80::1%eth0", "fe80::1%wlan0", True),
    ],
)
def test_whoever_has_no_account_is_told_apart_by_address_or_its_ipv6_network(one, other, are_same):
    assert (account_of(replace(GUEST, address=one)) == account_of(replace(GUEST, address=other))) is are_same


def test_tokens_of_a_minute_are_charged_at_the_end_and_hold_off_only_what_computes(room):
    room.limits.put("user", "a1", Limits(tokens_per_minute=100))
    room.ask(ANNA, n_tokens=60)
    room.go(20)
    headers = room.ask(ANNA, n_tokens=60)
    assert headers["x-ratelimit-remaining-tokens"] == "40"
    error = room.refusal(ANNA)
    assert "tokens_per_minute is 100 for the user a1, and 120 are used" in error.message
    assert error.headers["Retry-After"] == "41"  # the first sixty were 20 s ago
    room.ask(ANNA, permission="models")
    room.go(41)
    room.ask(ANNA)


def test_tokens_of_a_day_come_back_at_midnight(room):
    room.limits.put("user", "a1", Limits(tokens_per_day=100))
    room.limits.put("key", "1", Limits(tokens_per_day=1000))
    room.ask(ANNA, n_tokens=100)
    error = room.refusal(replace(ANNA, key_id=2))
    assert error.headers["Retry-After"] == str(DAY_S // 2)
    assert "Try again in 12h0m0s" in error.message
    assert [(s.rule.scope, s.current, s.remaining) for s in room.throttle.standings(ANNA)] == [
        ("user", 100, 0),
        ("key", 100, 900),
    ]
    room.go(DAY_S // 2 - 1)
    assert room.refusal(ANNA)
    room.go(1)
    room.ask(ANNA, n_tokens=1)


def test_tokens_of_a_day_survive_a_restart(room, tmp_path):
    room.limits.put("role", "guest", Limits(tokens_per_day=50))
    room.limits.put("key", "1", Limits(tokens_per_day=50))
    room.ask(GUEST, n_tokens=50)
    room.ask(ANNA, n_tokens=50)
    room.usage.close()
    room.db.close()
    again = Room(tmp_path)
    assert "role guest" in again.refusal(GUEST).message
    assert "key 1" in again.refusal(ANNA).message
    again.ask(replace(ANNA, key_id=2))
    again.usage.close()
    again.db.close()


@pytest.mark.parametrize("to", [0.0, NOON - 3 * DAY_S, NOON + 20_000 * DAY_S])
def test_a_clock_that_jumps_blocks_nobody_for_longer_than_a_day(room, to):
    room.limits.put("user", "a1", Limits(tokens_per_day=50, requests_per_minute=1))
    room.ask(ANNA, n_tokens=50)
    room.wall = to
    room.go(61)
    room.ask(ANNA, n_tokens=50)
    assert int(room.refusal(ANNA).headers["Retry-After"]) <= DAY_S
    room.go(DAY_S)
    room.ask(ANNA)


def test_on_a_clock_that_was_never_set_a_restart_begins_a_new_day(room, tmp_path):
    room.wall = 100.0
    room.limits.put("user", "a1", Limits(tokens_per_day=50))
    room.ask(ANNA, n_tokens=50)
    assert room.refusal(ANNA)
    room.usage.close()
    room.db.close()
    again = Room(tmp_path)
    again.wall = 100.0
    again.ask(ANNA)
    again.usage.close()
    again.db.close()


def test_concurrent_holds_until_the_request_ends_whatever_way(room):
    room.limits.put("user", "a1", Limits(concurrent=1))
    with room.throttle.admit(Request("POST", "/", who=ANNA), "chat"):
        error = room.refusal(ANNA)
        assert "concurrent is 1 for the user a1" in error.message
        assert error.headers["Retry-After"] == "1"
        room.ask(ANNA, permission="models")
        room.ask(BEN)
    room.ask(ANNA)
    with pytest.raises(ZeroDivisionError), room.throttle.admit(Request("POST", "/", who=ANNA), "chat"):
        print(1 / 0)
    room.ask(ANNA)


def test_who_asks_again_while_the_last_answer_is_just_ending_gets_its_place(room, monkeypatch):
    monkeypatch.setattr(throttle_module, "GRACE_S", 30)
    room.limits.put("user", "a1", Limits(concurrent=1))
    with room.throttle.admit(Request("POST", "/", who=ANNA), "chat"):
        again = threading.Thread(target=room.ask, args=(ANNA,))
        again.start()
        wait_until(lambda: room.throttle._ended._waiters)
    again.join(5)
    assert not again.is_alive()
    [counter] = room.throttle._counters.values()
    assert (counter.requests.total, counter.n_running) == (2, 0)


def test_what_has_failed_is_charged_too(room):
    room.limits.put("user", "a1", Limits(tokens_per_minute=10))
    request = Request("POST", "/", who=ANNA)
    with pytest.raises(ZeroDivisionError), room.throttle.admit(request, "chat"):
        room.answer(request, 10)
        print(1 / 0)
    assert room.refusal(ANNA)


def test_sixty_four_threads_pass_exactly_as_often_as_the_limit_says(room):
    room.limits.put("role", "user", Limits(requests_per_minute=5000, concurrent=40))
    room.limits.put("user", "a1", Limits(requests_per_minute=500))
    passed, most, running, lock = [0, 0], [0], [0], threading.Lock()

    def work(index: int) -> None:
        for _ in range(200):
            request = Request("POST", "/", who=(ANNA, BEN)[index % 2])
            with suppress(RateLimited), room.throttle.admit(request, "models" if index % 2 == 0 else "chat"):
                with lock:
                    passed[index % 2] += 1
                    running[0] += index % 2
                    most[0] = max(most[0], running[0])
                with lock:
                    running[0] -= index % 2

    threads = [threading.Thread(target=work, args=(i,)) for i in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert passed[0] == 500
    assert 0 < passed[1] <= 5000
    assert most[0] <= 40
    assert all(counter.n_running == 0 for counter in room.throttle._counters.values())


def test_headers_tell_of_the_limit_of_which_least_is_left(room):
    room.limits.put("user", "a1", Limits(requests_per_minute=10, tokens_per_minute=1000))
    room.limits.put("role", "user", Limits(requests_per_minute=5, tokens_per_day=5000))
    headers = room.ask(ANNA, n_tokens=300)
    assert headers == {
        "x-ratelimit-limit-requests": "5",
        "x-ratelimit-remaining-requests": "4",
        "x-ratelimit-reset-requests": "1m1s",
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "1000",
        "x-ratelimit-reset-tokens": "0s",
    }
    for _ in range(4):
        headers = room.ask(ANNA)
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert headers["x-ratelimit-remaining-tokens"] == "700"
    request = Request("POST", "/", who=ANNA)
    with pytest.raises(RateLimited):
        room.throttle.admit(request, "chat")
    assert request.answer_headers["x-ratelimit-remaining-requests"] == "0"


def test_a_changed_limit_holds_at_once_for_what_was_counted_before(room):
    room.limits.put("user", "a1", Limits(requests_per_minute=100))
    for _ in range(5):
        room.ask(ANNA)
    room.limits.put("user", "a1", Limits(requests_per_minute=5))
    assert room.refusal(ANNA)
    room.limits.put("user", "a1", Limits(requests_per_minute=6))
    room.ask(ANNA)
    room.limits.delete("user", "a1")
    assert room.ask(ANNA) == {}


def test_idle_counters_are_forgotten_and_running_ones_kept(room):
    room.limits.put("role", "guest", Limits(requests_per_minute=5))
    with room.throttle.admit(Request("POST", "/", who=GUEST), "chat"):
        for i in range(500):
            room.ask(replace(GUEST, address=f"10.1.{i // 256}.{i % 256}"))
        assert len(room.throttle._counters) == 501
        room.go(throttle_module._FORGET_AFTER_S + 1)
        room.ask(replace(GUEST, address="10.2.0.1"))
        assert set(room.throttle._counters) == {("role", "guest", GUEST.address), ("role", "guest", "10.2.0.1")}


def test_a_counter_stays_small_however_much_it_counts(room):
    room.limits.put("user", "a1", Limits(requests_per_minute=10**9))
    for _ in range(5000):
        room.ask(ANNA, n_tokens=3)
        room.go(0.05)
    [counter] = room.throttle._counters.values()
    assert len(counter.requests._parts) <= 61
    assert len(counter.tokens._parts) <= 61


def test_public_routes_and_whoever_is_nobody_are_not_limited(room):
    room.limits.put("role", "user", Limits(requests_per_minute=1))
    for _ in range(3):
        assert room.ask(ANNA, permission="public") == {}
        assert room.ask(None, permission="anyone") == {}


def test_durations_are_spelled_as_openai_spells_them():
    assert [duration(s) for s in (0, 59, 61, 360, 3600, 3723)] == ["0s", "59s", "1m1s", "6m0s", "1h0m0s", "1h2m3s"]


def test_the_wait_for_tokens_ends_when_enough_of_them_are_a_minute_old():
    minute = throttle_module.Minute()
    for second in range(10):
        minute.add(10, 100 + second)
    minute.pass_to(110)
    for limit in (5, 10, 11, 55, 100):
        wait_s = minute.wait_s(limit, 110)
        left = sum(10 for second in range(10) if 100 + second >= 110 + math.ceil(wait_s) - 60)
        assert left < limit
        assert left + 10 >= limit
    assert minute.wait_s(101, 110) == 0
