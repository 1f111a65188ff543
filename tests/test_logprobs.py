"""Log probabilities: the model's own, aligned with the text in every format, stream or not."""

import json
import math

import numpy as np
import pytest
import tiny_models
from openai_calls import chat, complete
from running import SIGNS_OF_LIFE
from worker_bench import WorkerBench

from offgrid.types import Sampling
from offgrid.worker.library import L
from offgrid.worker.scores import Score, ScoredText, log_probabilities
from offgrid.worker.text import TextAssembler

PIECES = [b"na", b"\xc3", b"\xafve ", b"", b"\xe6\x97", b"\xa5", b"\xe6\x9c\xac STO", b"P here"]


def released(pieces: list[bytes], stop: tuple[str, ...] = ()) -> list[tuple[str, list]]:
    """What a text of these tokens gives out at each of them, and at its end."""
    text, scored, given = TextAssembler(stop), ScoredText(0), []
    for piece in pieces:
        scored.add(piece, Score(-1.0, ()))
        shown = text.push(piece)
        given.append((shown, scored.release(len(shown))))
        if text.is_stopped:
            break
    shown = text.flush()
    given.append((shown, scored.release(len(shown), is_last=True)))
    return given


@pytest.mark.parametrize("stop", [(), ("STOP!",), ("日本 STOP!", "x")])
def test_at_each_moment_the_tokens_given_out_spell_the_text_given_out(stop):
    text, tokens = "", b""
    for shown, scores in released(PIECES, stop):
        text += shown
        tokens += b"".join(score.piece for score in scores)
        assert text.encode().startswith(tokens)  # a token never comes before its text
    assert tokens == b"".join(PIECES) == text.encode()


def test_a_stop_string_takes_its_tokens_along_but_the_one_it_begins_in():
    given = released(PIECES, ("STOP",))
    assert "".join(shown for shown, _ in given) == "naïve 日本 "
    assert [s.piece for _, scores in given for s in scores] == PIECES[:7]
    given = released([b"a", b" b", b"STOP", b"c"], ("STOP",))
    assert [s.piece for _, scores in given for s in scores] == [b"a", b" b"]


def test_a_token_knows_where_in_the_text_it_begins():
    starts = [s.start for _, scores in released(PIECES) for s in scores]
    assert starts == [0, 2, 2, 6, 6, 6, 7, 12]


def test_bytes_that_are_no_characters_do_not_hold_tokens_back():
    given = released([b"\xff", b"a", b"\xe2\x80", b"b", b"\xe2"])
    assert [s.piece for _, scores in given for s in scores] == [b"\xff", b"a", b"\xe2\x80", b"b", b"\xe2"]


def test_log_probabilities_are_those_of_a_softmax():
    logits = np.array([1.0, 3.0, -np.inf, 2.0], np.float32)
    logprob, top = log_probabilities(logits, 3, 20)
    whole = sum(math.exp(x) for x in (1.0, 3.0, 2.0))
    assert logprob == pytest.approx(2.0 - math.log(whole), abs=1e-5)
    assert [token for token, _ in top] == [1, 3, 0, 2]
    assert sum(math.exp(p) for _, p in top) == pytest.approx(1, abs=1e-5)
    assert log_probabilities(logits, 2, 0) == (-9999.0, [])


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tiny_models.chat_model(tmp_path_factory.mktemp("tiny") / "chat.gguf", byte_bias=0)


def test_they_are_of_the_model_whatever_the_sampling_does(path):
    bench, rows = WorkerBench(path), []
    score = bench.model.score

    def noted(row, token, n_top):
        logits = np.ctypeslib.as_array(L.llama_get_logits_ith(bench.model.ctx, row), (bench.model.n_vocab,))
        rows.append((token, logits.astype(np.float64)))
        return score(row, token, n_top)

    bench.model.score = noted
    sampling = Sampling(temperature=2.0, seed=1, presence_penalty=2.0, logit_bias=(("a", 5.0),))
    id = bench.submit(sampling=sampling, logprobs=2, max_tokens=40)
    bench.run()
    assert len(rows) == len(bench.channel.scores(id)) == 40
    for (token, logits), given in zip(rows, bench.channel.scores(id), strict=True):
        expected = logits - np.log(np.exp(logits).sum())
        assert given.logprob == pytest.approx(expected[token], abs=1e-3)
        assert [p for _, p in given.top] == pytest.approx(sorted(expected)[:-3:-1], abs=1e-3)


def test_drafted_tokens_have_the_scores_of_their_own_rows(path):
    grammar = 'root ::= ("the ferry leaves at " [0-9] ". "){10}'
    bench, plain = WorkerBench(path), WorkerBench(path, speculation="off")
    bench.engine.scheduler.speculation.lengths = lambda chances, most, room: [min(m, 8, room) for m in most]
    found = []
    for one in (bench, plain):
        id = one.submit(grammar=grammar, logprobs=1, max_tokens=300)
        one.run()
        found.append(one.channel.scores(id))
    assert bench.channel.ends[1].drafted.n_accepted > 50
    assert [s.piece for s in found[0]] == [s.piece for s in found[1]]
    assert [s.logprob for s in found[0]] == pytest.approx([s.logprob for s in found[1]], abs=0.05)


