"""The openai package against a real server with the starter models: what it relies on, and the exceptions it raises."""

import http.client
import math
import threading

import openai
import pytest
from running import CHAT, EMBEDDING, REPO, RunningServer

pytestmark = pytest.mark.model

COUNT = "1, 2, 3, 4, 5, 6,"  # its continuation is certain
FLAGS = ("--models-dir", str(REPO / "models"))


def client_of(server, key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0, timeout=60)


@pytest.fixture(scope="module")
def client(server):
    with client_of(server) as sdk:
        yield sdk


def chat(client, content: object = "Hello!", **fields):
    fields = {"model": CHAT, "max_tokens": 12, "temperature": 0, **fields}
    return client.chat.completions.create(messages=[{"role": "user", "content": content}], **fields)


def complete(client, prompt: object = COUNT, **fields):
    fields = {"model": CHAT, "max_tokens": 12, "temperature": 0, **fields}
    return client.completions.create(prompt=prompt, **fields)


# --- chats ---


def test_a_chat_answers_with_text_and_usage(client):
    answer = chat(client, max_tokens=60)
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content.strip()
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert 0 <= answer.usage.prompt_tokens_details.cached_tokens < answer.usage.prompt_tokens


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_answer_ends_at_its_longest(client, name):
    answer = chat(client, **{"max_tokens": None, name: 5})
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 5


def test_text_parts_are_the_same_as_one_text(client):
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo!"}]
    assert chat(client, parts).usage.prompt_tokens == chat(client, "Hello!").usage.prompt_tokens


def test_developer_is_another_word_for_system(client):
    def n_prompt(role: str) -> int:
        messages = [{"role": role, "content": "Be brief."}, {"role": "user", "content": "Hello!"}]
        answer = client.chat.completions.create(model=CHAT, messages=messages, max_tokens=1)
        return answer.usage.prompt_tokens

    assert n_prompt("developer") == n_prompt("system")


def test_what_clients_send_without_meaning_is_accepted(client):
    fields = {"user": "me", "metadata": {"a": "b"}, "store": False, "service_tier": "auto", "prompt_cache_key": "k"}
    assert chat(client, **fields, response_format={"type": "text"}, tools=[], logit_bias={}).choices


def test_two_choices_are_two_texts_of_one_answer(client):
    answer = chat(client, n=2, temperature=1, seed=1, max_tokens=16)
    assert [choice.index for choice in answer.choices] == [0, 1]
    first, second = (choice.message.content for choice in answer.choices)
    assert first != second
    assert answer.usage.completion_tokens > 16


def test_the_same_seed_gives_the_same_text_and_another_seed_another(start_server):
    # A server of its own: what other requests left in the cache may change the last digits.
    client = client_of(start_server(*FLAGS))

    def text(seed: int) -> str:
        return chat(client, seed=seed, temperature=1, max_tokens=24).choices[0].message.content

    first = text(7)
    assert text(7) == first
    assert text(8) != first


# --- streams ---


def test_a_stream_says_the_role_once_and_ends_with_reason_and_usage(client):
    chunks = list(chat(client, stream=True, stream_options={"include_usage": True}))
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


def test_a_streamed_text_is_the_whole_text(client):
    pieces = [chunk.choices[0].text for chunk in complete(client, stream=True)]
    assert len(pieces) > 3  # it came bit by bit
    assert "".join(pieces) == complete(client).choices[0].text


def test_the_choices_of_a_stream_can_be_told_apart(client):
    texts, reasons = {0: "", 1: ""}, {}
    for chunk in chat(client, stream=True, n=2, temperature=1, seed=1):
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
def test_a_stop_string_ends_the_text_and_is_never_shown(client, stop, stream):
    answer = complete(client, stop=stop, stream=stream)
    chunks = list(answer) if stream else [answer]
    assert "".join(chunk.choices[0].text for chunk in chunks) == " 7, 8"
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_what_only_began_like_a_stop_string_is_shown_at_the_end(client):
    assert complete(client, max_tokens=5, stop=" 7, 8 or").choices[0].text == " 7, 8"


# --- texts ---


