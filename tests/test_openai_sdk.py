"""The openai package against a real server with the starter models: chats, streams, texts, embeddings, models.

What is refused is in `test_openai_sdk_refusals.py`, the HTTP around it in `test_openai_sdk_http.py`.
"""

import math
import threading

import pytest
from openai_calls import COUNT, chat, client_of, complete
from running import CHAT, EMBEDDING, STARTERS

pytestmark = pytest.mark.model


# --- chats ---


def test_a_chat_answers_with_text_and_usage(sdk):
    answer = chat(sdk, max_tokens=60)
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content.strip()
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert 0 <= answer.usage.prompt_tokens_details.cached_tokens < answer.usage.prompt_tokens


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_answer_ends_at_its_longest(sdk, name):
    answer = chat(sdk, **{"max_tokens": None, name: 5})
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 5


def test_text_parts_are_the_same_as_one_text(sdk):
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo!"}]
    assert chat(sdk, parts).usage.prompt_tokens == chat(sdk, "Hello!").usage.prompt_tokens


def test_developer_is_another_word_for_system(sdk):
    def n_prompt(role: str) -> int:
        messages = [{"role": role, "content": "Be brief."}, {"role": "user", "content": "Hello!"}]
        answer = sdk.chat.completions.create(model=CHAT, messages=messages, max_tokens=1)
        return answer.usage.prompt_tokens

    assert n_prompt("developer") == n_prompt("system")


def test_what_clients_send_without_meaning_is_accepted(sdk):
    fields = {"user": "me", "metadata": {"a": "b"}, "store": False, "service_tier": "auto", "prompt_cache_key": "k"}
    assert chat(sdk, **fields, response_format={"type": "text"}, tools=[], logit_bias={}).choices


def test_two_choices_are_two_texts_of_one_answer(sdk):
    answer = chat(sdk, n=2, temperature=1, seed=1, max_tokens=16)
    assert [choice.index for choice in answer.choices] == [0, 1]
    first, second = (choice.message.content for choice in answer.choices)
    assert first != second
    assert answer.usage.completion_tokens > 16


def test_the_same_seed_gives_the_same_text_and_another_seed_another(start_server):
    # A server of its own: what other requests left in the cache may change the last digits.
    client = client_of(start_server(*STARTERS))

    def text(seed: int) -> str:
        return chat(client, seed=seed, temperature=1, max_tokens=24).choices[0].message.content

    first = text(7)
    assert text(7) == first
    assert text(8) != first


# --- streams ---


def test_a_stream_says_the_role_once_and_ends_with_reason_and_usage(sdk):
    chunks = list(chat(sdk, stream=True, stream_options={"include_usage": True}))
    *rest, last = chunks
    assert last.choices == []
    assert last.usage.completion_tokens == 12
    assert all(chunk.usage is None for chunk in rest)
    assert [chunk.choices[0].delta.role for chunk in rest] == ["assistant"] + [None] * (len(rest) - 1)
    assert [chunk.choices[0].finish_reason for chunk in rest] == [None] * (len(rest) - 1) + ["length"]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in rest).strip()
    assert len({chunk.id for chunk in chunks}) == 1
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}


def test_a_stream_on_the_wire_ends_with_done_and_has_usage_only_when_asked(server):
    body = {"messages": [{"role": "user", "content": "Hello!"}], "stream": True, "max_tokens": 3}
    status, headers, text = server.request("/v1/chat/completions", body)
    assert status == 200
    assert headers.get_content_type() == "text/event-stream"
    assert text.endswith("\n\ndata: [DONE]\n\n")
    assert '"usage"' not in text
    assert text.count('"role":"assistant"') == 1


def test_a_streamed_text_is_the_whole_text(sdk):
    pieces = [chunk.choices[0].text for chunk in complete(sdk, stream=True)]
    assert len(pieces) > 3  # it came bit by bit
    assert "".join(pieces) == complete(sdk).choices[0].text


