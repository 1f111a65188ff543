"""The openai package's Responses API with the starter model: whole, streamed, parsed, chained, with tools, kept.

The model is too small to choose well; what is tested is that what it says travels whole, and as the package reads it.
"""

import asyncio
import json
from typing import Literal

import openai
import pydantic
import pytest
from running import CHAT

pytestmark = pytest.mark.model

HELLO = {"model": CHAT, "input": "Hello!", "temperature": 0, "max_output_tokens": 60}
SHORT = {**HELLO, "max_output_tokens": 8}


class Pet(pydantic.BaseModel):
    kind: Literal["cat", "dog"]
    age: int = pydantic.Field(ge=0, le=30)


class GetWeather(pydantic.BaseModel):
    """Get the weather of a city."""

    city: str = pydantic.Field(min_length=1, max_length=20)


WEATHER = openai.pydantic_function_tool(GetWeather, name="get_weather")["function"]
TOOL = {"type": "function", **WEATHER}
MUST = {"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False, "max_output_tokens": 200}


def test_an_answer_has_text_status_and_usage(sdk):
    answer = sdk.responses.create(**HELLO, metadata={"class": "3b"})
    assert answer.output_text.strip()
    assert (answer.status, answer.error, answer.incomplete_details) == ("completed", None, None)
    assert answer.metadata == {"class": "3b"}
    usage = answer.usage
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    assert usage.output_tokens_details.reasoning_tokens == 0


def test_an_answer_that_is_cut_says_so(sdk):
    answer = sdk.responses.create(**SHORT)
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert answer.usage.output_tokens == 8


def test_the_stream_helper_spells_the_answer(sdk):
    with sdk.responses.stream(**HELLO) as stream:
        events = list(stream)
        answer = stream.get_final_response()
    deltas = [event for event in events if event.type == "response.output_text.delta"]
    assert "".join(event.delta for event in deltas) == answer.output_text == deltas[-1].snapshot
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events][:2] == ["response.created", "response.in_progress"]
    assert events[-1].type == "response.completed"


def test_a_stream_that_is_cut_ends_incomplete_and_is_kept(sdk):
    *_, last = sdk.responses.create(**SHORT, stream=True)
    assert last.type == "response.incomplete"
    assert sdk.responses.retrieve(last.response.id).to_dict() == last.response.to_dict()


def test_probabilities_come_with_the_text(sdk):
    include = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
    answer = sdk.responses.create(**SHORT, **include)
    logprobs = answer.output[0].content[0].logprobs
    assert b"".join(bytes(one.bytes) for one in logprobs).decode() == answer.output_text
    assert all(len(one.top_logprobs) == 2 for one in logprobs)
    with sdk.responses.stream(**{**HELLO, **include}) as stream:
        scored = [one for event in stream if event.type == "response.output_text.delta" for one in event.logprobs]
    assert len(scored) > 4


@pytest.mark.parametrize("seed", [1, 2])
def test_parse_gives_an_object_of_the_asked_class(sdk, seed):
    asked = {**HELLO, "input": "Describe a pet as JSON.", "temperature": 1, "extra_body": {"seed": seed}}
    answer = sdk.responses.parse(**asked, text_format=Pet)
    assert isinstance(answer.output_parsed, Pet)
    with sdk.responses.stream(**asked, text_format=Pet) as stream:
        assert isinstance(stream.get_final_response().output_parsed, Pet)


def test_a_conversation_goes_on_from_what_is_kept(sdk):
    first = sdk.responses.create(**{**HELLO, "input": "My name is Ada."})
    second = sdk.responses.create(**{**SHORT, "input": "What is my name?"}, previous_response_id=first.id)
    whole = sdk.responses.input_tokens.count(
        model=CHAT,
        input=[
            {"role": "user", "content": "My name is Ada."},
            *first.output,
            {"role": "user", "content": "What is my name?"},
        ],
    )
    assert second.previous_response_id == first.id
    assert second.usage.input_tokens == whole.input_tokens
    assert second.usage.input_tokens_details.cached_tokens > 0
    items = list(sdk.responses.input_items.list(second.id, limit=2, order="asc"))
    assert [item.role for item in items] == ["user", "assistant", "user"]
    assert items[1].to_dict() == first.output[0].to_dict()


