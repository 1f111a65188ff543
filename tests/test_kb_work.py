"""The knowledge base at work: other models' vectors, models that are missing, restarts, and many at once."""

import http.client
import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import tiny_models
from running import RunningServer, wait_until

WATER = "Water boils at one hundred degrees at sea level."
LONG = "\n\n".join(f"Paragraph {i} tells about water number {i} and nothing else at all." for i in range(400))
SMALL_CHUNKS = ("--rag-chunk-tokens", "24", "--rag-overlap-tokens", "0")


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    tiny_models.embedding_model(folder / "first.gguf")
    return folder


@pytest.fixture
def start(tmp_path, models):
    """Starts a server on the same data each time; all are stopped at the end."""
    started = []

    def begin(*flags: str) -> RunningServer:
        started.append(RunningServer(tmp_path / "data", "--models-dir", str(models), *flags))
        return started[-1]

    yield begin
    for server in started:
        if server.process.poll() is None:
            assert server.stop() == 0


def ask(server, path: str, body: object = None, *, status: int = 200, method: str | None = None) -> dict:
    found, _, answer = server.request(path, body, method=method)
    assert found == status, (path, answer)
    return answer


def add(server, name: str, content: str, *, status: int = 200, **more) -> dict:
    return ask(server, "/v1/documents/ingest", {"name": name, "content": content, **more}, status=status)


def search(server, query: str, **more) -> dict:
    return ask(server, "/v1/documents/search", {"query": query, "min_score": -1, **more})


def finished(server, id: str) -> dict:
    wait_until(lambda: ask(server, f"/v1/tasks/{id}")["status"] not in ("pending", "running"), 100)
    return ask(server, f"/v1/tasks/{id}")


def test_without_an_embedding_model_words_are_searched_and_the_answer_says_so(start, models):
    (models / "first.gguf").unlink()
    server = start()
    add(server, "water.md", WATER)
    found = search(server, "When does water boil?")
    assert found["mode"] == "keyword" and "no embedding model" in found["note"]
    assert found["results"][0]["document_name"] == "water.md" and 0 < found["results"][0]["score"] <= 1
    tiny_models.embedding_model(models / "late.gguf")
    assert "/v1/rag/enable" in search(server, "water")["note"]
    task = ask(server, "/v1/rag/enable", {}, status=202)["task"]
    assert finished(server, task["id"])["result"]["documents"] == 1
    found = search(server, "When does water boil?")
    assert found["mode"] == "hybrid" and "note" not in found


def test_another_model_s_vectors_are_made_while_the_old_ones_are_searched(start, models):
    tiny_models.embedding_model(models / "second.gguf", seed=7)
    server = start("--default-embedding-model", "first")
    for i in range(30):
        add(server, f"water{i}.md", f"{WATER} This is number {i}.")
    before = {hit["document_name"]: hit["score"] for hit in search(server, "water", top_k=30)["results"]}
    task = ask(server, "/v1/rag/enable", {"embedding_model": "second"}, status=202)["task"]
    add(server, "late.md", "Ice melts at zero degrees.")
    assert search(server, "water")["mode"] == "hybrid"
    assert finished(server, task["id"])["status"] == "completed"
    status = ask(server, "/v1/rag/status")
    assert status["embedding_model"] == "second" and status["stats"]["document_count"] == 31
    after = {hit["document_name"]: hit["score"] for hit in search(server, "water", top_k=31, mode="vector")["results"]}
    assert after.keys() == before.keys() | {"late.md"}
    assert any(abs(after[name] - before[name]) > 1e-3 for name in before)
    assert ask(server, "/v1/rag/enable", {})["embedding_model"] == "second"  # it keeps to the model that it has
    assert ask(server, "/v1/rag/enable", {"embedding_model": "chat"}, status=404)["error"]["code"] == "model_not_found"


def test_vectors_of_another_file_of_that_name_are_not_compared(start, models):
    server = start()
    add(server, "water.md", WATER)
    assert search(server, "water")["mode"] == "hybrid"
    assert server.stop() == 0
    tiny_models.embedding_model(models / "first.gguf", seed=7)
    server = start()
    found = search(server, "water")
    assert found["mode"] == "keyword" and "another file" in found["note"]
    assert "another file" in add(server, "ice.md", "Ice melts.", status=409)["error"]["message"]
    finished(server, ask(server, "/v1/rag/enable", {}, status=202)["task"]["id"])
    assert search(server, "water")["mode"] == "hybrid"
    add(server, "ice.md", "Ice melts.")


