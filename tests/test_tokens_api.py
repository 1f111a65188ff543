"""/tokenize, /detokenize, /apply-template, /props, /slots: what llama-server's clients ask beside generating."""

import json

import pytest
import tiny_models
from engine_bench import Bench
from faults import ENDLESS, Stream
from running import EMBEDDING, wait_until

from offgrid.worker.fake import EOS, FakeModel
from offgrid.worker.refused import Refused
from offgrid.worker.tokens import pieces_of, text_of

TEXTS = (
    "",
    "Hello world!",
    "  two  spaces\tand\r\nlines\n\n",
    "naïve café, Größe, Ωmega, я люблю",
    "日本語の文章 中文文本 한국어",
    "🐟🐟 👩‍👩‍👧 e\u0301 \u200b",
    "def f(x: int) -> int:\n    return x**2  # comment\n",
    '{"a": [1, 2.5e-3, null], "b": "\\u0000"}',
    "before\0after\0",
    "<|im_start|>user\nhi<|im_end|>\n<tool_call>",
    "aé" * 2000,
)
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi <|im_end|> 🐟"}]


def ask(server, path: str, **body):
    status, _, answer = server.request(path, body)
    assert status == 200, answer
    return answer


def check_round_trip(server) -> None:
    for text in TEXTS:
        for parse_special in (False, True):
            tokens = ask(server, "/tokenize", content=text, parse_special=parse_special)["tokens"]
            assert ask(server, "/detokenize", tokens=tokens) == {"content": text}


def raw(piece: str | list[int]) -> bytes:
    return piece.encode() if isinstance(piece, str) else bytes(piece)


# --- tokens ---


def test_texts_come_back_from_their_tokens_unchanged(tiny_server):
    check_round_trip(tiny_server)


@pytest.mark.model
def test_texts_come_back_from_the_tokens_of_a_starter_model(server):
    check_round_trip(server)


def test_pieces_are_text_and_parts_of_characters_are_bytes(tiny_server):
    tokens = ask(tiny_server, "/tokenize", content="hello é🐟<|im_end|>", with_pieces=True)["tokens"]
    assert b"".join(raw(token["piece"]) for token in tokens) == "hello é🐟<|im_end|>".encode()
    assert [token["piece"] for token in tokens[:4]] == ["hello", " ", [0xC3], [0xA9]]
    assert tokens[-1]["piece"] == "<|im_end|>"
    plain = ask(tiny_server, "/tokenize", content="hello é🐟<|im_end|>")["tokens"]
    assert [token["id"] for token in tokens] == plain


def test_control_tokens_are_text_when_they_are_not_to_be_parsed(tiny_server):
    assert len(ask(tiny_server, "/tokenize", content="<|im_end|>")["tokens"]) == 1
    assert len(ask(tiny_server, "/tokenize", content="<|im_end|>", parse_special=False)["tokens"]) == 10


def test_bytes_that_are_no_character_come_back_as_the_replacement(tiny_server):
    assert ask(tiny_server, "/detokenize", tokens=[0x61, 0xF0, 0x9F, 0x62]) == {"content": "a\ufffdb"}


@pytest.mark.model
def test_an_embedding_model_counts_as_its_embeddings_do(server):
    for text in ("Two cafés, naïve", "hello " * 40):
        tokens = ask(server, "/tokenize", model=EMBEDDING, content=text, add_special=True)["tokens"]
        usage = ask(server, "/v1/embeddings", model=EMBEDDING, input=text)["usage"]
        assert len(tokens) == usage["prompt_tokens"]
        assert len(ask(server, "/tokenize", model=EMBEDDING, content=text)["tokens"]) == len(tokens) - 2