def test_the_choices_of_a_stream_can_be_told_apart(sdk):
    texts, reasons = {0: "", 1: ""}, {}
    for chunk in chat(sdk, stream=True, n=2, temperature=1, seed=1):
        choice = chunk.choices[0]
        texts[choice.index] += choice.delta.content or ""
        if choice.finish_reason:
            reasons[choice.index] = choice.finish_reason
    assert texts[0] != texts[1]
    assert set(reasons) == {0, 1}


def test_sixteen_streams_at_once_each_come_to_their_own_end(server):
    n_tokens, ends, texts = 24, {}, {}

    def ask(i: int) -> None:
        with client_of(server) as client:
            chunks = list(chat(client, f"Tell me about the number {i}.", max_tokens=n_tokens, stream=True,
                               stream_options={"include_usage": True}, extra_body={"ignore_eos": True}))  # fmt: skip
        texts[i] = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        ends[i] = (chunks[-2].choices[0].finish_reason, chunks[-1].usage.completion_tokens)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends == dict.fromkeys(range(16), ("length", n_tokens))
    assert all(text.strip() for text in texts.values())
    assert len(set(texts.values())) > 8  # nobody got another's text; a small model may say the same about two numbers


# --- where a text stops ---


@pytest.mark.parametrize("stop", [", 9", ["zebra", ", 9"], [f"no {i}" for i in range(15)] + [", 9"]])
@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_string_ends_the_text_and_is_never_shown(sdk, stop, stream):
    answer = complete(sdk, stop=stop, stream=stream)
    chunks = list(answer) if stream else [answer]
    assert "".join(chunk.choices[0].text for chunk in chunks) == " 7, 8"
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_what_only_began_like_a_stop_string_is_shown_at_the_end(sdk):
    assert complete(sdk, max_tokens=5, stop=" 7, 8 or").choices[0].text == " 7, 8"


# --- texts ---


def test_a_list_of_prompts_gives_a_choice_for_each_in_order(sdk):
    answer = complete(sdk, [COUNT, "A, B, C, D, E, F,"], max_tokens=4)
    assert [choice.index for choice in answer.choices] == [0, 1]
    numbers, letters = (choice.text for choice in answer.choices)
    assert numbers.startswith(" 7")
    assert letters.startswith(" G")


# --- embeddings ---


def test_the_default_base64_is_the_same_vector_as_floats(sdk, server):
    [by_sdk] = sdk.embeddings.create(model=EMBEDDING, input="Hello world").data
    body = {"model": EMBEDDING, "input": "Hello world", "encoding_format": "float"}
    _, _, answer = server.request("/v1/embeddings", body)
    assert by_sdk.embedding == pytest.approx(answer["data"][0]["embedding"], abs=1e-6)
    assert len(by_sdk.embedding) == 384
    assert math.hypot(*by_sdk.embedding) == pytest.approx(1, abs=1e-4)


def test_many_texts_keep_their_order(sdk):
    texts = [f"text number {i}" for i in range(70)]  # more than one call of the engine takes
    vectors = [row.embedding for row in sdk.embeddings.create(model=EMBEDDING, input=texts).data]
    [alone] = sdk.embeddings.create(model=EMBEDDING, input=texts[69]).data
    assert len(vectors) == 70
    assert vectors[69] == pytest.approx(alone.embedding, abs=1e-4)


# --- models ---


@pytest.mark.parametrize("name", [CHAT.lower(), f"local/{CHAT}", f"{CHAT}.gguf", "smollm2-135m-instruct"])
def test_a_model_answers_to_every_spelling_of_its_name_and_says_its_own(sdk, name):
    assert sdk.models.retrieve(name).id == CHAT
    assert chat(sdk, model=name, max_tokens=1).model == CHAT


def test_the_models_are_listed(sdk):
    assert {CHAT, EMBEDDING} <= {model.id for model in sdk.models.list()}