def test_work_that_a_kill_has_ended_goes_on_without_doing_again_what_was_done(start):
    server = start(*SMALL_CHUNKS)
    asked = {"name": "long.txt", "content": LONG, "background": True}
    task = ask(server, "/v1/documents/ingest", asked, status=202)["task"]
    wait_until(lambda: ask(server, f"/v1/tasks/{task['id']}")["progress"] > 10, 60)
    server.process.kill()
    server.process.wait()
    server = start(*SMALL_CHUNKS)
    first = ask(server, f"/v1/tasks/{task['id']}")
    assert first["status"] in ("pending", "running", "completed")
    done = finished(server, task["id"])
    assert done["status"] == "completed" and done["result"]["added"] == 1
    assert ask(server, "/v1/documents/long.txt/content")["content"] == LONG
    found = search(server, "paragraph 399", top_k=1, mode="keyword")
    assert "Paragraph 399" in found["results"][0]["chunk"]["content"]


def test_a_cancelled_task_leaves_nothing(start):
    server = start(*SMALL_CHUNKS)
    asked = {"name": "long.txt", "content": LONG * 4, "background": True}
    task = ask(server, "/v1/documents/ingest", asked, status=202)["task"]
    wait_until(lambda: ask(server, f"/v1/tasks/{task['id']}")["status"] == "running", 60)
    ask(server, f"/v1/tasks/{task['id']}/cancel", {})
    assert finished(server, task["id"])["status"] == "cancelled"
    assert ask(server, "/v1/documents")["total"] == 0
    assert not list((server.data_dir / "uploads").iterdir())
    add(server, "long.txt", WATER)  # the name is free


def test_who_hangs_up_before_the_answer_has_added_nothing(start):
    server = start(*SMALL_CHUNKS)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    body = json.dumps({"name": "long.txt", "content": LONG * 4})
    connection.request("POST", "/v1/documents/ingest", body, {"Content-Type": "application/json"})
    wait_until(lambda: list((server.data_dir / "uploads").glob("*")), 60)
    connection.close()
    wait_until(lambda: not list((server.data_dir / "uploads").glob("*")), 60)
    assert ask(server, "/v1/documents")["total"] == 0
    add(server, "long.txt", WATER)


def test_adding_deleting_and_asking_at_once_is_safe(start):
    server = start()
    add(server, "stays.md", WATER)
    ends_at = time.monotonic() + 4
    failures: list = []

    def write(worker: int) -> None:
        i = 0
        while time.monotonic() < ends_at:
            name = f"{worker}-{i}.md"
            add(server, name, f"Note {i} of writer {worker} about water.")
            if i % 2:
                add(server, name, f"Note {i} of writer {worker}, anew.", replace=True)
            if i % 3 == 0:
                ask(server, f"/v1/documents/delete?id={name}", method="DELETE")
            i += 1

    def look() -> None:
        while time.monotonic() < ends_at:
            found = search(server, "water at sea level", top_k=50)
            names = [hit["document_name"] for hit in found["results"]]
            if "stays.md" not in names or len(names) != len(set(names)):
                failures.append(names)

    with ThreadPoolExecutor(5) as people:
        for done in [*(people.submit(write, i) for i in range(3)), people.submit(look), people.submit(look)]:
            done.result()
    assert not failures
    stats = ask(server, "/v1/rag/status")["stats"]
    assert stats["document_count"] == ask(server, "/v1/documents")["total"]
    hits = search(server, "note", top_k=100, mode="vector")["results"]
    assert len(hits) == min(100, stats["chunk_count"])


def test_a_store_that_is_deleted_while_documents_come_in_takes_them_along(start):
    server = start(*SMALL_CHUNKS)
    store = ask(server, "/lollms/v1/datastores", {"name": "short-lived"}, status=201)["id"]
    asked = {"name": "long.txt", "content": LONG, "background": True, "datastore_id": store}
    task = ask(server, "/v1/documents/ingest", asked, status=202)["task"]
    wait_until(lambda: ask(server, f"/v1/tasks/{task['id']}")["status"] == "running", 60)
    ask(server, f"/lollms/v1/datastores/{store}", method="DELETE")
    done = finished(server, task["id"])
    assert done["status"] in ("completed", "failed")
    ask(server, f"/v1/documents?datastore_id={store}", status=404)
    assert not list((server.data_dir / "uploads").iterdir())


def test_switched_off_by_its_setting_everything_says_so(start):
    server = start("--rag", "false")
    for path, body in (
        ("/v1/rag/status", None),
        ("/v1/documents", None),
        ("/v1/documents/search", {"query": "water"}),
        ("/v1/documents/ingest", {"name": "a.md", "content": "b"}),
        ("/lollms/v1/rag/databases", None),
        ("/lollms/v1/datastores", {"name": "a"}),
    ):
        assert ask(server, path, body, status=403)["error"]["code"] == "rag_disabled"


def test_a_copy_of_the_data_folder_is_a_copy_of_the_knowledge(start, models, tmp_path):
    server = start()
    add(server, "water.md", WATER)
    assert server.stop() == 0
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    server = RunningServer(tmp_path / "copy", "--models-dir", str(models))
    assert search(server, "water")["results"][0]["document_name"] == "water.md"
    assert server.stop() == 0
