"""The openai package calls tools of the starter model: each way to choose one, whole and streamed, and whole loops.

The model is too small to choose well; what is tested is that the calls hold to their schemas and travel whole.
"""

import enum
import json
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Literal

import openai
import pydantic
import pytest
from nested_tools import SCHEMAS, TOOLS, ask, check_call
from openai_calls import client_of
from running import CHAT

pytestmark = pytest.mark.model

QUESTION = {"role": "user", "content": "How warm is it in Accra and in Oslo?"}


class Unit(enum.Enum):
    CELSIUS = "celsius"
    FAHRENHEIT = "fahrenheit"


class Place(pydantic.BaseModel):
    city: Annotated[str, pydantic.Field(min_length=1, max_length=20)]
    country: Annotated[str, pydantic.Field(max_length=20)] | None


class GetWeather(pydantic.BaseModel):
    """Get the weather of some places."""

    places: Annotated[list[Place], pydantic.Field(min_length=1, max_length=2)]
    unit: Unit
    detail: Literal["short", "long"]


WEATHER = openai.pydantic_function_tool(GetWeather, name="get_weather")


def fields(**more) -> dict:
    return {"model": CHAT, "messages": [QUESTION], "temperature": 0, "max_tokens": 600, **more}


def whole(sdk, **more):
    return sdk.chat.completions.create(**fields(**more)).choices[0]


def streamed(sdk, **more):
    """The same choice, put together by the package's own helper."""
    with sdk.chat.completions.stream(**fields(**more)) as stream:
        return stream.get_final_completion().choices[0]


both_ways = pytest.mark.parametrize("answer", [whole, streamed])
ODD = {
    "type": "function",
    "function": {
        "name": "odd",
        "strict": True,
        "parameters": {"type": "object", "properties": {"x": {"not": {"type": "string"}}}},
    },
}
# One call: a small model that may make several repeats itself until its tokens are used up.
MUST = {"tool_choice": "required", "parallel_tool_calls": False}


def as_history(calls: list) -> dict:
    """The message that a program keeps of calls, with what the package has read into them."""
    return {"role": "assistant", "content": None, "tool_calls": [call.model_dump(mode="json") for call in calls]}


# --- which tools may be called ---


@both_ways
def test_a_required_call_is_of_one_of_the_tools(sdk, answer):
    choice = answer(sdk, tools=TOOLS, **MUST)
    assert choice.finish_reason == "tool_calls"
    assert not choice.message.content
    [call] = choice.message.tool_calls
    assert call.type == "function"
    assert call.id
    check_call(call.function.name, call.function.arguments)


@both_ways
@pytest.mark.parametrize("name", list(SCHEMAS))
def test_a_named_tool_is_the_one_that_is_called(sdk, answer, name):
    named = {"type": "function", "function": {"name": name}}
    choice = answer(sdk, tools=TOOLS, tool_choice=named, temperature=0.8, seed=2, parallel_tool_calls=False)
    assert [call.function.name for call in choice.message.tool_calls] == [name]
    check_call(name, choice.message.tool_calls[0].function.arguments)


@both_ways
def test_with_the_choice_none_there_is_a_text_and_no_call(sdk, answer):
    choice = answer(sdk, tools=TOOLS, tool_choice="none", max_tokens=200)
    assert choice.finish_reason == "stop"
    assert not choice.message.tool_calls
    assert choice.message.content.strip()


@both_ways
@pytest.mark.parametrize("seed", [2, 3])
def test_left_to_itself_the_model_gives_a_text_or_calls_that_hold(sdk, answer, seed):
    try:
        choice = answer(sdk, tools=TOOLS, temperature=0.7, seed=seed, max_tokens=250)
    except openai.LengthFinishReasonError as cut:
        choice = cut.completion.choices[0]
    calls = choice.message.tool_calls or []
    assert (choice.finish_reason == "tool_calls") <= bool(calls)
    assert calls or choice.message.content.strip()
    if choice.finish_reason == "tool_calls":
        for call in calls:
            check_call(call.function.name, call.function.arguments)


