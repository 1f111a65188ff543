"""The engine's loop on the fake model: what every client gets, whatever else runs."""

from engine_bench import Bench

from offgrid.worker.fake import FakeModel
from offgrid.worker.refused import Refused


def test_a_request_gets_the_text_that_the_model_gives_it_alone():
    bench = Bench()
    id = bench.submit("once upon a time", 30)
    bench.run()
    assert bench.channel.texts[id] == bench.model.expected("once upon a time", 30)


def test_requests_in_one_batch_get_what_they_would_get_alone():
    bench = Bench(n_slots=8)
    prompts = {bench.submit(f"prompt number {i} " * (i + 1), 40): f"prompt number {i} " * (i + 1) for i in range(8)}
    bench.run()
    for id, prompt in prompts.items():
        assert bench.channel.texts.get(id, "") == bench.model.expected(prompt, 40)


def test_the_end_of_a_text_is_stop_and_the_limit_is_length():
    bench = Bench(model=FakeModel(one_in_n_ends=0))
    limited = bench.submit("x", 5)
    bench.run()
    assert bench.channel.ends[limited].reason == "length"
    assert bench.channel.ends[limited].usage.completion_tokens == 5
    bench.model.one_in_n_ends = 3
    ended = bench.submit("y", 500)
    bench.run()
    assert bench.channel.ends[ended].reason == "stop"


def test_a_stop_string_ends_the_text_before_it():
    bench = Bench(model=FakeModel(one_in_n_ends=0))
    text = bench.model.expected("hello", 60)
    stop = text[20:24]
    id = bench.submit("hello", 60, stop=(stop,))
    bench.run()
    assert bench.channel.texts[id] == text[: text.index(stop)]
    assert bench.channel.ends[id].reason == "stop"


def test_running_streams_get_a_token_in_every_step_of_a_long_prefill():
    bench = Bench(model=FakeModel(n_ctx=4096, n_batch=64, one_in_n_ends=0))
    stream = bench.submit("short", 1000)
    bench.step()
    bench.submit("long " * 400, 1)
    for _ in range(20):
        before = len(bench.channel.texts[stream])
        bench.step()
        assert len(bench.channel.texts[stream]) == before + 1


def test_more_requests_than_slots_wait_and_are_all_answered():
    bench = Bench(n_slots=2)
    ids = [bench.submit(f"question {i}", 10) for i in range(20)]
    bench.run()
    assert sorted(bench.channel.ends) == ids
    assert bench.cache.n_idle == bench.model.n_used


def test_cancelling_frees_the_slot_and_the_cells_and_ends_in_silence():
    bench = Bench(n_slots=1, model=FakeModel(one_in_n_ends=0))
    gone = bench.submit("long " * 60, 100)
    waiting = bench.submit("other", 5)
    bench.step()
    bench.engine.cancel(gone)
    bench.run()
    assert gone not in bench.channel.ends
    assert bench.channel.ends[waiting].usage.completion_tokens == 5
    assert bench.cache.n_idle == bench.model.n_used


def test_what_a_request_takes_in_is_told_once_when_it_begins():
    bench = Bench(n_slots=1, model=FakeModel(n_ctx=4096, n_batch=64))
    first, second = bench.submit("long " * 100, 10), bench.submit("long " * 100, 10)
    bench.step()
    assert bench.channel.begun == {first: (500, 0)}
    assert not bench.channel.texts
    bench.run()
    assert bench.channel.begun[second] == (500, bench.channel.ends[second].usage.cached_tokens)
    assert bench.channel.begun[second][1] > 400


def test_cancelling_what_waits_or_has_ended_does_no_harm():
    bench = Bench(n_slots=1)
    first, second = bench.submit("one", 3), bench.submit("two", 3)
    bench.engine.cancel(second)
    bench.run()
    bench.engine.cancel(first)
    third = bench.submit("three", 3)
    bench.run()
    assert sorted(bench.channel.ends) == [first, third]


def test_a_step_that_was_cut_short_is_computed_again():
    bench = Bench()
    id = bench.submit("again and again", 20)
    bench.model.abort_next = True
    bench.run()
    assert bench.channel.texts[id] == bench.model.expected("again and again", 20)


def test_streams_that_outgrow_the_cells_are_parked_and_not_failed():
    bench = Bench(n_slots=4, model=FakeModel(n_ctx=256, one_in_n_ends=0))
    prompts = {bench.submit(f"{i}", 200): f"{i}" for i in range(4)}
    bench.run()
    for id, prompt in prompts.items():
        assert bench.channel.texts[id] == bench.model.expected(prompt, 200)
        assert bench.channel.ends[id].usage.completion_tokens == 200


def test_a_sequence_may_fill_all_cells_and_ends_with_length():
    bench = Bench(n_slots=2, model=FakeModel(n_ctx=64, one_in_n_ends=0))
    id = bench.submit("fill", 1000)
    bench.run()
    assert bench.channel.ends[id].reason == "length"
    assert bench.channel.ends[id].usage.prompt_tokens + bench.channel.ends[id].usage.completion_tokens == 64


def test_a_model_that_computes_nonsense_ends_the_request_with_one_error():
    bench = Bench()

    def sample(sampler, row):
        raise Refused(kind="internal", message="NaN")

    bench.model.sample = sample
    id = bench.submit("anything", 10)
    bench.run()
    assert bench.channel.ends[id]["kind"] == "internal"
    assert bench.channel.n_terminal[id] == 1
