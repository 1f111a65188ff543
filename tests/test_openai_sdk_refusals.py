"""What a real server refuses to the openai package: each bad field by its name, prompts that do not fit, models.

Keys, sizes, methods and hosts are in `test_openai_sdk_http.py`.
"""

import openai
import pytest
from openai_calls import COUNT, chat, complete
from running import CHAT, EMBEDDING

pytestmark = pytest.mark.model

BAD_CHATS = [
    ("temperature", -0.1),
    ("temperature", 2.1),
    ("temperature", "hot"),
    ("top_p", 1.1),
    ("top_p", -1),
    ("max_tokens", 0),
    ("max_tokens", -2),
    ("max_tokens", 1.5),
    ("max_tokens", True),
    ("max_completion_tokens", 0),
    ("presence_penalty", 2.1),
    ("frequency_penalty", -2.1),
    ("seed", "lucky"),
    ("stop", ["x"] * 17),
    ("stop", ""),
    ("stop", 5),
    ("n", 0),
    ("n", 17),
    ("stream", "yes"),
    ("stream_options", {"include_usage": True}),
    ("logprobs", 2),
    ("top_logprobs", 2),
    ("logit_bias", {"the": 1}),
    ("tools", "add"),
]


@pytest.mark.parametrize(("name", "value"), BAD_CHATS)
def test_a_bad_field_is_a_bad_request_that_names_it(sdk, name, value):
    with pytest.raises(openai.BadRequestError) as caught:
        chat(sdk, **{name: value})
    assert caught.value.param == name
    assert caught.value.type == "invalid_request_error"
    assert name in caught.value.message


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        ("Hello!", "messages"),
        (["Hello!"], "messages[0]"),
        ([{"role": "wizard", "content": "x"}], "messages[0].role"),
        ([{"role": "user", "content": 5}], "messages[0].content"),
        ([{"role": "user"}], "messages[0].content"),
        ([{"role": "user", "content": "x", "colour": "red"}], "messages[0].colour"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "messages[0].content[0]"),
    ],
)
def test_a_bad_message_is_named_with_its_place(sdk, messages, param):
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.chat.completions.create(model=CHAT, messages=messages)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"type": "yaml"}, "response_format.type"),
        ({"type": "json_schema"}, "response_format.json_schema"),
        (
            {"type": "json_schema", "json_schema": {"name": "x", "schema": {"properties": {"a": {"not": {}}}}}},
            "response_format.json_schema.schema.properties.a.not",
        ),
    ],
)
@pytest.mark.parametrize("call", [chat, complete])
def test_a_form_that_cannot_be_held_to_is_refused_with_its_place(sdk, call, form, param):
    with pytest.raises(openai.BadRequestError) as caught:
        call(sdk, extra_body={"response_format": form})
    assert caught.value.param == param


def test_an_unknown_field_is_refused_with_the_nearest_known_one(sdk):
    with pytest.raises(openai.BadRequestError, match="Did you mean temperature") as caught:
        chat(sdk, extra_body={"temprature": 1})
    assert caught.value.param == "temprature"


def test_two_lengths_that_differ_are_refused(sdk):
    with pytest.raises(openai.BadRequestError, match="different things"):
        chat(sdk, max_completion_tokens=5)


@pytest.mark.parametrize(
    ("field", "value"), [("prompt", ""), ("prompt", []), ("prompt", [1, 2]), ("best_of", 3), ("echo", 1)]
)
def test_a_bad_text_request_names_its_field(sdk, field, value):
    with pytest.raises(openai.BadRequestError) as caught:
        complete(sdk, **{"prompt": COUNT, field: value})
    assert caught.value.param == field


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": "x", "dimensions": 64}, "dimensions"),
        ({"input": [1, 2, 3]}, "input"),
        ({"input": [[1, 2], [3]]}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["x", ""]}, "input"),
        ({"input": "x", "encoding_format": "hex"}, "encoding_format"),
    ],
)
def test_a_bad_embedding_request_names_its_field(sdk, fields, param):
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.embeddings.create(model=EMBEDDING, **fields)
    assert caught.value.param == param


def test_each_model_is_refused_where_the_other_kind_is_needed(sdk):
    with pytest.raises(openai.BadRequestError, match="/v1/embeddings") as caught:
        chat(sdk, model=EMBEDDING)
    assert caught.value.param == "model"
    with pytest.raises(openai.BadRequestError, match="/v1/chat/completions") as caught:
        sdk.embeddings.create(model=CHAT, input="x")
    assert caught.value.param == "model"


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_does_not_fit_is_refused_with_both_numbers(sdk, stream):
    with pytest.raises(openai.BadRequestError) as caught:
        chat(sdk, "word " * 9000, stream=stream)
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.param == "messages"
    numbers = [int(word) for word in caught.value.message.split() if word.isdigit()]
    assert 8192 in numbers  # what the model was trained for
    assert max(numbers) > 9000


def test_a_text_too_long_to_embed_is_refused_with_both_numbers(sdk):
    with pytest.raises(openai.BadRequestError, match="512") as caught:
        sdk.embeddings.create(model=EMBEDDING, input="word " * 600)
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.param == "input"


def test_an_unknown_model_is_not_found_and_the_nearest_one_is_named(sdk):
    with pytest.raises(openai.NotFoundError, match=CHAT) as caught:
        chat(sdk, model="SmolLM-135M-Instruct")
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        sdk.models.retrieve("nothing")
