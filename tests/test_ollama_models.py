"""Models of one's own: copied, made, sent, taken in from a path, deleted; on every surface, and after a restart."""

import hashlib
import http.client
import json
import os

import pytest
import tiny_models
from faults import running_app
from ollama_cases import GREEDY, HELLO, ask, models

from offgrid.engine.model_files import ModelFolder


@pytest.fixture
def folder(tmp_path):
    return models(tmp_path / "models")


@pytest.fixture
def app(folder, tmp_path):
    with running_app(folder, tmp_path / "data") as app:
        yield app


def post(app, path: str, body: object, method: str = "POST") -> tuple[int, object]:
    status, kind, content = ask(app.server.server_port, method, path, body)
    lines = [json.loads(line) for line in content.splitlines()] if "json" in kind else []
    return status, (lines if "ndjson" in kind else lines[0] if lines else None)


def names(app) -> set[str]:
    return {model["name"] for model in post(app, "/api/tags", None, "GET")[1]["models"]}


def prompt_of(app, model: str) -> str:
    """What the model is given for a greeting."""
    status, answer = post(app, "/apply-template", {"model": model, "messages": HELLO})
    assert status == 200, answer
    return answer["prompt"]


def create(app, **body) -> object:
    status, answer = post(app, "/api/create", {"stream": False, **body})
    assert (status, answer) == (200, {"status": "success"})


def test_a_copy_is_a_model_on_every_surface_and_needs_no_worker_of_its_own(app):
    assert post(app, "/api/copy", {"source": "tiny", "destination": "gpt-4o"}) == (200, None)
    for path in ("/v1/chat/completions", "/ollama/v1/chat/completions"):
        status, answer = post(app, path, {"model": "gpt-4o", "messages": HELLO, "temperature": 0})
        assert (status, answer["model"], answer["choices"][0]["message"]["content"]) == (200, "gpt-4o", "Hi there!")
    status, answer = post(app, "/api/chat", {"model": "gpt-4o", "messages": HELLO, "stream": False, "options": GREEDY})
    assert (status, answer["message"]["content"]) == (200, "Hi there!")
    assert [worker.model_id for worker in app.pool.workers] == ["tiny"]
    ids = {model["id"]: model["state"] for model in post(app, "/v1/models", None, "GET")[1]["data"]}
    assert ids["gpt-4o"] == ids["tiny"] == "loaded"
    assert app.default_model("chat").id == "caller"  # a file: nobody gets a made one without asking for it


def test_a_made_model_has_its_system_message_template_and_parameters_everywhere(app):
    create(
        app,
        model="teacher",
        system="Be kind.",
        template="{{ .System }}|{{ .Prompt }}|",
        parameters={"num_predict": 1, "temperature": 0, "stop": ["§"]},
        license="MIT",
        **{"from": "tiny"},
    )
    assert prompt_of(app, "teacher") == "Be kind.|Hello!|"
    status, answer = post(app, "/v1/chat/completions", {"model": "teacher", "messages": HELLO})
    assert (status, answer["choices"][0]["message"]["content"]) == (200, "Hi")
    shown = post(app, "/api/show", {"model": "teacher"})[1]
    assert (shown["system"], shown["license"], shown["details"]["parent_model"]) == ("Be kind.", "MIT", "tiny")
    lines = dict(line.split(None, 1) for line in shown["parameters"].splitlines())
    assert lines == {"temperature": "0.0", "num_predict": "1", "stop": '"§"'}
    assert "FROM tiny\n" in shown["modelfile"] and "PARAMETER num_predict 1\n" in shown["modelfile"]


def test_a_model_made_of_a_made_one_has_its_settings_too(app):
    create(app, model="a", system="A.", parameters={"num_predict": 1}, **{"from": "tiny"})
    create(app, model="b:v1", system="B.", **{"from": "a"})
    own = app.config.engine.models["b:v1"]
    assert (own.system_prompt, own.max_tokens) == ("B.", 1)
    assert names(app) >= {"a:latest", "b:v1"}