@both_ways
def test_left_to_itself_the_model_may_call(sdk, answer):
    text = 'Repeat exactly: <tool_call>\n{"name": "ring_the_bell", "arguments": {}}\n</tool_call>'
    choice = answer(sdk, messages=[{"role": "user", "content": text}], tools=TOOLS)
    assert choice.finish_reason == "tool_calls"
    assert not choice.message.content
    assert choice.message.tool_calls[0].function.name == "ring_the_bell"


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_without_parallel_calls_there_is_one(sdk, seed):
    choice = whole(sdk, tools=TOOLS, **MUST, temperature=1.2, seed=seed)
    assert len(choice.message.tool_calls) == 1


def test_several_calls_have_ids_of_their_own(sdk):
    def calls(seed: int) -> list:
        return whole(sdk, tools=[TOOLS[-1]], tool_choice="required", temperature=1.5, seed=seed).message.tool_calls

    several = next(found for seed in range(20) if len(found := calls(seed)) > 1)
    assert len({call.id for call in several}) == len(several)
    assert all(json.loads(call.function.arguments) == {} for call in several)


def test_each_of_several_choices_has_calls_of_its_own(sdk):
    asked = fields(tools=TOOLS, **MUST, temperature=1, seed=1, n=3)
    answers = [sdk.chat.completions.create(**asked)]
    with sdk.chat.completions.stream(**asked) as stream:
        answers.append(stream.get_final_completion())
    for answer in answers:
        calls = [choice.message.tool_calls[0] for choice in answer.choices]
        for call in calls:
            check_call(call.function.name, call.function.arguments)
        assert len({call.id for call in calls}) == 3


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"tools": [{"type": "function", "function": {"name": "no spaces"}}]}, "tools[0].function.name"),
        ({"tools": [*TOOLS, TOOLS[0]]}, "tools[5].function.name"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0].type"),
        ({"tools": TOOLS, "tool_choice": "sometimes"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice.function.name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [ODD]}, "tools[0].function.parameters.properties.x.not"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_called_is_refused_by_its_place(sdk, wrong, param, stream):
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.chat.completions.create(**fields(**wrong), stream=stream)
    assert caught.value.param == param


def test_a_schema_that_no_grammar_holds_is_no_error_where_nothing_demands_it(sdk):
    function = {**ODD["function"], "strict": False}
    assert whole(sdk, tools=[{**ODD, "function": function}], max_tokens=5).finish_reason


# --- streams ---


def test_a_streamed_call_begins_with_its_name_and_grows(sdk):
    chunks = list(sdk.chat.completions.create(
        **fields(tools=[WEATHER], **MUST, stream=True,
                 stream_options={"include_usage": True})))  # fmt: skip
    deltas = [call for chunk in chunks if chunk.choices for call in chunk.choices[0].delta.tool_calls or []]
    first, *rest = deltas
    assert (first.index, first.type, first.function.name) == (0, "function", "get_weather")
    assert first.id
    assert all(call.id is None and call.function.name is None and call.index == 0 for call in rest)
    assert len(rest) > 3  # it came bit by bit
    GetWeather.model_validate_json("".join(call.function.arguments or "" for call in deltas))
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]][-1] == "tool_calls"
    assert chunks[-1].usage.completion_tokens > len(rest) / 2
    assert chunks[0].choices[0].delta.role == "assistant"


def test_the_stream_helper_parses_the_arguments_as_they_grow(sdk):
    with sdk.chat.completions.stream(**fields(tools=[WEATHER], **MUST)) as stream:
        events = list(stream)
        calls = stream.get_final_completion().choices[0].message.tool_calls
    growing = [event.parsed_arguments for event in events if event.type == "tool_calls.function.arguments.delta"]
    done = [event for event in events if event.type == "tool_calls.function.arguments.done"]
    assert any(set(partial or ()) == {"places"} for partial in growing)
    assert [event.name for event in done] == ["get_weather"] * len(calls)
    assert all(isinstance(call.function.parsed_arguments, GetWeather) for call in calls)
    assert [event.parsed_arguments for event in done] == [call.function.parsed_arguments for call in calls]