REFUSALS = [
    ("/tokenize", {}, 400, "content", "a string"),
    ("/tokenize", {"content": ["a"]}, 400, "content", "a list"),
    ("/tokenize", {"content": "ab\ud800"}, 400, "content", "surrogate"),
    ("/tokenize", {"content": "é" * 500_001}, 413, "content", "1000002"),
    ("/tokenize", {"content": "a", "with_piece": True}, 400, "with_piece", "with_pieces"),
    ("/tokenize", {"content": "a", "model": "nothing"}, 404, None, "nothing"),
    ("/detokenize", {}, 400, "tokens", "a list of token ids"),
    ("/detokenize", {"tokens": [1, True]}, 400, "tokens", "a list of token ids"),
    ("/detokenize", {"tokens": [1, 2.0]}, 400, "tokens", "a list of token ids"),
    ("/detokenize", {"tokens": [1, -1]}, 400, "tokens[1]", "is -1; this model's tokens are 0 to"),
    ("/detokenize", {"tokens": [10**30]}, 400, "tokens[0]", "this model's tokens are 0 to"),
    ("/detokenize", {"tokens": [1] * 262_145}, 413, "tokens", "262145"),
    ("/apply-template", {}, 400, "messages", "at least one message"),
    ("/apply-template", {"messages": [{"role": "user", "content": "\udc00"}]}, 400, "messages[0].content", "surr"),
    ("/apply-template", {"messages": [{"role": "user", "content": "a" * 1_000_001}]}, 413, "messages", "1000001"),
    ("/props?model=nothing", None, 404, None, "nothing"),
    ("/slots?modell=tiny", None, 400, "modell", "model"),
]


def test_what_cannot_be_done_is_refused_by_name(tiny_server):
    for path, body, status, param, words in REFUSALS:
        got, _, answer = tiny_server.request(path, body)
        assert (got, answer["error"]["param"]) == (status, param), answer
        assert words in answer["error"]["message"]
        assert len(answer["error"]["message"]) < 300


def test_a_model_without_a_template_of_conversations_is_refused(start_server, tmp_path):
    tiny_models.embedding_model(tmp_path / "vectors.gguf")
    server = start_server("--models-dir", str(tmp_path))
    status, _, answer = server.request("/apply-template", {"model": "vectors", "messages": MESSAGES})
    assert status == 400 and "embedding model" in answer["error"]["message"]
    status, _, answer = server.request("/props?model=vectors")
    assert status == 400 and "embedding model" in answer["error"]["message"]
    tokens = ask(server, "/tokenize", model="vectors", content="hello world")["tokens"]
    assert ask(server, "/detokenize", model="vectors", tokens=tokens)["content"].strip() == "hello world"
    assert server.request("/slots")[2] == []  # it is loaded, and has none


def test_the_fake_model_answers_as_a_real_one_does():
    model = FakeModel()
    tokens = model.tokenize("Hé", add_special=False, parse_special=True)
    assert text_of(model, [*tokens, EOS]) == "Hé<eos>"
    assert pieces_of(model, [EOS, *tokens, EOS]) == {EOS: b"<eos>", 0x48: b"H", 0xC3: b"\xc3", 0xA9: b"\xa9"}
    for wrong in (-1, model.n_vocab):
        with pytest.raises(Refused) as refusal:
            text_of(model, [0x48, wrong])
        assert refusal.value.error["param"] == "tokens[1]"


# --- prompts ---


def test_a_rendered_prompt_has_the_texts_as_they_were_sent(tiny_server):
    prompt = ask(tiny_server, "/apply-template", messages=MESSAGES)["prompt"]
    assert prompt == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi <|im_end|> 🐟<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_rendered_prompt_has_as_many_tokens_as_the_chat_computes(tiny_server):
    messages = [{"role": "user", "content": "hello world"}]
    prompt = ask(tiny_server, "/apply-template", messages=messages)["prompt"]
    tokens = ask(tiny_server, "/tokenize", content=prompt, add_special=True)["tokens"]
    usage = ask(tiny_server, "/v1/chat/completions", messages=messages, max_tokens=1)["usage"]
    assert len(tokens) == usage["prompt_tokens"]


def test_a_models_own_system_prompt_is_rendered_where_a_chat_has_it(start_server, endless_models, tmp_path):
    (tmp_path / "offgrid.yaml").write_text("models:\n  tiny:\n    system_prompt: Say yes.\n    max_tokens: 7\n")
    server = start_server("--config", str(tmp_path / "offgrid.yaml"), "--models-dir", str(endless_models))
    for messages, is_added in ((MESSAGES[1:], True), (MESSAGES, False)):
        prompt = ask(server, "/apply-template", messages=messages)["prompt"]
        assert ("Say yes." in prompt) is is_added
    assert server.request("/props")[2]["default_generation_settings"]["params"]["n_predict"] == 7


