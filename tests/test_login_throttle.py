"""How often a password may be guessed: by a clock that the tests turn."""

from offgrid.api import login_throttle as throttle
from offgrid.api.login_throttle import BUCKET, LONGEST_WAIT_S, N_FREE, REFILL_S, LoginThrottle
from offgrid.store.networks import network_of


class Clock:
    def __init__(self):
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def fail(guard: LoginThrottle, n: int, account: str = "ada", network: str = "10.0.0.1") -> None:
    """So many attempts that go on, and are never right."""
    for _ in range(n):
        assert guard.begin(account, network) == 0


def test_the_waits_for_one_account_double_from_the_fifth_failure_on_up_to_the_longest():
    clock = Clock()
    guard = LoginThrottle(clock)
    fail(guard, N_FREE)
    waits = []
    for _ in range(14):
        waits.append(wait_s := guard.begin("ada", "10.0.0.1"))
        assert guard.begin("ada", "10.0.0.1") == wait_s  # asking too early costs nothing
        clock.now_s += wait_s
        fail(guard, 1)
    assert waits == [min(LONGEST_WAIT_S, 2.0**n) for n in range(14)]
    assert waits[-1] == LONGEST_WAIT_S


def test_a_right_password_ends_the_waits():
    clock = Clock()
    guard = LoginThrottle(clock)
    fail(guard, N_FREE)
    clock.now_s += 1
    fail(guard, 1)
    guard.succeed("ada", "10.0.0.1")
    fail(guard, N_FREE)
    assert guard.begin("ada", "10.0.0.1") > 0


def test_failures_are_forgotten_after_an_hour():
    clock = Clock()
    guard = LoginThrottle(clock)
    fail(guard, N_FREE)
    clock.now_s += throttle.FORGOTTEN_AFTER_S + 1
    fail(guard, N_FREE)


def test_attempts_at_once_are_counted_before_any_of_them_has_failed():
    guard = LoginThrottle(Clock())
    assert sum(guard.begin("ada", "10.0.0.1") == 0 for _ in range(1000)) == N_FREE


def test_a_network_that_tries_many_names_is_slowed_and_another_network_is_not():
    clock = Clock()
    guard = LoginThrottle(clock)
    for n in range(BUCKET):
        fail(guard, 1, f"name{n}")
    assert guard.begin("one more", "10.0.0.1") == REFILL_S
    fail(guard, 1, "one more", "10.0.0.2")
    clock.now_s += REFILL_S
    fail(guard, 1, "one more")
    assert guard.begin("yet another", "10.0.0.1") == REFILL_S


def test_who_has_logged_in_from_a_network_is_not_locked_out_by_a_guesser_there():
    guard = LoginThrottle(Clock())
    fail(guard, 1, "ada")
    guard.succeed("ada", "10.0.0.1")
    for n in range(BUCKET):
        fail(guard, 1, f"name{n}")
    assert guard.begin("somebody else", "10.0.0.1") > 0
    fail(guard, 1, "ada")


def test_a_class_that_knows_its_passwords_is_not_slowed():
    guard = LoginThrottle(Clock())
    for n in range(3 * BUCKET):
        fail(guard, 1, f"pupil{n}")
        guard.succeed(f"pupil{n}", "10.0.0.1")


def test_the_tables_are_bounded(monkeypatch):
    monkeypatch.setattr(throttle, "MOST_REMEMBERED", 10)
    guard = LoginThrottle(Clock())
    for n in range(50):
        fail(guard, 1, f"name{n}", f"10.0.0.{n}")
        guard.succeed(f"name{n}", f"10.0.0.{n}")
        fail(guard, 1, f"other{n}", f"10.0.1.{n}")
    assert {len(table) for table in (guard._failures, guard._buckets, guard._welcome)} == {10}


def test_an_ipv6_network_is_its_64_bits():
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:2") == "2001:db8::/64"
    assert network_of("2001:db8:0:1::1") != network_of("2001:db8::1")
    assert network_of("fe80::1%eth0") == "fe80::1" != network_of("fe80::2%eth0")
    assert network_of("192.168.1.5") == "192.168.1.5"
    assert network_of("") == ""
