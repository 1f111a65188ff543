"""The clock rings once, at the earliest time it was told, and has no thread without one."""

import threading
import time

from running import wait_until

from offgrid.engine.clock import Clock


def names() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


def test_it_rings_at_the_earliest_of_the_times_and_once():
    rung = []
    clock = Clock(lambda: rung.append(time.monotonic()), "test:clock")
    now = time.monotonic()
    for wait_s in (60, 0.05, 30):
        clock.ring_by(now + wait_s)
    wait_until(lambda: rung)
    assert now + 0.05 <= rung[0]
    wait_until(lambda: "test:clock" not in names())
    assert len(rung) == 1
    assert not clock.is_set


def test_a_time_that_is_over_rings_at_once_and_a_ring_may_set_the_clock_again():
    n_left = 3
    is_over = threading.Event()

    def ring() -> None:
        nonlocal n_left
        n_left -= 1
        if n_left:
            clock.ring_by(0)
        else:
            is_over.set()

    clock = Clock(ring, "test:clock")
    clock.ring_by(0)
    assert is_over.wait(5)


def test_a_stopped_clock_does_not_ring():
    clock = Clock(lambda: None, "test:clock")
    clock.ring_by(time.monotonic() + 60)
    assert clock.is_set and "test:clock" in names()
    clock.stop()
    assert not clock.is_set
    wait_until(lambda: "test:clock" not in names())
