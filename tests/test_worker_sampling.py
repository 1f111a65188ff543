"""Each sampler does what its field says, on a real tiny model."""

from dataclasses import replace

import pytest
import tiny_models
from worker_bench import WorkerBench

from offgrid.types import Sampling

DRAWN = Sampling(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=1)
GREEDY = Sampling(temperature=0)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return WorkerBench(tiny_models.chat_model(tmp_path_factory.mktemp("tiny") / "chat.gguf"), speculation="off")


def text(bench, sampling: Sampling, **changes) -> str:
    return bench.text(sampling=replace(sampling, **changes), max_tokens=120)


@pytest.mark.parametrize(
    "changes",
    [
        {"typical_p": 1e-6},
        {"top_n_sigma": 1e-6},
        {"top_k": 1},
        {"top_p": 0.0},
        {"min_p": 1.0},
        {"temperature": 1e-6},
        {"mirostat": 1, "mirostat_tau": 0.0, "mirostat_eta": 1.0},
        {"mirostat": 2, "mirostat_tau": 0.0, "mirostat_eta": 1.0},
    ],
    ids=str,
)
def test_a_limit_at_its_narrowest_leaves_the_dice_no_choice(bench, changes):
    assert text(bench, DRAWN, **changes) == text(bench, DRAWN, **changes, seed=2)
    assert text(bench, DRAWN) != text(bench, DRAWN, seed=2)


def test_a_dynamic_temperature_follows_the_entropy(bench):
    hot = text(bench, DRAWN, temperature=1.5)
    varied = text(bench, DRAWN, temperature=1.5, dynatemp_range=1.5, dynatemp_exponent=10.0)  # next to nothing left
    assert varied != hot
    assert len(set(varied)) < len(set(hot))


def test_xtc_leaves_out_the_likeliest(bench):
    likely = Sampling(temperature=0.05, top_k=2, top_p=1.0, min_p=0.0, seed=1)
    plain = text(bench, likely)
    without = text(bench, likely, xtc_probability=1.0, xtc_threshold=1e-6, samplers=("top_k", "xtc", "temperature"))
    assert without != plain
    assert text(bench, likely, xtc_threshold=1e-6) == plain


def test_dry_breaks_a_repetition_and_a_breaker_protects_it(bench):
    loop = text(bench, GREEDY, logit_bias=(("a", 100.0),))
    assert loop == "a" * 120
    dry = {"dry_multiplier": 50.0, "logit_bias": (("a", 100.0),)}
    assert text(bench, GREEDY, **dry) != loop
    assert text(bench, GREEDY, **dry, dry_sequence_breakers=("a",)) == loop
    assert text(bench, GREEDY, **dry, dry_penalty_last_n=0) == loop


def test_repeat_last_n_says_how_far_back_is_looked(bench):
    plain = text(bench, GREEDY)
    assert text(bench, GREEDY, repeat_penalty=3.0, repeat_last_n=0) == plain
    assert text(bench, GREEDY, repeat_penalty=3.0, repeat_last_n=-1) != plain
    everything = text(bench, GREEDY, repeat_penalty=3.0, repeat_last_n=2**31 - 1)
    assert everything == text(bench, GREEDY, repeat_penalty=3.0, repeat_last_n=-1)


def test_a_bias_of_a_text_or_a_token_forbids_or_forces_it(bench):
    [letter] = bench.model.tokenize("q", add_special=False, parse_special=False)
    assert text(bench, GREEDY, logit_bias=((letter, 100.0),)) == "q" * 120
    assert text(bench, GREEDY, logit_bias=(("q", 100.0),)) == "q" * 120
    assert "q" not in text(bench, DRAWN, logit_bias=(("q", None), ("q", 100.0)))


def test_the_order_of_samplers_is_the_one_asked_for(bench):
    usual = text(bench, DRAWN, top_k=1)
    assert text(bench, DRAWN, top_k=1, samplers=("temperature",)) == text(bench, DRAWN)
    assert text(bench, DRAWN, top_k=1, samplers=("top_k",)) == usual
    assert text(bench, GREEDY, repeat_penalty=5.0, samplers=()) == text(bench, GREEDY)


def test_all_at_once_is_a_text_too(bench):
    everything = Sampling(
        temperature=1.2, typical_p=0.9, top_n_sigma=2.0, xtc_probability=0.5, dynatemp_range=0.5, repeat_penalty=1.2,
        presence_penalty=0.5, frequency_penalty=0.5, dry_multiplier=0.8, logit_bias=((" the", None),), seed=4,
    )  # fmt: skip
    for mirostat in (0, 1, 2):
        assert len(text(bench, everything, mirostat=mirostat)) >= 100


def test_numbers_that_are_none_end_the_request_whenever_they_come(tmp_path):
    path = tiny_models.chat_model(tmp_path / "chat.gguf")
    bench = WorkerBench(path)
    sample, n_sampled = bench.model.sample, 0
    import numpy as np

    from offgrid.worker.library import L

    def damaged(sampler, row):
        nonlocal n_sampled
        n_sampled += 1
        if n_sampled == 5:
            np.ctypeslib.as_array(L.llama_get_logits_ith(bench.model.ctx, row), (bench.model.n_vocab,))[7] = np.nan
        return sample(sampler, row)

    bench.model.sample = damaged
    id = bench.submit(sampling=DRAWN)
    bench.run()
    assert bench.channel.ends[id]["kind"] == "internal"
    assert "NaN" in bench.channel.ends[id]["message"]
    assert n_sampled == 5