def test_a_file_can_be_given_settings_under_its_own_name(app):
    create(app, model="tiny", system="Tiny.", **{"from": "tiny"})
    assert "Tiny." in prompt_of(app, "tiny")
    assert len([name for name in names(app) if name.startswith("tiny")]) == 1
    create(app, model="tiny", system="Tinier.", **{"from": "tiny:latest"})
    assert "Tinier." in prompt_of(app, "tiny")


def test_what_was_made_is_there_after_a_restart_and_can_be_deleted(folder, tmp_path):
    with running_app(folder, tmp_path / "data") as app:
        create(app, model="teacher", system="Be kind.", parameters={"stop": ["x"]}, **{"from": "tiny"})
    with running_app(folder, tmp_path / "data") as app:
        assert "Be kind." in prompt_of(app, "Teacher:latest")
        assert app.config.engine.models["teacher"].stop == ("x",)
        assert post(app, "/api/delete", {"model": "teacher"}, "DELETE") == (200, None)
        assert "teacher:latest" not in names(app)
    with running_app(folder, tmp_path / "data") as app:
        assert "teacher:latest" not in names(app)
        assert (folder / "tiny.gguf").exists()


def test_a_name_of_a_file_is_not_given_to_another_model(app):
    status, answer = post(app, "/api/copy", {"source": "tiny", "destination": "caller"})
    assert status == 409 and "caller is the name of a model file" in answer["error"]


def test_a_deleted_file_is_gone(app, folder):
    assert post(app, "/api/delete", {"model": "tiny"}, "DELETE") == (200, None)
    assert not (folder / "tiny.gguf").exists() and "tiny:latest" not in names(app)


def test_to_copy_and_then_to_delete_renames_a_file(app, folder):
    data = (folder / "tiny.gguf").read_bytes()
    assert post(app, "/api/copy", {"source": "tiny", "destination": "mine"})[0] == 200
    assert post(app, "/api/delete", {"name": "tiny"}, "DELETE") == (200, None)
    assert not (folder / "tiny.gguf").exists() and (folder / "mine.gguf").read_bytes() == data
    assert "tiny:latest" not in names(app) and "mine:latest" in names(app)
    assert prompt_of(app, "mine") and app.variants.get("mine") is None  # a file like any other
    assert post(app, "/api/delete", {"model": "mine"}, "DELETE") == (200, None)
    assert not (folder / "mine.gguf").exists()


def test_what_was_made_of_a_file_outlives_its_deletion_and_a_restart(folder, tmp_path):
    with running_app(folder, tmp_path / "data") as app:
        create(app, model="tiny", system="Tiny.", **{"from": "tiny"})
        create(app, model="teacher", system="Be kind.", **{"from": "tiny"})
        create(app, model="judge:v2", system="Be strict.", **{"from": "tiny"})
        assert "Be kind." in prompt_of(app, "teacher")
        assert post(app, "/api/delete", {"model": "tiny"}, "DELETE") == (200, None)
        before = names(app)
    with running_app(folder, tmp_path / "data") as app:
        assert names(app) == before and {"teacher:latest", "judge:v2"} < before and "tiny:latest" not in before
        assert "Be kind." in prompt_of(app, "teacher") and "Be strict." in prompt_of(app, "judge:v2")
        assert not (folder / "tiny.gguf").exists()
        for name in ("judge:v2", "teacher"):
            assert post(app, "/api/delete", {"model": name}, "DELETE") == (200, None)
        assert [name for name in names(app) if name.startswith(("teacher", "judge"))] == []
        assert not (folder / "teacher.gguf").exists()


def test_a_split_file_in_a_folder_is_renamed_with_all_its_parts(app, folder):
    (folder / "sub").mkdir()
    for number in (1, 2):
        (folder / "sub" / f"big-0000{number}-of-00002.gguf").write_bytes(b"GGUF")
    model = next(model for model in app.catalog.scan() if model.id == "sub/big")
    assert app.model_folder.name_also(model, "new") == "sub/new"
    app.model_folder.delete(model)
    assert {path.name for path in (folder / "sub").iterdir()} == {f"new-0000{n}-of-00002.gguf" for n in (1, 2)}


