"""The openai package and our own library with accounts: a person's key, a guest's none, a wrong one."""

import openai
import pytest
import tiny_models
from openai_calls import client_of
from people import People

import offgrid

MESSAGES = [{"role": "user", "content": "Hello!"}]


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    tiny_models.chat_model(folder / "tiny.gguf")
    with People(tmp_path_factory.mktemp("people"), "--models-dir", str(folder)) as running:
        yield running


@pytest.mark.parametrize("role", ["viewer", "user", "admin"])
def test_a_key_lists_models_and_chats(people, role):
    with client_of(people.server, people.add(role).key) as sdk:
        assert [model.id for model in sdk.models.list()] == ["tiny"]
        answer = sdk.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=3)
        assert answer.usage.completion_tokens == 3


def test_a_wrong_key_is_an_authentication_error_and_a_missing_permission_its_own(people):
    with client_of(people.server, "og_" + "x" * 43) as sdk, pytest.raises(openai.AuthenticationError):
        sdk.chat.completions.create(model="tiny", messages=MESSAGES)
    with client_of(people.server, people.add("viewer").key) as sdk, pytest.raises(openai.PermissionDeniedError):
        sdk.embeddings.create(model="tiny", input="x")


def test_our_own_library_chats_as_a_guest_and_with_a_key(people):
    assert isinstance(offgrid.Client(people.server.url).chat("Hello!", max_tokens=3), str)
    client = offgrid.Client(people.server.url, api_key=people.add().key)
    assert client.list_models()[0]["id"] == "tiny"
