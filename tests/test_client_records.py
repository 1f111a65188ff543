"""`client.sessions`, `client.tasks` and `client.models.verify` against a real server and its real (tiny) model."""

import hashlib

import pytest
import tiny_models
from running import RunningServer

import offgrid


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    (folder / "models").mkdir()
    tiny_models.chat_model(folder / "models" / "tiny.gguf", eos_bias=4)
    running = RunningServer(folder / "data", "--models-dir", str(folder / "models"))
    yield running
    assert running.stop() == 0


@pytest.fixture
def client(server):
    client = offgrid.Client(server.url)
    yield client
    for session in client.sessions.list():
        client.sessions.delete(session["name"])


def turns(client: offgrid.Client, name: str) -> list[tuple[str, str]]:
    return [(m["role"], m["content"]) for m in client.sessions.get(name)["messages"]]


def test_the_methods_of_the_original_library_do_what_they_say(client):
    assert client.sessions.list() == []
    assert client.sessions.create("mein Gespräch", "tiny")["model_id"] == "tiny"
    assert client.sessions.add_message("mein Gespräch", "user", "Hello!") is True
    assert turns(client, "mein Gespräch") == [("user", "Hello!")]
    assert [session["name"] for session in client.sessions.list()] == ["mein Gespräch"]
    assert client.sessions.delete("mein Gespräch") is True
    with pytest.raises(offgrid.NotFound):
        client.sessions.delete("mein Gespräch")


def test_a_chat_with_a_session_goes_on_from_it_and_keeps_the_turn(client):
    system = {"role": "system", "content": "Be kind."}
    client.sessions.create("talk", messages=[system])
    answer = client.sessions.chat_with_session("talk", "Hello!", temperature=0, max_tokens=8)
    assert turns(client, "talk") == [("system", "Be kind."), ("user", "Hello!"), ("assistant", answer)]
    history = [{"role": role, "content": content} for role, content in turns(client, "talk")]
    expected = client.chat("And now?", messages=history, temperature=0, max_tokens=8)
    assert client.sessions.chat_with_session("talk", "And now?", temperature=0, max_tokens=8) == expected
    assert turns(client, "talk")[-1] == ("assistant", expected)


def test_a_chat_that_fails_leaves_the_session_as_it_was(client):
    client.sessions.create("talk", model_id="gone")
    with pytest.raises(offgrid.NotFound, match="'gone'"):
        client.sessions.chat_with_session("talk", "Hello!")
    with pytest.raises(TypeError, match="stream"):
        client.sessions.chat_with_session("talk", "Hello!", stream=True)
    assert turns(client, "talk") == []


def test_the_list_reads_all_pages(client):
    names = [f"s{i}" for i in range(205)]
    for name in names:
        client.sessions.create(name)
    assert [session["name"] for session in client.sessions.list()] == names[::-1]


def test_a_model_is_verified_and_the_task_waited_for(client, server):
    path = server.data_dir.parent / "models" / "tiny.gguf"
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    task = client.tasks.wait(client.models.verify("tiny", sha256)["id"], timeout_s=30)
    assert (task["status"], task["result"]["verified"]) == ("completed", True)
    assert client.tasks.list()[0] == client.tasks.get(task["id"]) == task
    with pytest.raises(offgrid.ApiStatusError) as caught:
        client.tasks.cancel(task["id"])
    assert caught.value.status == 409
    assert client.tasks.delete(task["id"]) is True


def test_waiting_for_a_task_has_an_end(scripted):
    from scripted_server import reply

    scripted.answers = [reply({"status": "running"})]
    with pytest.raises(offgrid.OffGridError, match="still running after 0 s"):
        offgrid.Client(scripted.url).tasks.wait("x", timeout_s=0)
