"""The one memory budget: what is promised, what is taken, and what may still be promised."""

import threading

import pytest

from offgrid.procs.budget import Budget, Look


class Machine:
    """A machine of 1000 bytes; `held` is what our processes have privately, by process id."""

    def __init__(self, available: int = 1000):
        self.free = available
        self.held: dict[int, int] = {}

    def available(self) -> int:
        return self.free - sum(self.held.values())

    def private(self, pid: int) -> int:
        return self.held.get(pid, 0)

    def budget(self, limit: int = 0, reserve: int = 100) -> Budget:
        return Budget(limit, available=self.available, private=self.private, reserve_bytes=reserve)


def test_a_promise_is_room_taken_before_and_after_its_process_has_the_memory():
    machine = Machine()
    budget = machine.budget()
    assert budget.look().room == budget.look().capacity == 900
    assert budget.reserve("a", 400)
    assert budget.look().room == 500
    machine.held[7] = 250  # the rest are pages of its file, which the kernel calls available
    budget.attach("a", 7)
    assert budget.look() == Look(capacity=900, room=500, promised=400)
    machine.held.clear()
    budget.release("a")
    assert budget.look().room == 900


def test_more_than_there_is_room_for_is_not_promised():
    budget = Machine().budget()
    assert budget.reserve("a", 600)
    assert not budget.reserve("b", 301)
    assert budget.promised() == 600
    assert budget.reserve("b", 300)
    assert budget.look().room == 0


def test_the_limit_holds_even_on_a_large_machine_and_the_machine_even_under_a_large_limit():
    assert Machine().budget(limit=300).look().room == 300
    assert Machine().budget(limit=3000).look().room == 900


def test_memory_that_other_programs_take_is_missed_at_once():
    machine = Machine()
    budget = machine.budget()
    assert budget.reserve("a", 500)
    machine.free = 550
    assert budget.look().room == -50
    assert not budget.reserve("b", 1)


def test_one_that_holds_more_than_it_was_promised_counts_with_what_it_holds():
    machine = Machine()
    budget = machine.budget()
    budget.reserve("a", 100)
    budget.attach("a", 7)
    machine.held[7] = 300
    assert budget.look().room == 600


def test_a_name_has_one_promise():
    budget = Machine().budget()
    budget.reserve("a", 1)
    with pytest.raises(AssertionError):
        budget.reserve("a", 1)
    budget.release("never promised")


def test_what_is_decided_by_a_reading_holds_although_the_memory_moves_meanwhile():
    machine = Machine()
    budget = machine.budget()
    look = budget.look()
    machine.free = 990
    assert budget.reserve("a", look.room, look)
    assert not budget.reserve("b", look.room, look)  # the reading knows nothing of the first


def test_many_threads_are_together_never_promised_more_than_there_is():
    budget = Machine().budget()
    given = []

    def take(i: int) -> None:
        if budget.reserve(str(i), 90):
            given.append(i)

    threads = [threading.Thread(target=take, args=(i,)) for i in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(given) == 10
    assert budget.look().room == 0
