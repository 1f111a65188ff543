"""The knowledge base where things go wrong: what cannot be text, what is deleted while others work on it, leftovers."""

import http.client
import json
import os
import threading

import pytest
import tiny_models
from running import RunningServer, wait_until

from offgrid.errors import NotFound
from offgrid.rag.knowledge import Knowledge
from offgrid.sections import RagSettings
from offgrid.store.db import Database
from offgrid.store.documents import Documents as Store

WATER = "Water boils at one hundred degrees at sea level."
LONG = "\n\n".join(f"Paragraph {i} tells about water number {i} and nothing else at all." for i in range(400))
HALF = "\ud800"  # of a surrogate pair: JSON can spell it, UTF-8 cannot
FLAGS = ("--rag-chunk-tokens", "24", "--rag-overlap-tokens", "0", "--default-embedding-model", "first")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    (folder / "models").mkdir()
    (folder / "shelf").mkdir()
    for seed, name in enumerate(("first", "second", "third")):
        tiny_models.embedding_model(folder / "models" / f"{name}.gguf", seed=seed)
    places = ("--models-dir", str(folder / "models"), "--rag-roots", str(folder / "shelf"))
    server = RunningServer(folder / "data", *places, *FLAGS)
    server.shelf = folder / "shelf"
    yield server
    assert server.stop() == 0
    assert not [line for line in server.output if "Traceback" in line], "".join(server.output)


@pytest.fixture
def store(server, request):
    made = ask(server, "/lollms/v1/datastores", {"name": request.node.name}, status=201)
    return made["id"]


def ask(server, path: str, body: object = None, *, status: int = 200, method: str | None = None) -> dict:
    found, _, answer = server.request(path, body, method=method)
    assert found == status, (path, answer)
    return answer


def add(server, store: str, name: str, content: str, *, status: int = 200, **more) -> dict:
    body = {"name": name, "content": content, "datastore_id": store, **more}
    return ask(server, "/v1/documents/ingest", body, status=status)


def finished(server, id: str) -> dict:
    wait_until(lambda: ask(server, f"/v1/tasks/{id}")["status"] not in ("pending", "running"), 60)
    return ask(server, f"/v1/tasks/{id}")


def uploads(server) -> list:
    return list((server.data_dir / "uploads").iterdir())


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/documents/delete", {"id": HALF}, "id"),
        ("/v1/documents/search", {"query": "a", "datastore_id": HALF}, "datastore_id"),
        ("/v1/documents/ingest", {"path": f"/{HALF}"}, "path"),
        ("/v1/documents/ingest", {"path": "/a\0b"}, "path"),
        ("/v1/documents/ingest", {"path": "/" + "a" * 300}, "path"),
        ("/v1/documents/ingest", {"name": "a", "content": "a", "metadata": {"k" * 201: "v"}}, "metadata"),
        ("/lollms/v1/rag/query", {"query": "a", "datastore_id": HALF}, "datastore_id"),
        ("/lollms/v1/datastores/STORE/files/batch-delete", {"filenames": [HALF]}, "filenames[0]"),
        ("/lollms/v1/datastores/STORE/share", {"target_username": HALF}, "target_username"),
    ],
)
def test_what_can_be_no_name_is_a_bad_request(server, store, path, body, param):
    error = ask(server, path.replace("STORE", store), body, status=400)["error"]
    assert error["param"] == param


def test_a_file_whose_name_is_not_utf_8_is_named_and_not_a_crash(server, store):
    folder = server.shelf / "strange"
    folder.mkdir()
    with open(os.fsencode(folder) + b"/\xe9t\xe9.txt", "w") as file:
        file.write(WATER)
    error = ask(server, "/v1/documents/ingest", {"path": str(folder), "datastore_id": store}, status=400)["error"]
    assert "is not UTF-8" in error["message"]


def form(server, *parts: tuple[str, str | None, bytes]) -> tuple[int, dict]:
    """Parts are (name, filename, content)."""
    body = b""
    for name, filename, content in parts:
        file = "" if filename is None else f'; filename="{filename}"'
        body += f'--B\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + content + b"\r\n"
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    head = {"Content-Type": "multipart/form-data; boundary=B"}
    connection.request("POST", "/v1/documents/ingest", body + b"--B--\r\n", head)
    answer = connection.getresponse()
    found = json.loads(answer.read())
    connection.close()
    return answer.status, found