# --- while others generate ---


def test_tokens_do_not_wait_for_a_text_that_is_being_generated(tiny_server):
    stream = Stream(tiny_server.port, **ENDLESS)
    tokens = ask(tiny_server, "/tokenize", content="hello world")["tokens"]
    assert ask(tiny_server, "/detokenize", tokens=tokens) == {"content": "hello world"}
    assert ask(tiny_server, "/apply-template", messages=MESSAGES)["prompt"]
    wait_until(lambda: tiny_server.request("/slots")[2][0]["is_processing"])  # and so it still does
    stream.hang_up()


def test_slots_show_what_runs_and_nothing_of_its_text(tiny_server):
    idle = tiny_server.request("/slots")[2]
    assert [(slot["id"], slot["model"], slot["is_processing"], slot["id_task"]) for slot in idle] == [
        (0, "tiny", False, -1)
    ]
    stream = Stream(tiny_server.port, "Tell nobody of the treasure", **ENDLESS)
    slot = wait_until(lambda: next((s for s in tiny_server.request("/slots")[2] if s["is_processing"]), None))
    later = wait_until(
        lambda: next(
            (s for s in tiny_server.request("/slots")[2] if decoded(s) > decoded(slot)),
            None,
        )
    )
    assert later["id_task"] == slot["id_task"] > 0
    assert later["n_prompt_tokens"] == later["n_prompt_tokens_processed"] > len("Tell nobody of the treasure")
    n_most = min(ENDLESS["max_tokens"], later["n_ctx"] - later["n_prompt_tokens"])
    assert decoded(later) + later["next_token"][0]["n_remain"] == n_most
    assert "treasure" not in json.dumps(later)
    stream.hang_up()
    wait_until(lambda: not tiny_server.request("/slots")[2][0]["is_processing"])


def decoded(slot: dict) -> int:
    return slot["next_token"][0]["n_decoded"] if slot["is_processing"] else -1


def test_the_figures_name_every_sequence_that_runs():
    bench = Bench(n_slots=2)
    ids = [bench.submit(f"{i} Hello", max_tokens=50) for i in range(3)]
    for _ in range(5):
        bench.step()
    told = bench.scheduler.figures()["slots"]
    assert sorted(id for _, id, *_ in told) == ids[:2]
    assert sorted(slot for slot, *_ in told) == [0, 1]
    for _, _, n_prompt, _, n_computed, n_generated, n_remain in told:
        assert n_prompt == len("0 Hello")
        assert n_computed == n_prompt + n_generated - 1
        assert n_generated + n_remain == 50
    bench.run()
    assert bench.scheduler.figures()["slots"] == []


# --- a model that is not loaded ---


def test_asking_for_tokens_loads_the_model_and_asking_what_it_is_does_not(start_server, endless_models):
    flags = ("--models-dir", str(endless_models), "--parallel", "3", "--ctx-size", "512")
    server = start_server(*flags, env={"OFFGRID_PREWARM_MODELS": "false"})
    props = server.request("/props")[2]
    assert props["is_sleeping"] is True
    assert props["default_generation_settings"]["n_ctx"] == 512
    assert (props["chat_template"], props["bos_token"]) == (None, None)
    assert server.request("/slots")[2] == []
    assert server.children() == []
    ask(server, "/tokenize", content="hello")
    props = server.request("/props?model=tiny")[2]
    assert props["is_sleeping"] is False
    assert (props["model_alias"], props["model_path"]) == ("tiny", "tiny.gguf")
    assert props["chat_template"] == tiny_models.CHATML
    assert props["eos_token"] == "<|im_end|>"
    assert props["default_generation_settings"]["n_ctx"] == 512
    assert props["total_slots"] == len(server.request("/slots?model=tiny")[2]) == 3
    assert str(endless_models) not in json.dumps(props)


def test_the_model_leaves_after_its_tokens_were_asked_for_when_that_is_wished(tiny_server):
    ask(tiny_server, "/tokenize", content="hello", keep_alive=0)
    wait_until(lambda: tiny_server.request("/props")[2]["is_sleeping"])
    assert tiny_server.request("/v1/models")[2]["data"][0]["state"] == "not-loaded"