@pytest.mark.parametrize("is_chained", [True, False])
@pytest.mark.parametrize("is_streamed", [True, False])
def test_the_loop_of_a_tool(sdk, is_chained, is_streamed):
    asked = {**HELLO, "input": "Weather in Paris?", **MUST}
    if is_streamed:
        with sdk.responses.stream(**asked) as stream:
            answer = stream.get_final_response()
    else:
        answer = sdk.responses.create(**asked)
    [call] = answer.output
    assert (call.type, call.name, call.status) == ("function_call", "get_weather", "completed")
    GetWeather.model_validate_json(call.arguments)
    result = {"type": "function_call_output", "call_id": call.call_id, "output": json.dumps({"sky": "clear"})}
    begin = [] if is_chained else [{"role": "user", "content": "Weather in Paris?"}, *answer.output]
    previous = {"previous_response_id": answer.id} if is_chained else {}
    last = sdk.responses.create(model=CHAT, input=[*begin, result], tools=[TOOL], max_output_tokens=20, **previous)
    assert last.status in ("completed", "incomplete")
    assert last.output


def test_a_parsed_answer_can_be_sent_back_as_it_is(sdk):
    asked = {**HELLO, "input": "Weather in Paris?", **MUST}
    strict = openai.pydantic_function_tool(GetWeather, name="get_weather")["function"]
    parsed = sdk.responses.parse(**{**asked, "tools": [{"type": "function", **strict}]})
    assert parsed.output[0].parsed_arguments
    result = {"type": "function_call_output", "call_id": parsed.output[0].call_id, "output": "clear"}
    assert sdk.responses.create(model=CHAT, input=[*parsed.output, result], max_output_tokens=4).output


def test_what_is_kept_can_be_read_and_deleted(sdk):
    answer = sdk.responses.create(**SHORT)
    assert sdk.responses.retrieve(answer.id, include=["message.output_text.logprobs"]).output_text == answer.output_text
    sdk.responses.delete(answer.id)
    with pytest.raises(openai.NotFoundError):
        sdk.responses.retrieve(answer.id)
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.responses.create(**SHORT, previous_response_id=answer.id)
    assert (caught.value.code, caught.value.param) == ("previous_response_not_found", "previous_response_id")


def test_only_what_runs_in_the_background_can_be_cancelled(sdk):
    answer = sdk.responses.create(**SHORT)
    with pytest.raises(openai.BadRequestError, match="background"):
        sdk.responses.cancel(answer.id)


@pytest.mark.parametrize(
    "refused",
    [
        {"background": True},
        {"conversation": "conv_1"},
        {"prompt": {"id": "pmpt_1"}},
        {"truncation": "auto"},
        {"tools": [{"type": "web_search"}]},
        {"tools": [{"type": "mcp", "server_label": "a", "server_url": "http://127.0.0.1"}]},
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:,", "detail": "auto"}]}]},
    ],
    ids=lambda refused: json.dumps(refused)[:30],
)
def test_what_is_not_there_is_refused_by_its_name(sdk, refused):
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.responses.create(**{**SHORT, **refused})
    assert caught.value.param.startswith(next(iter(refused)))


def test_the_asynchronous_client_streams_several_at_once(server):
    async def spelled(client: openai.AsyncOpenAI, text: str) -> tuple[str, str]:
        async with client.responses.stream(**{**HELLO, "input": text}) as stream:
            deltas = [event.delta async for event in stream if event.type == "response.output_text.delta"]
            return "".join(deltas), (await stream.get_final_response()).output_text

    async def all_of_them():
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
            return await asyncio.gather(*(spelled(client, f"Hello {i}!") for i in range(4)))

    for deltas, text in asyncio.run(all_of_them()):
        assert deltas == text != ""
