"""The openai package's own ways to read a stream, and what it can do with several choices, probabilities and tasks.

What a stream holds chunk by chunk is in `test_openai_sdk.py`.
"""

import asyncio
import base64
import json
import struct

import openai
import pytest
from openai_calls import COUNT, complete
from running import CHAT, EMBEDDING

pytestmark = pytest.mark.model

ASK = [{"role": "user", "content": "Count to ten."}]
GREEDY = {"model": CHAT, "messages": ASK, "temperature": 0, "max_tokens": 12}
# The package's helper refuses to give a final answer that was cut: this one comes to its end.
HELLO = {**GREEDY, "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 60}
TWO = {"n": 2, "temperature": 1, "seed": 1, "max_tokens": 16}


# --- the stream helper ---


def test_the_helper_gives_events_that_spell_the_answer(sdk):
    with sdk.chat.completions.stream(**HELLO, stream_options={"include_usage": True}) as stream:
        events = list(stream)
        answer = stream.get_final_completion()
    text = answer.choices[0].message.content
    deltas = [event for event in events if event.type == "content.delta"]
    assert "".join(event.delta for event in deltas) == text == deltas[-1].snapshot
    assert [event.content for event in events if event.type == "content.done"] == [text]
    assert answer.choices[0].finish_reason == "stop"
    assert 0 < answer.usage.completion_tokens < 60


def test_the_helper_gives_the_probabilities_of_every_token(sdk):
    with sdk.chat.completions.stream(**HELLO, logprobs=True, top_logprobs=2) as stream:
        events = list(stream)
        answer = stream.get_final_completion()
    text = answer.choices[0].message.content
    [done] = [event.content for event in events if event.type == "logprobs.content.done"]
    come = [entry for event in events if event.type == "logprobs.content.delta" for entry in event.content]
    assert done == come == answer.choices[0].logprobs.content
    assert "".join(entry.token for entry in come) == text
    assert all(len(entry.top_logprobs) == 2 and entry.token == entry.top_logprobs[0].token for entry in come)


def test_the_helper_keeps_several_choices_apart(sdk):
    with sdk.chat.completions.stream(**{**HELLO, **TWO, "max_tokens": 500}, stop=["."], logprobs=True) as stream:
        answer = stream.get_final_completion()
    assert [choice.index for choice in answer.choices] == [0, 1]
    texts = [choice.message.content for choice in answer.choices]
    assert texts[0] != texts[1]
    spelled = ["".join(entry.token for entry in choice.logprobs.content) for choice in answer.choices]
    assert all(own.startswith(text) for own, text in zip(spelled, texts, strict=True))  # then comes the stop string


def test_a_bad_field_is_an_error_before_the_stream_begins(sdk):
    with pytest.raises(openai.BadRequestError) as caught, sdk.chat.completions.stream(**{**GREEDY, "top_p": 2}):
        pass
    assert caught.value.param == "top_p"


# --- answers with their HTTP ---


def test_a_raw_answer_has_headers_and_parses(sdk):
    raw = sdk.chat.completions.with_raw_response.create(**GREEDY)
    assert raw.status_code == 200
    assert raw.headers["content-type"] == "application/json"
    assert raw.request_id == raw.headers["x-request-id"]
    assert raw.retries_taken == 0
    assert raw.parse().usage.completion_tokens == 12


def test_a_raw_stream_can_be_read_line_by_line(sdk):
    with sdk.chat.completions.with_streaming_response.create(**GREEDY, stream=True) as raw:
        assert raw.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in raw.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    assert all(json.loads(line.removeprefix("data: "))["object"] for line in lines[:-1])


# --- at once ---


def test_an_asynchronous_client_has_four_answers_at_once_two_of_them_streamed(server):
    async def ask(client: openai.AsyncOpenAI, i: int) -> str:
        if i % 2:
            answer = await client.chat.completions.create(**GREEDY)
            return answer.choices[0].message.content
        async with client.chat.completions.stream(**GREEDY) as stream:
            return "".join([event.delta async for event in stream if event.type == "content.delta"])

    async def all_four() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
            return await asyncio.gather(*(ask(client, i) for i in range(4)))

    texts = asyncio.run(all_four())
    assert len(texts) == 4
    assert all(text.strip() for text in texts)


def test_cancelling_an_asynchronous_stream_leaves_a_client_that_works(server):
    async def leave_and_ask() -> str:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
            endless = {**GREEDY, "max_tokens": 4000, "extra_body": {"ignore_eos": True}}
            async for _ in await client.chat.completions.create(**endless, stream=True):
                break
            answer = await client.chat.completions.create(**GREEDY)
        return answer.choices[0].message.content

    assert asyncio.run(leave_and_ask()).strip()


# --- texts ---


def test_a_text_with_probabilities_of_several_choices_streamed(sdk):
    texts, tokens, offsets = ["", ""], [[], []], [[], []]
    for chunk in complete(sdk, "Once upon a time", logprobs=2, stream=True, **TWO):
        choice = chunk.choices[0]
        texts[choice.index] += choice.text
        if choice.logprobs:
            tokens[choice.index] += choice.logprobs.tokens
            offsets[choice.index] += choice.logprobs.text_offset
    assert texts[0] != texts[1]
    assert texts == ["".join(own) for own in tokens]
    for text, own, starts in zip(texts, tokens, offsets, strict=True):
        assert [text[start : start + len(token)] for token, start in zip(own, starts, strict=True)] == own


def test_an_echo_is_streamed_before_its_continuation(sdk):
    whole = complete(sdk, echo=True).choices[0].text
    assert whole == COUNT + complete(sdk).choices[0].text
    pieces = [chunk.choices[0].text for chunk in complete(sdk, echo=True, stream=True)]
    assert pieces[0] == COUNT
    assert "".join(pieces) == whole


# --- embeddings ---


def test_embeddings_come_as_base64_when_asked_for_by_name(sdk):
    texts = ["one", "two", "three"]
    packed = sdk.embeddings.create(model=EMBEDDING, input=texts, encoding_format="base64")
    plain = sdk.embeddings.create(model=EMBEDDING, input=texts, encoding_format="float")
    assert [row.index for row in packed.data] == [0, 1, 2]
    for one, other in zip(packed.data, plain.data, strict=True):
        vector = struct.unpack("<384f", base64.b64decode(one.embedding))
        assert vector == pytest.approx(other.embedding, abs=1e-6)
    assert packed.usage.total_tokens == plain.usage.total_tokens > 3