def test_parse_gives_arguments_of_their_class(sdk):
    answer = sdk.chat.completions.parse(**fields(tools=[WEATHER], **MUST, temperature=1, seed=3))
    for call in answer.choices[0].message.tool_calls:
        assert isinstance(call.function.parsed_arguments, GetWeather)


# --- loops ---


@both_ways
def test_a_loop_from_the_question_by_way_of_a_call_to_the_answer(sdk, answer):
    messages = [QUESTION]
    calls = answer(sdk, messages=messages, tools=[WEATHER], **MUST).message.tool_calls
    messages.append(as_history(calls))
    for call in calls:
        assert GetWeather.model_validate_json(call.function.arguments)
        messages.append({"role": "tool", "tool_call_id": call.id, "content": '{"celsius": 31}'})
    last = answer(sdk, messages=messages, tools=[WEATHER], tool_choice="none", max_tokens=300)
    assert last.finish_reason == "stop"
    assert last.message.content.strip()
    assert not last.message.tool_calls
    # And without the tools: what was called before stays a part of the conversation.
    with_history = sdk.chat.completions.create(**fields(messages=messages, max_tokens=1)).usage.prompt_tokens
    without = sdk.chat.completions.create(**fields(messages=[QUESTION], max_tokens=1)).usage.prompt_tokens
    assert with_history > without + 30


@both_ways
def test_a_loop_of_three_calls_one_after_the_other(sdk, answer):
    messages = [QUESTION]
    for name in ("search-notes.v2", "set_lights", "ring_the_bell"):
        named = {"type": "function", "function": {"name": name}}
        asked = {"messages": messages, "tools": TOOLS, "tool_choice": named, "parallel_tool_calls": False}
        [call] = answer(sdk, **asked).message.tool_calls
        check_call(name, call.function.arguments)
        messages.append(as_history([call]))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": "done"})
    last = answer(sdk, messages=messages, tools=TOOLS, tool_choice="none", max_tokens=300)
    assert last.message.content.strip()


# --- probabilities ---


def test_the_probabilities_of_a_call_are_no_part_of_any_content(sdk):
    asked = {"tools": [WEATHER], **MUST, "logprobs": True, "top_logprobs": 2}
    for choice in (whole(sdk, **asked), streamed(sdk, **asked)):
        assert choice.message.tool_calls
        content = choice.message.content or ""
        spelled = "".join(entry.token for entry in (choice.logprobs and choice.logprobs.content) or [])
        assert spelled == content


def test_probabilities_beside_tools_that_are_not_called_spell_the_text(sdk):
    asked = {"tools": [WEATHER], "tool_choice": "none", "logprobs": True, "max_tokens": 200}
    for choice in (whole(sdk, **asked), streamed(sdk, **asked)):
        assert "".join(entry.token for entry in choice.logprobs.content).strip() == choice.message.content.strip()


# --- many ---


def forced(server, i: int) -> None:
    """One call that must be made, of some tool, at some temperature; every second one is streamed."""
    draw = random.Random(i)
    question = {"role": "user", "content": ask(draw)}
    asked = {"messages": [question], "tools": TOOLS, **MUST}
    with client_of(server) as client:
        answer = streamed if i % 2 else whole
        choice = answer(client, **asked, temperature=draw.uniform(0.2, 1.5), seed=i, max_tokens=1500)
    assert choice.finish_reason == "tool_calls"
    [call] = choice.message.tool_calls
    check_call(call.function.name, call.function.arguments)


def force(server, seeds: range) -> None:
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(lambda i: forced(server, i), seeds):
            pass


def test_20_forced_calls_are_valid(server):
    force(server, range(100, 120))


@pytest.mark.full
@pytest.mark.timeout(600)
def test_100_forced_calls_are_valid(server):
    force(server, range(100))
