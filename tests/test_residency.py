"""Who must leave for a newcomer: idle ones, the longest unused first, never a busy or a pinned one."""

import random

from offgrid.engine.residency import Resident, Verdict, make_room


def resident(id: str, n_bytes: int = 10, last_used: float = 0, **is_) -> Resident:
    return Resident(id, n_bytes, last_used, **is_)


def test_with_room_nobody_leaves():
    assert make_room([resident("a")], 0) == Verdict(True)
    assert make_room([], -5) == Verdict(True)


def test_the_idle_model_unused_for_longest_leaves():
    models = [resident("new", last_used=3), resident("old", last_used=1), resident("mid", last_used=2)]
    assert make_room(models, 10).leave == ("old",)
    assert make_room(models, 11).leave == ("old", "mid")


def test_a_small_one_is_spared_when_a_large_one_must_go_anyway():
    models = [resident("small", 1, last_used=1), resident("large", 100, last_used=2)]
    assert make_room(models, 50).leave == ("large",)


def test_a_busy_or_pinned_model_is_never_told_to_leave():
    models = [resident("busy", is_busy=True), resident("pinned", is_pinned=True), resident("idle", last_used=9)]
    assert make_room(models, 10) == Verdict(True, leave=("idle",))
    assert make_room(models, 20) == Verdict(True, wait_for=("busy",))  # and the idle one does not leave for nothing
    assert make_room(models, 21) == Verdict(False)


def test_what_is_leaving_already_counts_as_room_to_come():
    assert make_room([resident("gone", is_leaving=True), resident("idle")], 10) == Verdict(True)
    assert make_room([resident("gone", is_leaving=True), resident("idle")], 11).leave == ("idle",)


def test_whatever_is_loaded_a_verdict_keeps_its_word():
    draw = random.Random(7)
    for _ in range(3000):
        models = [
            Resident(str(i), draw.randint(1, 20), draw.random(), *(draw.random() < 0.3 for _ in range(3)))
            for i in range(draw.randint(0, 6))
        ]
        missing = draw.randint(-5, 60)
        verdict = make_room(models, missing)
        by_id = {model.id: model for model in models}
        free = sum(m.n_bytes for m in models if m.is_leaving)
        for id in verdict.leave:
            assert not by_id[id].is_busy and not by_id[id].is_pinned and not by_id[id].is_leaving
        assert all(by_id[id].is_busy and not by_id[id].is_pinned for id in verdict.wait_for)
        assert not (verdict.leave and verdict.wait_for)
        if verdict.leave:
            assert free + sum(by_id[id].n_bytes for id in verdict.leave) >= missing
        movable = sum(m.n_bytes for m in models if not m.is_pinned and not m.is_leaving)
        assert verdict.can_fit == (free + movable >= missing or missing <= 0)
        if verdict.can_fit and not verdict.leave and not verdict.wait_for:
            assert free >= missing