def test_a_list_of_prompts_gives_a_choice_for_each_in_order(client):
    answer = complete(client, [COUNT, "A, B, C, D, E, F,"], max_tokens=4)
    assert [choice.index for choice in answer.choices] == [0, 1]
    numbers, letters = (choice.text for choice in answer.choices)
    assert numbers.startswith(" 7")
    assert letters.startswith(" G")


# --- embeddings ---


def test_the_default_base64_is_the_same_vector_as_floats(client, server):
    [by_sdk] = client.embeddings.create(model=EMBEDDING, input="Hello world").data
    body = {"model": EMBEDDING, "input": "Hello world", "encoding_format": "float"}
    _, _, answer = server.request("/v1/embeddings", body)
    assert by_sdk.embedding == pytest.approx(answer["data"][0]["embedding"], abs=1e-6)
    assert len(by_sdk.embedding) == 384
    assert math.hypot(*by_sdk.embedding) == pytest.approx(1, abs=1e-4)


def test_many_texts_keep_their_order(client):
    texts = [f"text number {i}" for i in range(70)]  # more than one call of the engine takes
    vectors = [row.embedding for row in client.embeddings.create(model=EMBEDDING, input=texts).data]
    [alone] = client.embeddings.create(model=EMBEDDING, input=texts[69]).data
    assert len(vectors) == 70
    assert vectors[69] == pytest.approx(alone.embedding, abs=1e-4)


# --- refusals: the body ---

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
    ("logprobs", True),
    ("tools", [{"type": "function", "function": {"name": "f"}}]),
    ("response_format", {"type": "json_object"}),
]


@pytest.mark.parametrize(("name", "value"), BAD_CHATS)
def test_a_bad_field_is_a_bad_request_that_names_it(client, name, value):
    with pytest.raises(openai.BadRequestError) as caught:
        chat(client, **{name: value})
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
def test_a_bad_message_is_named_with_its_place(client, messages, param):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=CHAT, messages=messages)
    assert caught.value.param == param


def test_an_unknown_field_is_refused_with_the_nearest_known_one(client):
    with pytest.raises(openai.BadRequestError, match="Did you mean temperature") as caught:
        chat(client, extra_body={"temprature": 1})
    assert caught.value.param == "temprature"


def test_two_lengths_that_differ_are_refused(client):
    with pytest.raises(openai.BadRequestError, match="different things"):
        chat(client, max_completion_tokens=5)


@pytest.mark.parametrize(
    ("field", "value"), [("prompt", ""), ("prompt", []), ("prompt", [1, 2]), ("best_of", 3), ("echo", True)]
)
def test_a_bad_text_request_names_its_field(client, field, value):
    with pytest.raises(openai.BadRequestError) as caught:
        complete(client, **{"prompt": COUNT, field: value})
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
def test_a_bad_embedding_request_names_its_field(client, fields, param):
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model=EMBEDDING, **fields)
    assert caught.value.param == param


def test_each_model_is_refused_where_the_other_kind_is_needed(client):
    with pytest.raises(openai.BadRequestError, match="/v1/embeddings") as caught:
        chat(client, model=EMBEDDING)
    assert caught.value.param == "model"
    with pytest.raises(openai.BadRequestError, match="/v1/chat/completions") as caught:
        client.embeddings.create(model=CHAT, input="x")
    assert caught.value.param == "model"


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_does_not_fit_is_refused_with_both_numbers(client, stream):
    with pytest.raises(openai.BadRequestError) as caught:
        chat(client, "word " * 9000, stream=stream)
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.param == "messages"
    numbers = [int(word) for word in caught.value.message.split() if word.isdigit()]
    assert 8192 in numbers  # what the model was trained for
    assert max(numbers) > 9000


def test_a_text_too_long_to_embed_is_refused_with_both_numbers(client):
    with pytest.raises(openai.BadRequestError, match="512") as caught:
        client.embeddings.create(model=EMBEDDING, input="word " * 600)
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.param == "input"


def test_an_unknown_model_is_not_found_and_the_nearest_one_is_named(client):
    with pytest.raises(openai.NotFoundError, match=CHAT) as caught:
        chat(client, model="SmolLM-135M-Instruct")
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nothing")


