"""Loading, unloading, pinning and watching over HTTP: a real server with tiny models, the Python library, the SDK."""

import json
import threading
import urllib.request

import openai
import pytest
import tiny_models
from running import RunningServer, wait_until

import offgrid

pytestmark = pytest.mark.model  # many seconds: each test starts processes of its own

ROOM = ("--ctx-size", "512", "--cache-ram-mb", "0", "--preload", "false", "--keep-alive-interval-s", "0.1")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("one", "two")):
        tiny_models.chat_model(folder / f"{name}.gguf", seed=seed, n_ctx_train=16_384)
    tiny_models.embedding_model(folder / "vectors.gguf")
    whole = (folder / "one.gguf").read_bytes()
    (folder / "bad.gguf").write_bytes(whole.replace(b"</tool_call>", b"<|im_start|>", 1))  # aborts llama.cpp
    return folder


@pytest.fixture
def server(start_server, models) -> RunningServer:
    return start_server("--models-dir", str(models), *ROOM)


@pytest.fixture
def client(server) -> offgrid.Client:
    return offgrid.Client(server.url)


def loaded(server: RunningServer) -> list[str]:
    return sorted(server.request("/health")[2]["models_loaded"])


def entry(client: offgrid.Client, id: str) -> dict:
    return next(model for model in client.list_models() if model["id"] == id)


def test_a_model_is_loaded_and_unloaded_by_hand(server, client):
    answer = client.models.load("one")
    assert answer == {"success": True, "model_id": "one", "state": "loaded", "context_length": 512}
    assert loaded(server) == ["one"]
    assert entry(client, "one")["state"] == "loaded"
    assert client.models.unload("one")["was_loaded"]
    wait_until(lambda: not server.children())
    assert entry(client, "one")["state"] == "not-loaded"
    assert not client.models.unload("one")["was_loaded"]


def test_loading_without_waiting_answers_at_once_and_the_stream_tells_the_rest(server, client):
    status, _, answer = server.request("/v1/models/load", {"model_id": "one", "wait": False})
    assert (status, answer["state"]) == (202, "loading")
    events = list(client.loading.stream("one"))
    assert events[-1]["phase"] == "ready"
    assert [event["progress"] for event in events] == sorted(event["progress"] for event in events)
    assert client.loading.progress() == client.loading.progress("one") == client.models.get_loading_progress("one")
    assert [event["phase"] for event in client.loading.stream("one")] == ["ready"]  # it is over at once


def test_a_stream_that_is_opened_before_the_loading_sees_all_of_it(server):
    phases = []
    is_open = threading.Event()

    def watch() -> None:
        with urllib.request.urlopen(f"{server.url}/v1/loading/progress/stream", timeout=30) as answer:
            for line in answer:
                is_open.set()
                if line.startswith(b"data: "):
                    phases.append(json.loads(line[6:])["phase"])

    thread = threading.Thread(target=watch)
    thread.start()
    assert is_open.wait(10)
    server.chat("Hello!", model="one")
    thread.join(10)
    assert not thread.is_alive()
    assert phases[0] == "idle"
    assert phases[1] == "starting"
    assert phases[-1] == "ready"


def test_a_server_with_an_open_progress_stream_stops(server):
    with urllib.request.urlopen(f"{server.url}/v1/loading/progress/stream", timeout=30) as answer:
        answer.readline()
        assert server.stop() == 0
        assert b"The server is stopping." in answer.read()


def test_a_model_that_cannot_be_loaded_ends_the_stream_and_the_load_with_the_reason(server, client):
    with pytest.raises(offgrid.ApiStatusError, match="bad") as caught:
        client.models.load("bad")
    assert caught.value.code == "engine_crashed"
    progress = client.loading.progress("bad")
    assert progress["phase"] == "failed" and "bad" in progress["error"]
    with pytest.raises(offgrid.StreamBroken, match="bad"):
        list(client.loading.stream("bad"))


def test_a_pinned_model_stays_where_another_needs_the_room(start_server, models):
    server = start_server("--models-dir", str(models), "--ram-budget-mb", "75", *ROOM)
    client = offgrid.Client(server.url, max_retries=0)
    assert client.models.pin("one")["pinned"]
    client.models.load("one")
    assert entry(client, "one")["pinned"]
    with pytest.raises(offgrid.ApiStatusError) as caught:
        client.chat("Hello!", model="two")
    assert (caught.value.status, caught.value.code) == (507, "insufficient_memory")
    assert loaded(server) == ["one"]
    assert not client.models.unpin("one")["pinned"]
    assert client.chat("Hello!", model="two", max_tokens=4)
    assert loaded(server) == ["two"]


def test_a_model_pinned_by_its_settings_is_loaded_at_the_start(start_server, models, tmp_path):
    (tmp_path / "offgrid.yaml").write_text("models: {two: {pinned: true}}\n")
    server = start_server("--config", str(tmp_path / "offgrid.yaml"), "--models-dir", str(models), *ROOM)
    wait_until(lambda: loaded(server) == ["two"], 20)


