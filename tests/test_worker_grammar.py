"""Texts that follow a grammar, on real tiny models: valid, in a batch like alone, and never the process's end."""

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_models
from grammar_walk import GRAMMARS
from worker_bench import WorkerBench

from offgrid.types import Sampling

WALK = Path(__file__).with_name("grammar_walk.py")
JSON, DIGITS, UNICODE = GRAMMARS["json"], GRAMMARS["digits"], GRAMMARS["unicode"]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tiny_models.chat_model(tmp_path_factory.mktemp("tiny") / "chat.gguf", eos_bias=2.0, byte_bias=0)


@pytest.fixture
def bench(path):
    return WorkerBench(path)


def drawn(seed: int) -> Sampling:
    return Sampling(temperature=1.0, seed=seed, top_k=0, top_p=1.0, min_p=0.0)


def test_greedy_text_follows_the_grammar_and_ends_where_it_is_complete(bench):
    id = bench.submit(grammar='root ::= "yes" | "no"')
    bench.run()
    assert bench.channel.texts[id] in ("yes", "no")
    assert bench.channel.ends[id].reason == "stop"


@pytest.mark.parametrize("seed", range(5))
def test_drawn_text_is_json_whenever_it_was_not_cut(bench, seed):
    id = bench.submit(grammar=JSON, sampling=drawn(seed), max_tokens=500)
    bench.run()
    if bench.channel.ends[id].reason == "stop":
        json.loads(bench.channel.texts[id], strict=False)
    assert bench.channel.texts[id].startswith("{")


def test_characters_of_many_bytes_are_whole_and_of_their_class(bench):
    for seed in range(5):
        assert re.fullmatch("[α-ωà-ÿ日月]{3,8}!", bench.text(grammar=UNICODE, sampling=drawn(seed)))


def test_a_token_that_prints_nothing_is_never_taken_for_its_name(tmp_path):
    path = tiny_models.scripted_model(tmp_path / "s.gguf", ["<", "|", "im_start"])
    assert WorkerBench(path).text(grammar='root ::= "<|im_start|>"') == "<|im_start|>"


def test_the_end_comes_also_where_ignore_eos_speaks_against_it(bench):
    assert re.fullmatch("[0-9]{4}", bench.text(grammar=DIGITS, sampling=Sampling(temperature=0, ignore_eos=True)))


def test_a_grammar_that_the_biases_leave_no_token_ends_that_request_only(bench):
    others = bench.submit(max_tokens=30)
    sampling = Sampling(temperature=0, logit_bias=(("a", None),))
    id = bench.submit(grammar='root ::= "a" "b"', sampling=sampling)
    bench.run()
    assert bench.channel.ends[id] == {
        "kind": "bad_request",
        "message": "The grammar allows nothing more that this model's tokens, without those of logit_bias, can say.",
        "param": "grammar",
    }
    assert bench.channel.ends[others].usage.completion_tokens > 0


@pytest.mark.parametrize(
    "grammar",
    [
        'root ::= "a',
        'rot ::= "a"',
        "root ::= nobody",
        'root ::= root "a"',
        "root ::= [a-z]{0,99999999999999999999}",
        "",
        "# only a comment",
        'root ::= "\0"',
        "root ::= " + "(" * 30_000 + '"a"' + ")" * 30_000,
        "root ::= " + "(" * 1000 + '"a"' + ")" * 1000,
        'root ::= "' + "a" * 300_000 + '"',
        "root ::= \ud800",
    ],
    ids=lambda g: g[:24].encode("ascii", "replace").decode(),
)
def test_a_grammar_that_cannot_be_used_is_refused_by_name(bench, grammar):
    error = bench.refusal(grammar=grammar or " ")
    assert error["kind"] == "bad_request"
    assert error["param"] == "grammar"


@pytest.mark.parametrize("begin", ["", '"ab" '])
def test_a_grammar_that_takes_seconds_for_each_token_ends_at_its_first(bench, begin):
    id = bench.submit(grammar=f"root ::= {begin}((([a-z]?){{0,9}}){{0,9}}){{0,9}}")
    bench.run()
    assert "too ambiguous" in bench.channel.ends[id]["message"]


def test_parentheses_in_texts_and_classes_are_not_depth(bench):
    grammar = 'root ::= "' + "(" * 300 + '" [(]{3} # ' + "(" * 300
    assert bench.text(grammar=grammar, max_tokens=400) == "(" * 303


def test_each_in_a_batch_is_as_it_is_alone(path, bench):
    draw = random.Random(5)
    wishes = []
    for i in range(16):
        grammar = draw.choice([*GRAMMARS.values(), "", ""])
        sampling = Sampling(temperature=draw.choice([0.0, 0.8, 1.5]), seed=i)
        wishes.append({"prompt": f"{i} in a row", "grammar": grammar, "sampling": sampling,
                       "logprobs": draw.choice([None, 0, 3])})  # fmt: skip
    alone = WorkerBench(path)
    ids = [bench.submit(**wish) for wish in wishes]
    bench.run()
    for id, wish in zip(ids, wishes, strict=True):
        assert bench.channel.texts.get(id, "") == alone.text(**wish)
        if wish["logprobs"] is not None:
            assert [s.piece for s in bench.channel.scores(id)] == [s.piece for s in alone.channel.scores(id)]


def test_drafts_go_through_the_grammar_like_other_tokens(path):
    grammar = 'root ::= ("the ferry leaves at " [0-9] ". "){20}'
    bench, plain = WorkerBench(path), WorkerBench(path, speculation="off")
    bench.engine.scheduler.speculation.lengths = lambda chances, most, room: [min(m, 8, room) for m in most]
    id = bench.submit(grammar=grammar, max_tokens=500)
    bench.run()
    assert bench.channel.texts[id] == plain.text(grammar=grammar, max_tokens=500)
    assert bench.channel.ends[id].drafted.n_accepted > 100


def walk(path: Path, n_steps: int) -> None:
    """Whatever kills a process kills this one's child only, and fails the test."""
    done = subprocess.run([sys.executable, WALK, path, str(n_steps)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[0]) >= n_steps


def test_hundreds_of_random_steps_do_not_end_the_process(path):
    walk(path, 600)


@pytest.mark.full
def test_twenty_thousand_random_steps_do_not_end_the_process(path):
    walk(path, 20_000)


@pytest.mark.parametrize(
    "grammar",
    [
        'root ::= "a" root? root? root?',
        'root ::= x+\nx ::= "a" x? | "a" y\ny ::= x y?',
        'root ::= e\ne ::= "a" | "a" e "b"? | "a" e e',
    ],
)
def test_a_recursion_that_leaves_ever_more_ways_open_ends_its_own_request_only(bench, grammar):
    other = bench.submit(max_tokens=60)
    only_a = Sampling(temperature=0, logit_bias=(("a", 100.0),))
    id = bench.submit(grammar=grammar, sampling=only_a, max_tokens=300)
    bench.run()
    assert bench.channel.ends[id]["param"] == "grammar"
    assert "ambiguous" in bench.channel.ends[id]["message"]
    assert bench.channel.ends[other].usage.completion_tokens > 0