@pytest.mark.parametrize("name", [CHAT.lower(), f"local/{CHAT}", f"{CHAT}.gguf", "smollm2-135m-instruct"])
def test_a_model_answers_to_every_spelling_of_its_name_and_says_its_own(client, name):
    assert client.models.retrieve(name).id == CHAT
    assert chat(client, model=name, max_tokens=1).model == CHAT


def test_the_models_are_listed(client):
    assert {CHAT, EMBEDDING} <= {model.id for model in client.models.list()}


# --- refusals: keys, methods, sizes, hosts ---


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    """A server with a key and a small limit for bodies. No model is loaded."""
    flags = ("--api-key", "open-sesame", "--max-body-bytes", "2048", "--preload", "false")
    running = RunningServer(tmp_path_factory.mktemp("locked"), *FLAGS, *flags)
    yield running
    assert running.stop() == 0


@pytest.mark.parametrize("key", ["wrong", "open-sesam", "open-sesame2"])
def test_a_wrong_key_is_an_authentication_error(locked, key):
    with pytest.raises(openai.AuthenticationError) as caught:
        client_of(locked, key).models.list()
    assert caught.value.code == "invalid_api_key"


def test_the_right_key_opens_and_health_needs_none(locked):
    assert client_of(locked, "open-sesame").models.list().data
    status, headers, answer = locked.request("/v1/models")
    assert status == 401
    assert headers["WWW-Authenticate"] == "Bearer"
    assert answer["error"]["code"] == "missing_api_key"
    assert locked.request("/v1/models", headers={"X-Api-Key": "open-sesame"})[0] == 200
    assert locked.request("/health")[0] == 200


def test_a_body_over_the_limit_is_413_and_the_server_goes_on(locked):
    with pytest.raises(openai.APIStatusError) as caught:
        chat(client_of(locked, "open-sesame"), "x" * 3000)
    assert caught.value.status_code == 413
    assert "2048" in caught.value.message
    assert locked.request("/health")[0] == 200


def test_another_method_is_405_with_those_that_work(server):
    for method, path, allow in (
        ("GET", "/v1/chat/completions", "OPTIONS, POST"),
        ("POST", "/health", "GET, HEAD, OPTIONS"),
        ("DELETE", f"/v1/models/{CHAT}", "GET, HEAD, OPTIONS"),
    ):
        status, headers, answer = server.request(path, method=method)
        assert status == 405
        assert headers["Allow"] == allow
        assert answer["error"]["type"] == "invalid_request_error"


def test_an_unknown_path_is_404_and_the_nearest_one_is_named(server):
    status, _, answer = server.request("/v1/chat/completion", {})
    assert status == 404
    assert "/v1/chat/completions" in answer["error"]["message"]


def test_another_content_type_is_415_and_curls_own_is_taken_for_json(server):
    body = {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 1}
    status, _, answer = server.request("/v1/chat/completions", body, headers={"Content-Type": "text/xml"})
    assert status == 415
    assert "application/json" in answer["error"]["message"]
    curls = {"Content-Type": "application/x-www-form-urlencoded"}
    assert server.request("/v1/chat/completions", body, headers=curls)[0] == 200


def test_a_foreign_host_name_is_421_and_the_setting_is_named(server):
    status, _, answer = server.request("/v1/models", headers={"Host": f"evil.example:{server.port}"})
    assert status == 421
    assert "allowed_hosts" in answer["error"]["message"]


def test_a_body_that_is_no_json_object_is_400(server):
    for body, expected in ((b"", "empty"), (b"{", "not JSON"), (b"[]", "list"), (b"\xff", "UTF-8")):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        with connection.getresponse() as answer:
            text = answer.read().decode()
        connection.close()
        assert answer.status == 400
        assert expected in text


def test_head_is_get_without_the_body(server):
    status, headers, body = server.request("/v1/models", method="HEAD")
    assert (status, body) == (200, "")
    assert int(headers["Content-Length"]) > 0


def test_options_says_what_a_path_takes(server):
    status, headers, _ = server.request("/v1/chat/completions", method="OPTIONS")
    assert status == 204
    assert headers["Allow"] == "OPTIONS, POST"


def test_every_answer_has_a_request_id_and_the_clients_own_is_kept(server):
    assert server.request("/nothing")[1]["x-request-id"]
    assert server.request("/health", headers={"x-request-id": "mine-1"})[1]["x-request-id"] == "mine-1"
