"""The anthropic package against a real server with the starter model: messages, streams, tools, counts, errors."""

import anthropic
import pytest
from anthropic_calls import HELLO, asked, client_of
from pydantic import BaseModel
from running import CHAT, STARTERS

pytestmark = pytest.mark.model

ADD = {
    "name": "add",
    "description": "Adds two whole numbers.",
    "input_schema": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
    },
}


@pytest.fixture(scope="module")
def client(server):
    with client_of(server) as client:
        yield client


# --- messages ---


def test_a_message_is_text_with_its_reason_and_usage(client):
    message = client.messages.create(**asked(max_tokens=60))
    [block] = message.content
    assert (message.type, message.role, message.model) == ("message", "assistant", CHAT)
    assert block.type == "text" and block.text.strip()
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    assert message.id.startswith("msg_") and message._request_id
    assert message.usage.input_tokens > 0 and message.usage.output_tokens > 0


def test_a_message_ends_at_its_longest_and_at_a_stop_sequence(client):
    message = client.messages.create(**asked(max_tokens=5))
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 5)
    [block] = message.content
    word = block.text.split()[1]
    message = client.messages.create(**asked(stop_sequences=["never said", word]))
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", word)
    assert word not in message.content[0].text


def test_an_answer_can_be_sent_back_as_it_came(client):
    first = client.messages.create(**asked())
    turns = [
        {"role": "user", "content": HELLO},
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [{"type": "text", "text": "Go on.", "cache_control": {"type": "ephemeral"}}]},
    ]
    second = client.messages.create(**asked(turns, system=[{"type": "text", "text": "Be brief."}]))
    assert second.content[0].text.strip()
    assert second.usage.input_tokens + second.usage.cache_read_input_tokens > first.usage.input_tokens


def test_tokens_are_counted_as_the_message_computes_them(client):
    fields = {"model": CHAT, "system": "Be brief.", "tools": [ADD], "messages": [{"role": "user", "content": HELLO}]}
    usage = client.messages.create(**fields, max_tokens=1).usage
    counted = client.messages.count_tokens(**fields)
    assert counted.input_tokens == usage.input_tokens + usage.cache_read_input_tokens
    assert client.beta.messages.count_tokens(**fields).input_tokens == counted.input_tokens


def test_an_answer_of_a_form_is_parsed_by_the_package(client):
    class Yes(BaseModel):
        is_so: bool

    message = client.messages.parse(**asked("Is water wet?", max_tokens=200), output_format=Yes)
    assert isinstance(message.parsed_output, Yes)


def test_thinking_is_accepted_of_a_model_that_does_not_think(client):
    for thinking in ({"type": "enabled", "budget_tokens": 1024}, {"type": "adaptive"}, {"type": "disabled"}):
        message = client.messages.create(**asked(thinking=thinking))
        assert [block.type for block in message.content] == ["text"]


# --- streams ---


def test_a_stream_has_the_text_and_the_same_message_in_the_end(client):
    whole = client.messages.create(**asked())
    with client.messages.stream(**asked()) as stream:
        texts = list(stream.text_stream)
        last = stream.get_final_message()
    assert len(texts) > 1
    assert "".join(texts) == last.content[0].text
    assert last.stop_reason == whole.stop_reason == "max_tokens"
    assert last.usage.output_tokens == whole.usage.output_tokens == 12
    assert last.usage.input_tokens + last.usage.cache_read_input_tokens == (
        whole.usage.input_tokens + whole.usage.cache_read_input_tokens
    )


def test_the_events_of_a_stream_come_in_the_documented_order(client):
    kinds = [event.type for event in client.messages.create(**asked(), stream=True)]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert set(kinds[2:-3]) == {"content_block_delta"}
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_a_stream_that_is_left_leaves_the_server_free(client):
    with client.messages.stream(**asked(max_tokens=1000)) as stream:
        assert next(iter(stream.text_stream))
    assert client.messages.create(**asked(max_tokens=2)).usage.output_tokens == 2


# --- tools ---


@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
def test_a_tool_is_called_its_result_taken_and_an_answer_given(client, is_streamed):
    fields = {"tools": [ADD], "tool_choice": {"type": "tool", "name": "add"}, "max_tokens": 200}
    if is_streamed:
        with client.messages.stream(**asked("What is 2 + 3?", **fields)) as stream:
            message = stream.get_final_message()
    else:
        message = client.messages.create(**asked("What is 2 + 3?", **fields))
    assert message.stop_reason == "tool_use"
    [call] = [block for block in message.content if block.type == "tool_use"]
    assert call.name == "add" and call.id.startswith("toolu_")
    assert type(call.input["a"]) is int and type(call.input["b"]) is int
    turns = [
        {"role": "user", "content": "What is 2 + 3?"},
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "5"}]},
    ]
    answer = client.messages.create(**asked(turns, tools=[ADD], tool_choice={"type": "none"}))
    assert [block.type for block in answer.content] == ["text"]


def test_the_packages_own_loop_of_tools_runs_what_is_called(client):
    numbers = []

    @anthropic.beta_tool
    def add(a: int, b: int) -> str:
        """Adds two whole numbers.

        Args:
            a: The first.
            b: The second.
        """
        numbers.append((a, b))
        return str(a + b)

    body = asked("What is 2 + 3?", tool_choice={"type": "any", "disable_parallel_tool_use": True}, max_tokens=200)
    runner = client.beta.messages.tool_runner(**body, tools=[add], max_iterations=2)
    messages = list(runner)
    assert [message.stop_reason for message in messages] == ["tool_use", "tool_use"]
    assert len(numbers) >= 1 and all(type(n) is int for pair in numbers for n in pair)


# --- models and errors ---


def test_the_models_are_listed_and_found(client):
    listed = list(client.models.list(limit=1000))
    assert CHAT in [model.id for model in listed]
    model = client.models.retrieve(CHAT)
    assert (model.type, model.display_name) == ("model", CHAT)
    assert model.created_at.year > 2000


@pytest.mark.parametrize(
    ("fields", "error", "kind", "words"),
    [
        ({"model": "claude-opus-4-1"}, anthropic.NotFoundError, "not_found_error", "aliases"),
        ({"max_tokens": 0}, anthropic.BadRequestError, "invalid_request_error", "max_tokens"),
        (
            {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
            anthropic.BadRequestError,
            "invalid_request_error",
            "web_search_20250305",
        ),
        ({"extra_body": {"nonsense": 1}}, anthropic.BadRequestError, "invalid_request_error", "nonsense"),
        (
            {"messages": [{"role": "user", "content": "word " * 9000}]},
            anthropic.BadRequestError,
            "invalid_request_error",
            "prompt is too long",
        ),
    ],
)
@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
def test_errors_are_those_that_the_package_has_for_them(client, fields, error, kind, words, is_streamed):
    with pytest.raises(error) as caught:
        client.messages.create(**{**asked(), **fields}, stream=is_streamed)
    assert caught.value.type == kind
    assert words in str(caught.value)
    assert caught.value.request_id


def test_a_wrong_key_is_an_authentication_error(start_server):
    server = start_server(*STARTERS, "--api-key", "right-key", env={"OFFGRID_PREWARM_MODELS": "false"})
    with client_of(server, "wrong-key") as client, pytest.raises(anthropic.AuthenticationError):
        client.messages.count_tokens(model=CHAT, messages=[{"role": "user", "content": HELLO}])
    with client_of(server, "right-key") as client:
        assert client.models.retrieve(CHAT).id == CHAT
