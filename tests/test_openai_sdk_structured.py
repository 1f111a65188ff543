"""The openai package asks the starter model for answers of a form: whole, streamed, parsed, as text and as a chat."""

import enum
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Literal

import jsonschema
import openai
import pydantic
import pytest
from generated_schemas import made
from openai_calls import chat, client_of, complete
from running import CHAT
from test_grammar_properties import grammar_of

pytestmark = pytest.mark.model

ASK = "Make up a person and describe them as JSON."


class Colour(enum.Enum):
    RED = "red"
    QUOTED = 'the "blue"\none'


class Pet(pydantic.BaseModel):
    kind: Literal["cat", "dog"]
    colour: Colour
    age: Annotated[int, pydantic.Field(ge=0, le=30)] | None


class Person(pydantic.BaseModel):
    name: Annotated[str, pydantic.Field(min_length=1, max_length=20)]
    friend: Pet | None
    height_m: Annotated[float, pydantic.Field(gt=0.5, lt=2.5)]
    pets: Annotated[list[Pet], pydantic.Field(max_length=2)]


def form(schema: dict) -> dict:
    return {"type": "json_schema", "json_schema": {"name": "made", "strict": True, "schema": schema}}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_parse_gives_an_object_of_the_asked_class(sdk, seed):
    messages = [{"role": "user", "content": ASK}]
    answer = sdk.chat.completions.parse(
        model=CHAT, messages=messages, response_format=Person, temperature=1.5, seed=seed, max_tokens=900
    )
    assert answer.choices[0].finish_reason == "stop"
    assert isinstance(answer.choices[0].message.parsed, Person)


def test_the_stream_helper_gives_the_object_as_it_grows_and_of_its_class_at_the_end(sdk):
    messages = [{"role": "user", "content": ASK}]
    with sdk.chat.completions.stream(
        model=CHAT, messages=messages, response_format=Person, temperature=1, seed=4, max_tokens=900
    ) as stream:
        events = list(stream)
        parsed = stream.get_final_completion().choices[0].message.parsed
    assert isinstance(parsed, Person)
    growing = [event.parsed for event in events if event.type == "content.delta"]
    assert any(partial and set(partial) == {"name"} for partial in growing)
    assert [event.parsed for event in events if event.type == "content.done"] == [parsed]


def test_an_object_that_was_cut_is_a_length_error(sdk):
    messages = [{"role": "user", "content": ASK}]
    with pytest.raises(openai.LengthFinishReasonError):
        sdk.chat.completions.parse(model=CHAT, messages=messages, response_format=Person, max_tokens=3)


def test_a_streamed_answer_of_a_form_is_whole_at_its_end(sdk):
    chunks = chat(sdk, ASK, response_format=form(Pet.model_json_schema()), stream=True, max_tokens=300, temperature=1)
    text, reason = "", None
    for chunk in chunks:
        text += chunk.choices[0].delta.content or ""
        reason = chunk.choices[0].finish_reason or reason
    assert reason == "stop"
    Pet.model_validate_json(text)


def test_any_json_object(sdk):
    answer = chat(sdk, ASK, response_format={"type": "json_object"}, max_tokens=400, temperature=0.5, seed=5)
    assert answer.choices[0].message.content.startswith("{")
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(answer.choices[0].message.content), dict)


def test_a_grammar_decides_about_a_text(sdk):
    answer = complete(sdk, "Is the sky blue?", extra_body={"grammar": 'root ::= "yes" | "no"'})
    assert answer.choices[0].text in ("yes", "no")
    assert answer.choices[0].finish_reason == "stop"


def test_a_grammar_may_leave_out_control_characters_by_their_codes(sdk):
    grammar = r'root ::= "\"" [^"\\\x7F\x00-\x1F]{8,30} "\""'
    answer = complete(sdk, "She said: ", max_tokens=40, extra_body={"grammar": grammar})
    assert answer.choices[0].finish_reason == "stop"
    assert 8 <= len(json.loads(answer.choices[0].text)) <= 30


def test_a_completion_takes_a_response_format(sdk):
    answer = complete(
        sdk, "A number: ", extra_body={"response_format": form({"type": "integer", "minimum": 10, "maximum": 12})}
    )
    assert answer.choices[0].text in ("10", "11", "12")


def n_valid(server, seeds: range) -> int:
    """How many answers to made schemas came to their end; each that did validates."""

    def ask(seed: int) -> bool:
        schema, _ = made(seed)
        if grammar_of(schema) is None:
            return False
        with client_of(server) as client:
            answer = chat(
                client, "Say something.", response_format=form(schema), max_tokens=200, temperature=1, seed=seed
            )
        if answer.choices[0].finish_reason == "stop":
            jsonschema.validate(json.loads(answer.choices[0].message.content), schema)
        return answer.choices[0].finish_reason == "stop"

    with ThreadPoolExecutor(4) as pool:
        return sum(pool.map(ask, seeds))


def test_finished_answers_to_made_schemas_validate(server):
    assert n_valid(server, range(300, 320)) >= 5


@pytest.mark.full
@pytest.mark.timeout(900)
def test_finished_answers_to_300_made_schemas_validate(server):
    assert n_valid(server, range(300)) >= 100
