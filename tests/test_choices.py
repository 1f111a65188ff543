"""Several choices of one prompt: it is read once, counts once, and each choice is a text of its own."""

import pytest
from engine_bench import Bench

from offgrid.api.wire import total_usage
from offgrid.types import Usage
from offgrid.worker.fake import FakeModel


@pytest.mark.parametrize("prompt", ["Write a poem about", "The harbour opens at six. " * 12], ids=["short", "long"])
@pytest.mark.parametrize("n_slots", [2, 8])
def test_the_prompt_is_computed_once_for_all_choices(prompt, n_slots):
    bench = Bench(n_slots=n_slots, model=FakeModel(n_ctx=4096, one_in_n_ends=0))
    ids = [bench.submit(prompt, 10, seed=seed) for seed in range(8)]
    bench.run()
    texts = [bench.channel.texts[id] for id in ids]
    assert texts == [bench.model.expected(prompt, 10, seed) for seed in range(8)]
    assert len(set(texts)) > 4
    # The last token of the prompt is each choice's own: its logits are what the choice begins with.
    assert bench.model.n_computed == len(prompt) - 1 + 8 * (1 + 9)


def test_the_prompt_is_computed_once_where_the_memory_cannot_be_cut():
    prompt = "The harbour opens at six. " * 12
    bench = Bench(n_slots=8, model=FakeModel(n_ctx=4096, one_in_n_ends=0, is_whole=True))
    ids = [bench.submit(prompt, 10, seed=seed) for seed in range(8)]
    bench.run()
    assert [bench.channel.texts[id] for id in ids] == [bench.model.expected(prompt, 10, seed) for seed in range(8)]
    assert bench.model.n_computed == len(prompt) - 1 + 8 * (1 + 9)


def test_the_first_of_the_choices_may_be_cancelled_while_the_others_wait_for_it():
    for is_whole in (False, True):
        bench = Bench(n_slots=4, model=FakeModel(n_ctx=4096, n_batch=16, one_in_n_ends=0, is_whole=is_whole))
        prompt = "The harbour opens at six. " * 12
        ids = [bench.submit(prompt, 10, seed=seed) for seed in range(3)]
        bench.step()
        bench.cancel(ids[0])
        bench.run()
        assert [bench.channel.texts[id] for id in ids[1:]] == [bench.model.expected(prompt, 10, s) for s in (1, 2)]


def test_a_prompt_counts_once_however_many_choices_it_has():
    usages = [Usage(10, 5, 0), Usage(10, 6, 9), Usage(20, 1, 19), Usage(20, 2, 4)]
    assert total_usage(usages, 2) == Usage(30, 14, 4)
    assert total_usage(usages, 1) == Usage(60, 14, 32)


def test_usage_of_three_choices_has_the_prompt_once(start_server, endless_models):
    server = start_server("--models-dir", str(endless_models))
    one = server.chat("Hello!", max_tokens=4)["usage"]
    three = server.chat("Hello!", max_tokens=4, n=3, temperature=1)["usage"]
    assert three["prompt_tokens"] == one["prompt_tokens"]
    assert three["completion_tokens"] == 12
    assert three["total_tokens"] == three["prompt_tokens"] + 12