def test_a_file_is_not_renamed_to_the_name_of_another(app, folder):
    before = {path.name: path.read_bytes() for path in folder.glob("*.gguf")}
    assert post(app, "/api/copy", {"source": "tiny", "destination": "x:y"})[0] == 200
    (folder / "x-y.gguf").write_bytes(b"another")
    status, answer = post(app, "/api/delete", {"model": "tiny"}, "DELETE")
    assert status == 409 and "x-y" in answer["error"]
    assert {path.name: path.read_bytes() for path in folder.glob("*.gguf")} == {**before, "x-y.gguf": b"another"}


def test_a_name_that_could_mean_several_models_is_answered_with_them(app, folder):
    for kind in ("Q4_0", "Q8_0"):
        (folder / f"twin-{kind}.gguf").write_bytes((folder / "tiny.gguf").read_bytes())
    asked = [
        ("POST", "/api/show", {"model": "twin"}),
        ("POST", "/api/chat", {"model": "twin:latest", "messages": HELLO}),
    ]
    asked += [
        ("DELETE", "/api/delete", {"model": "twin"}),
        ("POST", "/api/copy", {"source": "twin", "destination": "x"}),
    ]
    for method, path, body in asked:
        status, answer = post(app, path, body, method)
        assert status == 404 and "twin-Q4_0" in answer["error"] and "twin-Q8_0" in answer["error"]


def test_a_broken_file_can_be_deleted(app, folder):
    (folder / "broken.gguf").write_bytes(b"GGUF")
    assert post(app, "/api/delete", {"model": "broken"}, "DELETE") == (200, None)
    assert not (folder / "broken.gguf").exists()


def test_a_file_outside_of_the_folder_is_never_deleted(app, folder, tmp_path):
    outside = tmp_path / "stick"
    outside.mkdir()
    tiny_models.chat_model(outside / "far.gguf")
    (folder / "usb").symlink_to(outside)
    (folder / "linked.gguf").symlink_to(outside / "far.gguf")
    status, answer = post(app, "/api/delete", {"model": "usb/far"}, "DELETE")
    assert status == 403 and "only read from" in answer["error"]
    assert post(app, "/api/delete", {"model": "linked"}, "DELETE")[0] == 200  # the link
    assert (outside / "far.gguf").exists() and not (folder / "linked.gguf").exists()


def test_a_busy_model_is_not_deleted(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    tiny_models.chat_model(folder / "endless.gguf", n_ctx_train=16_384)
    with running_app(folder, tmp_path / "data") as app:
        connection = http.client.HTTPConnection("127.0.0.1", app.server.server_port, timeout=30)
        body = {"model": "endless", "messages": HELLO, "options": {"num_predict": 10_000}}
        connection.request("POST", "/api/chat", json.dumps(body))
        answer = connection.getresponse()
        answer.readline()
        assert post(app, "/api/delete", {"model": "endless"}, "DELETE")[0] == 503
        answer.close()
        connection.close()
        assert (folder / "endless.gguf").exists()


# --- files that come in ---


def test_a_file_of_the_machine_is_pulled_with_progress_and_can_be_asked(app, folder, tmp_path):
    source = tmp_path / "new.gguf"
    tiny_models.scripted_model(source, ["New"])
    status, lines = post(app, "/api/pull", {"model": str(source)})
    assert status == 200 and lines[-1] == {"status": "success"}
    sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
    copied = [line for line in lines if line["status"] == f"pulling {sha256[:12]}"]
    n_bytes = source.stat().st_size
    assert copied[-1] == {
        "status": f"pulling {sha256[:12]}",
        "completed": n_bytes,
        "digest": f"sha256:{sha256}",
        "total": n_bytes,
    }
    assert (folder / "new.gguf").read_bytes() == source.read_bytes()
    status, answer = post(app, "/api/chat", {"model": "new", "messages": HELLO, "stream": False, "options": GREEDY})
    assert answer["message"]["content"] == "New"
    assert sorted(path.name for path in folder.glob(".*")) == []


def test_a_folder_is_pulled_and_what_is_there_already_is_not_copied_again(app, folder, tmp_path):
    stick = tmp_path / "a stick"
    stick.mkdir()
    tiny_models.chat_model(stick / "one.gguf")
    (stick / "two.GGUF").write_bytes((stick / "one.gguf").read_bytes())
    (stick / "notes.txt").write_text("no model")
    for _ in range(2):
        assert post(app, "/api/pull", {"model": f"file://{stick}".replace(" ", "%20"), "stream": False}) == (
            200,
            {"status": "success"},
        )
    assert {"one.gguf", "two.GGUF"} <= {path.name for path in folder.iterdir()}


def test_another_file_of_the_same_name_is_not_overwritten(app, folder, tmp_path):
    before = (folder / "tiny.gguf").read_bytes()
    tiny_models.chat_model(tmp_path / "tiny.gguf", seed=7)
    status, lines = post(app, "/api/pull", {"model": str(tmp_path / "tiny.gguf")})
    assert status == 200 and "is there already" in lines[-1]["error"]
    assert post(app, "/api/pull", {"model": str(tmp_path / "tiny.gguf"), "stream": False})[0] == 409
    assert (folder / "tiny.gguf").read_bytes() == before


def test_a_broken_file_is_not_pulled(app, folder, tmp_path):
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + bytes(100))
    status, answer = post(app, "/api/pull", {"model": str(tmp_path / "bad.gguf")})
    assert status == 400 and answer["error"].startswith("bad.gguf is a GGUF file of version 0")
    assert not (folder / "bad.gguf").exists()