# --- over HTTP ---


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    from running import RunningServer

    folder = tmp_path_factory.mktemp("served")
    tiny_models.chat_model(folder / "tiny.gguf", byte_bias=0)
    running = RunningServer(folder / "data", "--models-dir", str(folder), *SIGNS_OF_LIFE)
    yield running
    assert running.stop() == 0


def events(server, path: str, body: dict) -> list[dict]:
    _, _, text = server.request(path, {**body, "stream": True})
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]


CHAT_BODY = {
    "messages": [{"role": "user", "content": "hi"}],
    "max_tokens": 30,
    "temperature": 1,
    "seed": 3,
    "logprobs": True,
}


def test_a_chat_carries_them_whole_and_streamed_alike(here):
    body = {**CHAT_BODY, "top_logprobs": 2, "stop": ["zq"]}
    answer = here.request("/v1/chat/completions", body)[2]
    entries = answer["choices"][0]["logprobs"]["content"]
    text = answer["choices"][0]["message"]["content"]
    assert bytes(b for e in entries for b in e["bytes"]).decode("utf-8", "replace") == text
    assert all(len(e["top_logprobs"]) == 2 and e["logprob"] <= 0 for e in entries)
    choices = [e["choices"][0] for e in events(here, "/v1/chat/completions", body)]
    streamed = [entry for c in choices for entry in (c.get("logprobs") or {"content": []})["content"]]
    assert [e["bytes"] for e in streamed] == [e["bytes"] for e in entries]
    spelled = b""
    for choice in choices:
        spelled += bytes(b for e in (choice.get("logprobs") or {"content": []})["content"] for b in e["bytes"])
    assert spelled.decode("utf-8", "replace") == "".join(c["delta"].get("content", "") for c in choices)


def test_a_completion_carries_them_in_the_older_format(here):
    body = {"prompt": "hello", "max_tokens": 20, "temperature": 1, "seed": 5, "logprobs": 3}
    choice = here.request("/v1/completions", body)[2]["choices"][0]
    logprobs = choice["logprobs"]
    assert len(logprobs["tokens"]) == len(logprobs["token_logprobs"]) == len(logprobs["text_offset"]) == 20
    for token, logprob, top, offset in zip(*(logprobs[k] for k in logprobs), strict=True):
        assert top[token] == logprob
        assert 3 <= len(top) <= 4
        if not token.startswith("bytes:"):
            assert choice["text"][offset:].startswith(token)
    streamed = [e["choices"][0] for e in events(here, "/v1/completions", body)]
    assert [t for c in streamed for t in (c["logprobs"] or {"tokens": []})["tokens"]] == logprobs["tokens"]
    assert [o for c in streamed for o in (c["logprobs"] or {"text_offset": []})["text_offset"]] == logprobs[
        "text_offset"
    ]


def test_without_being_asked_for_there_are_none(here):
    body = {**CHAT_BODY, "logprobs": False}
    assert here.request("/v1/chat/completions", body)[2]["choices"][0]["logprobs"] is None
    assert not any("logprobs" in e["choices"][0] for e in events(here, "/v1/chat/completions", body))


@pytest.mark.parametrize("n", [1, 2])
def test_an_echo_is_the_prompt_before_the_text(here, n):
    body = {"prompt": ["once", "twice"], "max_tokens": 5, "temperature": 0, "n": n}
    plain = [c["text"] for c in here.request("/v1/completions", body)[2]["choices"]]
    echoed = [c["text"] for c in here.request("/v1/completions", {**body, "echo": True})[2]["choices"]]
    prompts = ["once"] * n + ["twice"] * n
    assert echoed == [prompt + text for prompt, text in zip(prompts, plain, strict=True)]
    texts = [""] * 2 * n
    for event in events(here, "/v1/completions", {**body, "echo": True}):
        texts[event["choices"][0]["index"]] += event["choices"][0]["text"]
    assert texts == echoed


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "top_logprobs": 1}, "top_logprobs"),
        ("/v1/completions", {"prompt": "x", "echo": True, "logprobs": 1}, "echo"),
        ("/v1/completions", {"prompt": "x", "logit_bias": {"100000": 1}}, "logit_bias"),
        ("/v1/completions", {"prompt": "x", "logit_bias": [[i, False] for i in range(278)]}, "logit_bias"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(here, path, fields, param):
    status, _, answer = here.request(path, fields)
    assert status == 400
    assert answer["error"]["param"] == param


def test_a_time_limit_ends_a_text_that_would_go_on(here):
    body = {"prompt": "x", "t_max_predict_ms": 30, "ignore_eos": True}
    answer = here.request("/v1/completions", body)[2]
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["total_tokens"] < 4096
    assert answer["timings"]["predicted_ms"] >= 30


@pytest.mark.model
def test_the_openai_package_reads_both_formats(sdk):
    answer = chat(sdk, logprobs=True, top_logprobs=3)
    assert "".join(e.token for e in answer.choices[0].logprobs.content) == answer.choices[0].message.content
    assert all(e.token == e.top_logprobs[0].token for e in answer.choices[0].logprobs.content)  # it is greedy
    older = complete(sdk, logprobs=2).choices[0]
    assert "".join(older.logprobs.tokens) == older.text
    chunks = [c.choices[0] for c in chat(sdk, logprobs=True, stream=True)]
    tokens = "".join(e.token for c in chunks if c.logprobs for e in c.logprobs.content)
    assert tokens == "".join(c.delta.content or "" for c in chunks)
