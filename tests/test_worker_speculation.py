"""Speculation: the same text in fewer steps, and drafts only where they pay."""

import pytest
from engine_bench import Bench, EagerSpeculation

from offgrid.worker.fake import FakeModel
from offgrid.worker.pace import TILE, Pace
from offgrid.worker.speculation import Speculation

TEXT = "the ferry leaves at noon and the ferry returns at nine. "


def learned(*, cost: float, n_streams: int = 1, tile: float = 0.0) -> Speculation:
    """One that has seen drafted rows cost so much of a step without drafts, beside so many streams, and a tile."""
    pace = Pace(120, 512)
    pace.observe(n_streams, 0, 100.0)
    speculation = Speculation(64, pace)
    for _ in range(60):
        speculation.observe(n_streams, 8, 100.0 * (1 + cost * 8))
        if tile:
            speculation.observe(n_streams, TILE - n_streams, 100.0 * tile)
    return speculation


def lengths(speculation: Speculation, *chances: float, most: int = 99, room: int = 63) -> list[int]:
    return speculation.lengths(chances, [most] * len(chances), room)


# --- whether a draft pays ---


def test_what_is_nearly_certain_is_drafted_and_what_is_doubtful_is_not():
    speculation = learned(cost=0.45)
    assert lengths(speculation, 0.98)[0] >= 6
    assert lengths(speculation, 0.5) == [0]
    assert lengths(speculation, 0.0) == [0]


def test_the_surer_and_the_cheaper_the_longer():
    by_chance = [lengths(learned(cost=0.3), chance)[0] for chance in (0.8, 0.9, 0.97)]
    by_cost = [lengths(learned(cost=cost), 0.9)[0] for cost in (0.4, 0.2, 0.05)]
    assert 0 < by_chance[0] < by_chance[1] < by_chance[2]
    assert 0 < by_cost[0] < by_cost[1] < by_cost[2]


def test_rows_that_cost_as_much_as_steps_are_never_drafted():
    assert lengths(learned(cost=1.0), 1.0) == [0]


def test_a_stream_that_does_not_draft_is_not_made_to_wait_for_one_that_does():
    assert lengths(learned(cost=0.2, n_streams=2), 0.99, 0.0) == [0, 0]
    cheap = lengths(learned(cost=0.02, n_streams=2), 0.99, 0.0)
    assert 3 <= cheap[0] <= 5  # a tenth of a step, and no more
    assert cheap[1] == 0


def test_streams_that_all_copy_draft_together():
    assert min(lengths(learned(cost=0.07, n_streams=8), *[0.97] * 8)) >= 1


def test_no_more_is_drafted_than_there_is_room_for():
    speculation = learned(cost=0.01, n_streams=4)
    assert sum(lengths(speculation, 0.99, 0.99, 0.99, 0.99, room=10)) <= 10
    assert max(lengths(speculation, 0.99, 0.99, 0.99, 0.99, most=4)) <= 4
    assert lengths(speculation, 0.99, 0.99, 0.99, 0.99, room=0) == [0, 0, 0, 0]


def test_a_cost_that_holds_drafts_back_is_doubted_after_a_while():
    speculation = learned(cost=3.0)
    tries = [lengths(speculation, 0.97)[0] for _ in range(500)]
    assert tries[0] == 0
    assert max(tries) > 0


def test_a_sure_copy_is_drafted_in_tiles_where_they_are_cheap():
    cheap, dear = learned(cost=0.5, tile=22.0), learned(cost=0.5, tile=40.0)
    assert lengths(cheap, 0.999) == [TILE - 1]
    assert lengths(cheap, 0.97)[0] < 20
    assert lengths(dear, 0.999)[0] < TILE - 1
    assert sum(lengths(learned(cost=0.5, tile=4.0, n_streams=8), *[0.999] * 8)) == TILE - 8
    assert lengths(cheap, 0.999, most=30)[0] <= 30


def test_a_tile_that_was_slow_once_is_tried_again():
    speculation = learned(cost=0.5, tile=22.0)
    speculation.pace.observe(0, TILE, 0.8 * 22 * 100.0)
    for _ in range(20):
        speculation.observe(1, TILE - 1, 9000.0)
    tries = [lengths(speculation, 0.999)[0] for _ in range(300)]
    assert tries[0] < TILE - 1
    assert tries[-1] == TILE - 1


def test_before_anything_was_measured_a_sure_draft_is_tried():
    assert lengths(Speculation(64, Pace(120, 512)), 0.95)[0] >= 3


# --- the loop with drafts ---


def bench_of(copies: float = 0.97, *, n_ctx: int = 1024, one_in_n_ends: int = 0, **kw) -> Bench:
    model = FakeModel(n_ctx=n_ctx, one_in_n_ends=one_in_n_ends, copies=copies)
    return Bench(model=model, speculation=EagerSpeculation(max_rows=32), **kw)