def test_what_a_power_cut_left_half_written_is_removed_and_what_is_being_written_is_not(tmp_path):
    source = tiny_models.chat_model(tmp_path / "x.gguf")
    folder = ModelFolder(tmp_path / "models")
    sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
    folder.path.mkdir()
    (folder.path / ".old.gguf.part").write_bytes(b"half")
    with folder.arriving("a.gguf", 100) as first:
        with folder.arriving("b.gguf", 100) as second:
            assert {path.name for path in folder.path.iterdir()} == {".a.gguf.part", ".b.gguf.part"}
            second.copy(source, lambda n_bytes: None)
            second.settle(sha256)
        first.copy(source, lambda n_bytes: None)
        first.settle(sha256)
    assert {path.name for path in folder.path.iterdir()} == {"a.gguf", "b.gguf"}


def send(app, data: bytes, digest: str = "", **headers: str) -> int:
    digest = digest or hashlib.sha256(data).hexdigest()
    return ask(app.server.server_port, "POST", f"/api/blobs/sha256:{digest}", data, **headers)[0]


def test_a_file_is_sent_and_a_model_made_of_it(app, folder, tmp_path):
    data = tiny_models.scripted_model(tmp_path / "sent.gguf", ["Sent"]).read_bytes()
    path = f"/api/blobs/sha256:{hashlib.sha256(data).hexdigest()}"
    assert ask(app.server.server_port, "HEAD", path)[0] == 404
    assert (send(app, data), send(app, data)) == (201, 200)
    assert ask(app.server.server_port, "HEAD", path)[0] == 200
    files = {"sent.gguf": path.rpartition("/")[2]}
    create(app, model="mine:v2", files=files, system="Short.")
    assert (folder / "mine-v2.gguf").read_bytes() == data
    status, answer = post(app, "/api/chat", {"model": "mine:v2", "messages": HELLO, "stream": False, "options": GREEDY})
    assert (status, answer["message"]["content"]) == (200, "Sent")
    assert "Short." in prompt_of(app, "mine:v2")
    assert ask(app.server.server_port, "HEAD", path)[0] == 404  # it is the model now


def test_a_file_of_another_hash_is_refused_and_leaves_nothing(app):
    assert send(app, b"some bytes", digest="0" * 64) == 400
    assert list(app.blobs.folder.iterdir()) == []


