"""Writes that can wait: one for many reasons, none lost at the end, and a failed one stops nothing."""

import threading

from running import wait_until

from offgrid.store.batch import Batch


def test_many_marks_are_one_save_and_a_later_mark_is_another():
    saved = []
    batch = Batch(lambda: saved.append(threading.current_thread().name), 0.01, "test:batch")
    for n in (1, 2):
        for _ in range(100):
            batch.mark()
        wait_until(lambda n=n: len(saved) == n)
    batch.stop()
    assert saved == ["test:batch"] * 2


def test_what_is_due_is_saved_at_the_stop_and_nothing_afterwards():
    saved = []
    batch = Batch(lambda: saved.append(1), 1000, "test:batch")
    batch.stop()
    assert saved == []
    batch = Batch(lambda: saved.append(1), 1000, "test:batch")
    batch.mark()
    batch.stop()
    batch.mark()
    batch.stop()
    assert saved == [1]
    wait_until(lambda: not [t for t in threading.enumerate() if t.name == "test:batch"])


def test_a_stop_waits_for_a_save_that_is_running():
    began, may_end, saved = threading.Event(), threading.Event(), []

    def save():
        began.set()
        may_end.wait(5)
        saved.append(1)

    batch = Batch(save, 0, "test:batch")
    batch.mark()
    assert began.wait(5)
    stopper = threading.Thread(target=batch.stop)
    stopper.start()
    assert stopper.is_alive()
    may_end.set()
    stopper.join(5)
    assert saved == [1] and not stopper.is_alive()


def test_a_save_that_fails_is_logged_and_tried_again_until_it_succeeds(caplog):
    tries = []

    def save():
        tries.append(1)
        if len(tries) < 3:
            raise OSError("no disk")

    batch = Batch(save, 0, "test:batch")
    batch.mark()
    wait_until(lambda: len(tries) == 3)
    wait_until(lambda: not [t for t in threading.enumerate() if t.name == "test:batch"])
    batch.stop()
    assert len(tries) == 3
    assert "test:batch: what was noted could not be saved" in caplog.text