def peak_kb(server) -> int:
    with open(f"/proc/{server.process.pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))


def test_fields_that_nobody_knows_take_no_memory(server):
    before = peak_kb(server)
    status, _ = form(server, *((f"field{i}", None, b"a" * (1 << 20)) for i in range(60)))
    assert status == 400  # there is nothing to take in
    assert peak_kb(server) - before < 40_000


def test_one_name_for_several_files_is_refused(server):
    files = [("file", f"{i}.txt", b"water") for i in range(2)]
    status, answer = form(server, ("name", None, b"mine"), *files)
    assert status == 400 and answer["error"]["param"] == "name"
    assert not uploads(server)


def test_what_is_uploaded_is_for_nobody_else_on_the_machine_to_read(server, store):
    asked = {"name": "long.txt", "content": LONG, "background": True}
    task = add(server, store, **asked, status=202)["task"]
    assert {path.stat().st_mode & 0o777 for path in uploads(server)} == {0o600}
    ask(server, f"/v1/tasks/{task['id']}/cancel", {})
    wait_until(lambda: not uploads(server))


def begin(server, store: str, n: int) -> list[str]:
    """Tasks that take in a long document each; all but two wait."""
    asked = [{"name": f"{i}.txt", "content": f"{LONG}{LONG}{i}", "background": True} for i in range(n)]
    return [add(server, store, **one, status=202)["task"]["id"] for one in asked]


def test_a_task_that_is_cancelled_while_it_waits_leaves_nothing(server, store):
    ids = begin(server, store, 4)
    for id in reversed(ids):
        ask(server, f"/v1/tasks/{id}/cancel", {})
    assert {finished(server, id)["status"] for id in ids} == {"cancelled"}
    wait_until(lambda: not uploads(server))


def test_a_store_may_be_deleted_while_documents_come_in(server, store):
    ids = begin(server, store, 4)
    answers = []
    asked = {"name": "now.txt", "content": LONG, "datastore_id": store}
    adding = threading.Thread(target=lambda: answers.append(server.request("/v1/documents/ingest", asked)))
    adding.start()
    wait_until(lambda: len(uploads(server)) == 5)
    ask(server, f"/lollms/v1/datastores/{store}", method="DELETE")
    adding.join()
    assert answers[0][0] == 404
    assert all("log" not in (finished(server, id)["error"] or "") for id in ids)
    wait_until(lambda: not uploads(server))


def test_a_file_that_has_not_changed_is_not_left_among_the_uploads(server, store):
    add(server, store, "water.md", WATER)
    task = add(server, store, "water.md", WATER, replace=True, background=True, status=202)["task"]
    assert finished(server, task["id"])["result"]["added"] == 0
    wait_until(lambda: not uploads(server))


def test_the_model_that_is_chosen_for_an_empty_store_makes_its_vectors(server, store):
    asked = {"embedding_model": "second", "datastore_id": store}
    assert ask(server, "/v1/rag/enable", asked)["embedding_model"] == "second"
    add(server, store, "water.md", WATER)
    assert ask(server, f"/v1/rag/status?datastore_id={store}")["embedding_model"] == "second"


def test_vectors_that_two_tasks_make_at_once_are_whole(server, store):
    for i in range(3):
        add(server, store, f"{i}.txt", f"{LONG[:2500]}{i}")
    asked = {"embedding_model": "second", "datastore_id": store}
    ids = [ask(server, "/v1/rag/enable", asked, status=202)["task"]["id"] for _ in range(2)]
    assert [finished(server, id)["status"] for id in ids] == ["completed"] * 2
    ids = []
    for model in ("third", "first"):
        asked = {"embedding_model": model, "datastore_id": store}
        ids.append(ask(server, "/v1/rag/enable", asked, status=202)["task"]["id"])
    ends = [finished(server, id) for id in ids]
    assert "completed" in [end["status"] for end in ends]
    assert all("Another embedding model" in end["error"] for end in ends if end["status"] == "failed")
    found = ask(server, "/v1/documents/search", {"query": "water", "datastore_id": store, "min_score": -1})
    assert found["mode"] == "hybrid" and found["results"]


def test_one_thread_clears_away_however_many_deletions_there_are(tmp_path):
    db = Database(tmp_path / "offgrid.db")
    knowledge = Knowledge(db, None, None, None, None, RagSettings(), tmp_path)
    has_begun, may_go_on, n_asked = threading.Event(), threading.Event(), []

    class Documents:
        def sweep(self) -> bool:
            n_asked.append(1)
            has_begun.set()
            assert may_go_on.wait(5)
            return False

    knowledge.documents = Documents()
    for _ in range(20):
        knowledge.sweep()
    sweeping = [thread for thread in threading.enumerate() if thread.name == "kb:sweep"]
    assert len(sweeping) == 1 and has_begun.wait(5)
    knowledge.sweep()  # while it works: it looks once more
    may_go_on.set()
    sweeping[0].join(5)
    assert not sweeping[0].is_alive() and len(n_asked) >= 2
    db.close()


def test_what_is_to_be_cleared_away_is_found_without_reading_all_documents(tmp_path):
    db = Database(tmp_path / "offgrid.db")
    asked: list[str] = []
    db._writer.set_trace_callback(asked.append)
    Store(db).sweep()
    db._writer.set_trace_callback(None)
    query = next(statement for statement in asked if statement.startswith("SELECT"))
    assert "documents_by_state" in db.row(f"EXPLAIN QUERY PLAN {query}")["detail"]
    db.close()


def test_a_text_that_was_deleted_while_somebody_asked_for_it_is_not_found(tmp_path):
    db = Database(tmp_path / "offgrid.db")
    with pytest.raises(NotFound):
        Store(db).text(1)
    db.close()


def test_a_long_search_holds_up_nobody_who_only_looks_a_row_up(tmp_path):
    db = Database(tmp_path / "offgrid.db")
    entered, may_go_on = threading.Event(), threading.Event()

    def wait() -> int:
        entered.set()
        return int(may_go_on.wait(5))

    db._searcher.create_function("wait", 0, wait)
    searching = threading.Thread(target=db.search, args=("SELECT wait()",))
    searching.start()
    assert entered.wait(5)
    assert db.row("SELECT 1")[0] == 1
    may_go_on.set()
    searching.join()
    db.close()


def test_a_document_is_deleted_in_the_store_that_the_address_names(server, store):
    ask(server, "/v1/documents/ingest", {"name": "same.md", "content": WATER})
    add(server, store, "same.md", WATER)
    ask(server, f"/v1/documents/delete?id=same.md&datastore_id={store}", {}, method="POST")
    assert ask(server, f"/v1/documents?datastore_id={store}")["total"] == 0
    assert ask(server, "/v1/documents/same.md")["name"] == "same.md"
    error = ask(server, "/v1/documents/delete?id=same.md&store=x", {}, status=400, method="POST")["error"]
    assert error["param"] == "store"