def test_a_file_may_be_larger_than_other_bodies(folder, tmp_path):
    with running_app(folder, tmp_path / "data") as app:
        data = os.urandom(1024) * (33 * 1024)
        assert len(data) > app.config.server.max_body_bytes
        assert send(app, data) == 201
        assert app.blobs.path(hashlib.sha256(data).hexdigest()).stat().st_size == len(data)


def test_what_is_no_model_makes_none(app):
    data = b"no model at all"
    assert send(app, data) == 201
    files = {"a.gguf": f"sha256:{hashlib.sha256(data).hexdigest()}"}
    status, answer = post(app, "/api/create", {"model": "x", "files": files})
    assert status == 400 and "is not a GGUF file" in answer["error"]


def test_blobs_without_a_model_go_after_a_day(app):
    assert send(app, b"bytes") == 201
    path = app.blobs.path(hashlib.sha256(b"bytes").hexdigest())
    sent_at = path.stat().st_mtime
    (path.parent / "sha256-0-0.part").write_bytes(b"half")
    app.blobs.sweep(86_400, sent_at + 86_000)
    assert list(path.parent.iterdir()) == [path]
    app.blobs.sweep(86_400, sent_at + 86_500)
    assert list(path.parent.iterdir()) == []


def test_a_page_of_another_origin_may_not_use_any_content_type(app):
    body = json.dumps({"model": "tiny"}).encode()
    port = app.server.server_port
    assert ask(port, "POST", "/api/show", body, **{"Content-Type": "text/plain"})[0] == 200
    own = {"Origin": f"http://127.0.0.1:{port}"}
    assert ask(port, "POST", "/api/show", body, **own, **{"Content-Type": "text/plain"})[0] == 415
    assert ask(port, "POST", "/api/show", body, Origin="http://evil.example")[0] == 403


def test_the_context_of_an_answer_goes_on_with_its_conversation(app):
    body = {"model": "tiny", "prompt": "Hello!", "stream": False, "options": GREEDY}
    first = post(app, "/api/generate", body)[1]
    second = post(app, "/api/generate", {**body, "prompt": "And?", "context": first["context"]})[1]
    status, whole = post(
        app,
        "/api/chat",
        {
            **body,
            "prompt": None,
            "messages": [*HELLO, {"role": "assistant", "content": "Hi there!"}, {"role": "user", "content": "And?"}],
        },
    )
    assert status == 400 and "prompt" in whole["error"]
    turns = json.loads(bytes(second["context"]))
    assert turns == [["user", "Hello!"], ["assistant", "Hi there!"], ["user", "And?"], ["assistant", "Hi there!"]]
    assert second["prompt_eval_count"] > first["prompt_eval_count"]


def test_a_model_that_is_loaded_for_five_minutes_says_when_it_goes(app):
    assert post(app, "/api/chat", {"model": "tiny", "keep_alive": "5m"})[1]["done_reason"] == "load"
    [model] = post(app, "/api/ps", None, "GET")[1]["models"]
    assert (model["name"], model["size_vram"]) == ("tiny:latest", 0)
    assert model["size"] > 0 and model["context_length"] >= 4096
    assert app.pool.workers[0].keep_alive_s == 300


def test_ollamas_own_program_sends_every_field_also_empty_ones(app):
    """As Go writes its ShowRequest, CreateRequest, PullRequest, EmbedRequest, ChatRequest."""
    show = {"model": "tiny", "system": "", "template": "", "verbose": False, "options": None, "name": ""}
    assert post(app, "/api/show", show)[1]["capabilities"] == ["completion", "tools"]
    pull = {"model": "tiny", "name": "", "username": "", "password": "", "insecure": False, "stream": False}
    assert post(app, "/api/pull", pull) == (200, {"status": "success"})
    create(app, model="made", name="", quantization="", modelfile="", path="", requires="0.12.0", **{"from": "tiny"})
    embed = {"model": "embedder", "input": "x", "options": None}
    assert post(app, "/api/embed", embed)[0] == 200
    chat = {"model": "made", "messages": HELLO, "options": None, "stream": False, "_debug_render_only": False}
    assert post(app, "/api/chat", chat)[0] == 200