@pytest.mark.parametrize("seed", [None, 1, 2])
@pytest.mark.parametrize("copies", [0.0, 0.8, 0.97])
def test_the_text_is_the_same_with_drafts_and_many_are_accepted_where_it_repeats(copies, seed):
    bench = bench_of(copies, one_in_n_ends=400)
    prompts = [f"{i} {TEXT}" for i in range(4)]
    ids = [bench.submit(prompt, 100, seed=seed) for prompt in prompts]
    bench.run()
    for id, prompt in zip(ids, prompts, strict=True):
        assert bench.channel.texts.get(id, "") == bench.model.expected(prompt, 100, seed)
    if copies == 0.97:
        ends = bench.channel.ends.values()
        assert sum(end.drafted.n_accepted for end in ends) > 0.3 * sum(end.usage.completion_tokens for end in ends)
        assert all(end.drafted.n >= end.drafted.n_accepted for end in ends)


def test_a_draft_that_reaches_past_a_stop_string_or_the_end_gives_nothing_of_it():
    plain = FakeModel(one_in_n_ends=0, copies=0.97)
    text = plain.expected(TEXT, 100)
    for start in range(40, 60):
        stop = text[start : start + 3]
        bench = bench_of()
        id = bench.submit(TEXT, 100, stop=(stop,))
        bench.run()
        assert bench.channel.texts.get(id, "") == text[: text.index(stop)]
        assert bench.channel.ends[id].reason == "stop"
        bench.check()


@pytest.mark.parametrize("n", range(1, 30))
def test_a_limit_is_kept_to_the_token(n):
    bench = bench_of()
    id = bench.submit(TEXT, n)
    bench.run()
    assert bench.channel.ends[id].reason == "length"
    assert bench.channel.ends[id].usage.completion_tokens == n
    assert bench.channel.texts[id] == bench.model.expected(TEXT, n)


def test_a_step_with_drafts_that_was_cut_short_is_computed_again():
    bench = bench_of()
    id = bench.submit(TEXT, 100)
    while not bench.is_idle:
        bench.model.abort_next = bench.model.n_decodes % 3 == 0
        bench.step()
    assert bench.channel.texts[id] == bench.model.expected(TEXT, 100)
    assert bench.channel.ends[id].drafted.n_accepted > 0


def test_nobody_is_parked_and_nothing_evicted_for_a_draft():
    """Two streams on cells that just suffice for both: with drafts they need no more steps than without."""
    bench = bench_of(n_ctx=2 * (len(TEXT) + 60), n_slots=2)
    parked = []
    park = bench.scheduler._park
    bench.scheduler._park = lambda: (parked.append(1), park())
    ids = [bench.submit(TEXT[i:] + TEXT[:i], 60) for i in range(2)]
    bench.run()
    assert not parked
    assert [bench.channel.ends[id].usage.completion_tokens for id in ids] == [60, 60]


def test_a_prompt_beside_streams_leaves_no_room_for_drafts():
    bench = bench_of(n_ctx=4096)
    stream = bench.submit(TEXT, 500)
    while not bench.scheduler.running or bench.scheduler.running[0].n_accepted < 10:
        bench.step()
    sequence = bench.scheduler.running[0]
    bench.submit("quite another text. " * 60, 1)
    bench.step()
    while len(bench.scheduler.running) == 2:
        n_drafted = sequence.n_drafted
        bench.step()
        assert sequence.n_drafted == n_drafted
    bench.run()
    assert bench.channel.texts[stream] == bench.model.expected(TEXT, 500)


def test_sequences_share_the_answer_of_one_that_drafts():
    bench = bench_of(n_ctx=4096)
    id = bench.submit(TEXT, 100)
    bench.run()
    turn = TEXT + bench.channel.texts[id] + "And then?"
    next_id = bench.submit(turn, 50)
    bench.run()
    assert bench.channel.ends[next_id].usage.cached_tokens >= len(TEXT) + 99
    assert bench.channel.texts[next_id] == bench.model.expected(turn, 50)


def test_drafts_stay_within_the_steps_rows():
    bench = Bench(
        n_slots=8,
        model=FakeModel(n_ctx=4096, n_batch=512, one_in_n_ends=0, copies=0.97),
        speculation=EagerSpeculation(max_rows=30),
    )
    most = 0
    decode = bench.model.decode

    def counting(chunks):
        nonlocal most
        most = max(most, sum(len(c.draft) + 1 for c in chunks if c.needs_logits))
        return decode(chunks)

    bench.model.decode = counting
    for i in range(8):
        bench.submit(f"{i} {TEXT}", 80)
    bench.run()
    assert 8 < most <= 30