def test_what_never_fits_says_so_before_it_is_tried(start_server, models):
    server = start_server("--models-dir", str(models), "--ram-budget-mb", "20", *ROOM)
    status, headers, answer = server.request(
        "/v1/chat/completions", {"model": "one", "messages": [{"role": "user", "content": "x"}]}
    )
    assert status == 507
    assert headers["x-should-retry"] == "false"
    assert answer["error"]["code"] == "insufficient_memory"
    assert "20 MB" in answer["error"]["message"]
    assert server.children() == []
    listed = server.request("/v1/models/one")[2]
    assert (listed["fits"], listed["memory_mb"]) == (False, None)


def test_a_file_is_read_ahead_by_its_id_or_its_path(server, client, models):
    assert client.models.prewarm("one")["status"] == "warming"
    for path in ("one.gguf", str(models / "one.gguf")):
        status, _, answer = server.request("/v1/loading/prewarm", {"model_path": path})
        assert (status, answer["model_id"]) == (202, "one")
    assert server.request("/v1/loading/prewarm", {"model_path": "/etc/passwd"})[0] == 404
    assert server.children() == []


def test_refreshing_gives_the_list_with_new_files(server, client, models):
    tiny_models.chat_model(models / "new.gguf")
    try:
        assert "new" in [model["id"] for model in client.models.refresh()]
        assert [m["id"] for m in server.request("/models/refresh", {})[2]["data"]] == [
            m["id"] for m in client.models.list()
        ]
    finally:
        (models / "new.gguf").unlink()


def test_the_cache_statistics_tell_what_is_in_memory(server, client):
    assert client.cache_stats()["loaded_models"] == []
    client.models.load("one", keep_alive="1h")
    stats = client.cache_stats()
    assert client.is_model_cached("one") and not client.is_model_cached("two")
    [flat], [nested] = stats["loaded_models"], stats["model_cache"]["cached_models"]
    assert flat == {"id": "one", "size_mb": nested["reserved_mb"]}
    assert nested["keep_alive_s"] == 3600
    assert 20 < nested["used_mb"] <= 1.1 * nested["reserved_mb"]
    assert stats["cache_size"] == flat["size_mb"] < stats["max_size"]
    assert entry(client, "one")["memory_mb"] == flat["size_mb"]
    assert server.request("/cache/stats")[2]["cache_size"] == stats["cache_size"]


@pytest.mark.parametrize("field", [{"keep_alive": 0}, {"keep_alive": "0s"}, {"ttl": 0}, {"keep_alive": "50ms"}])
def test_keep_alive_and_ttl_pass_through_the_openai_sdk(server, field):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as sdk:
        messages = [{"role": "user", "content": "Hello!"}]
        sdk.chat.completions.create(model="one", messages=messages, max_tokens=4, extra_body={"keep_alive": -1})
        assert loaded(server) == ["one"]
        sdk.chat.completions.create(model="one", messages=messages, max_tokens=4, extra_body=field)
        wait_until(lambda: not server.children(), 10)
        sdk.completions.create(model="one", prompt="Hello", max_tokens=4, extra_body=field)
        sdk.embeddings.create(model="vectors", input="cat", extra_body=field)
        wait_until(lambda: not server.children(), 10)


@pytest.mark.parametrize("value", ["soon", "5 minutes", True, [], "1d"])
def test_a_keep_alive_that_is_no_duration_is_refused_with_what_would_do(server, value):
    status, _, answer = server.request("/v1/models/load", {"model": "one", "keep_alive": value})
    assert (status, answer["error"]["param"]) == (400, "keep_alive")
    assert "5m" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/models/load", {}, "model"),
        ("/v1/models/load", {"model": "one", "model_id": "two"}, "model"),
        ("/v1/models/load", {"model": "one", "keep_alive": 5, "ttl": 6}, "ttl"),
        ("/v1/models/load", {"model": "one", "wiat": True}, "wiat"),
        ("/v1/models/pin", {"model": "one", "pinned": 1}, "pinned"),
        ("/v1/models/unpin", {"model": "one", "pinned": True}, "pinned"),
        ("/v1/loading/prewarm", {}, "model_path"),
        ("/v1/models/refresh", {"x": 1}, "x"),
    ],
)
def test_a_wrong_field_is_named(server, path, body, param):
    status, _, answer = server.request(path, body)
    assert (status, answer["error"]["param"]) == (400, param)


@pytest.mark.parametrize("path", ["load", "unload", "pin", "unpin", "prewarm"])
def test_an_unknown_model_is_a_404(server, path):
    status, _, answer = server.request(f"/v1/models/{path}", {"model": "nothing"})
    assert (status, answer["error"]["code"]) == (404, "model_not_found")
