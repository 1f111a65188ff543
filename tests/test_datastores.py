"""Data stores as LoLLMs' clients manage them, among people who share them; without a model, so by words."""

import json
import sqlite3
import time
import urllib.request

import pytest
from people import People
from running import wait_until

TEXT = "Nobody may be judged twice for the same deed."
BOUNDARY = "----b"


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    with People(tmp_path_factory.mktemp("stores") / "x") as people:
        people.ada, people.bob, people.eve = people.add(), people.add(), people.add()
        people.viewer = people.add("viewer")
        yield people


@pytest.fixture
def store(people):
    """A store of Ada's with one document."""
    body = {"name": f"law {time.monotonic_ns()}", "description": "What is right"}
    made = ask(people, people.ada, "/lollms/v1/datastores", body, status=201)
    body = {"name": "law.txt", "content": TEXT, "datastore_id": made["id"]}
    ask(people, people.ada, "/v1/documents/ingest", body)
    return made["id"]


def ask(people, who, path: str, body: object = None, *, status: int = 200, method: str | None = None):
    found, _, answer = people.request(path, body, headers=who.headers, method=method)
    assert found == status, (path, answer)
    return answer


def query(people, who, store: str, **more) -> list[dict]:
    body = {"datastore_id": store, "query": "Who is judged twice?", "top_k": 5, **more}
    return ask(people, who, "/lollms/v1/rag/query", body)


def finished(people, who, task: str) -> dict:
    deadline = time.monotonic() + 60
    while (found := ask(people, who, f"/api/tasks/{task}"))["status"] in ("pending", "running"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


@pytest.mark.parametrize("place", ["/lollms/v1/datastores", "/api/datastores"])
def test_a_store_is_made_listed_renamed_and_deleted(people, place):
    made = ask(people, people.ada, place, {"name": f"mine {place}", "chunk_size": 64}, status=201)
    assert (made["permission_level"], made["chunk_size"]) == ("owner", 64)
    assert made["owner_username"] == people.ada.username
    assert ask(people, people.ada, place, {"name": made["name"]}, status=409)["error"]["code"] == "datastore_exists"
    renamed = ask(people, people.ada, f"{place}/{made['id']}", {"name": f"ours {place}"}, method="PUT")
    assert renamed["name"] == f"ours {place}" and renamed["id"] == made["id"]
    assert renamed in ask(people, people.ada, place)
    assert ask(people, people.ada, f"{place}/{made['id']}") == renamed
    ask(people, people.ada, f"{place}/{made['id']}", method="DELETE")
    assert ask(people, people.ada, f"{place}/{made['id']}", status=404)["detail"]
    ask(people, people.ada, place, {"name": renamed["name"]}, status=201)  # the name is free again


def test_a_question_is_answered_in_the_words_of_lollms(people, store):
    [found] = query(people, people.ada, store)
    assert found["chunk_text"] == TEXT and (found["start_pos"], found["end_pos"]) == (0, len(TEXT))
    assert found["file_path"] == "law.txt"
    assert found["similarity_percent"] == pytest.approx((found["similarity_score"] + 1) * 50, abs=1e-3)
    path = f"/api/store/{store}/query"
    assert ask(people, people.ada, path, {"query": "Who is judged twice?"}) == [found]
    assert ask(people, people.ada, path, {"query": "judged", "min_similarity_percent": 100}) == [found | {
        "similarity_score": 1.0, "similarity_percent": 100.0}]  # fmt: skip
    assert query(people, people.ada, store, query="Bread and butter") == []


@pytest.mark.parametrize("top_k", [0, -1, 101])
def test_no_number_of_results_empties_the_store(people, store, top_k):
    body = {"datastore_id": store, "query": "judged", "top_k": top_k}
    assert ask(people, people.ada, "/lollms/v1/rag/query", body, status=400)["error"]["param"] == "top_k"


def test_a_store_of_somebody_else_is_not_there(people, store):
    for path, body, method in (
        ("/lollms/v1/rag/query", {"datastore_id": store, "query": "judged"}, None),
        (f"/lollms/v1/datastores/{store}", None, None),
        (f"/lollms/v1/datastores/{store}", None, "DELETE"),
        (f"/lollms/v1/datastores/{store}/share", {"target_username": "eve"}, None),
        (f"/api/store/{store}/files", None, None),
        (f"/api/store/{store}/files/law.txt", None, "DELETE"),
        (f"/v1/documents?datastore_id={store}", None, None),
        (f"/v1/documents/law.txt/content?datastore_id={store}", None, None),
        ("/v1/documents/search", {"query": "judged", "datastore_id": store}, None),
        ("/v1/documents/ingest", {"name": "a.txt", "content": "b", "datastore_id": store}, None),
    ):
        error = ask(people, people.eve, path, body, status=404, method=method)["error"]
        assert error["code"] == "datastore_not_found", path
    assert all(one["id"] != store for one in ask(people, people.eve, "/lollms/v1/rag/databases")["data"])


def test_sharing_lets_others_do_what_its_level_says_and_no_more(people, store):
    share = f"/lollms/v1/datastores/{store}/share"
    ask(people, people.ada, share, {"target_username": people.bob.username}, status=201)
    assert len(query(people, people.bob, store)) == 1
    adding = {"name": "b.txt", "content": "More law.", "datastore_id": store}
    error = ask(people, people.bob, "/v1/documents/ingest", adding, status=403)["error"]
    assert error["code"] == "datastore_level"
    again = {"target_username": people.bob.username, "permission_level": "read_write"}
    ask(people, people.ada, share, again, status=201)
    ask(people, people.bob, "/v1/documents/ingest", adding)
    for path, body, method in (
        (f"/lollms/v1/datastores/{store}", None, "DELETE"),
        (share, {"target_username": people.eve.username}, None),
        ("/v1/rag/disable", {"datastore_id": store}, None),
    ):
        ask(people, people.bob, path, body, status=403, method=method)
    [shared] = ask(people, people.ada, f"/lollms/v1/datastores/{store}/shared-with")
    assert (shared["username"], shared["permission_level"]) == (people.bob.username, "read_write")
    ask(people, people.ada, f"{share}/{people.bob.id}", method="DELETE")
    ask(people, people.bob, f"/lollms/v1/datastores/{store}", status=404)


def test_what_is_shared_with_everybody_is_everybody_s_to_ask_and_can_be_left_by_nobody(people, store):
    ask(people, people.ada, f"/api/datastores/{store}/share", {"target_username": "*"}, status=201)
    for who in (people.bob, people.viewer):
        assert len(query(people, who, store)) == 1
    assert next(s for s in ask(people, people.eve, "/lollms/v1/rag/databases")["data"] if s["id"] == store)["is_public"]
    ask(people, people.bob, f"/api/datastores/{store}/leave", method="DELETE", status=404)
    unknown = {"target_username": "nobody-of-that-name"}
    assert ask(people, people.ada, f"/api/datastores/{store}/share", unknown, status=404)["error"]["param"]


def test_who_leaves_a_shared_store_no_longer_sees_it(people, store):
    ask(people, people.ada, f"/api/datastores/{store}/share", {"target_username": people.bob.username}, status=201)
    ask(people, people.bob, f"/api/datastores/{store}/leave", method="DELETE")
    ask(people, people.bob, f"/api/datastores/{store}", status=404)


def test_files_are_listed_read_and_deleted_by_their_names(people, store):
    files = f"/api/store/{store}/files"
    assert ask(people, people.ada, files) == [{"filename": "law.txt"}]
    assert ask(people, people.ada, f"{files}/content?filename=law.txt") == {"content": TEXT}
    assert ask(people, people.ada, f"/api/store/{store}/details")["chunk_count"] == 1
    gone = ask(people, people.ada, f"{files}/batch-delete", {"filenames": ["law.txt", "other.txt"]})
    assert (gone["deleted_count"], gone["failed_files"]) == (1, ["other.txt"])
    ask(people, people.ada, f"{files}/law.txt", method="DELETE", status=404)
    assert ask(people, people.ada, files) == []


def test_uploaded_files_are_taken_in_by_a_task(people, store):
    head = 'Content-Disposition: form-data; name="files"; filename="{}"\r\nContent-Type: text/plain\r\n\r\n{}'
    parts = [head.format("one.txt", "Bread is baked."), head.format("two.txt", "Water boils.")]
    parts.append('Content-Disposition: form-data; name="manual_metadata_json"\r\n\r\n{"year": 2020}')
    body = "".join(f"--{BOUNDARY}\r\n{part}\r\n" for part in parts) + f"--{BOUNDARY}--\r\n"
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", **people.ada.headers}
    url = f"{people.server.url}/api/store/{store}/upload-files"
    with urllib.request.urlopen(urllib.request.Request(url, body.encode(), headers), timeout=60) as answer:
        assert answer.status == 202
        task = json.loads(answer.read())
    assert (task["total_files"], task["owner_username"]) == (2, people.ada.username)
    done = finished(people, people.ada, task["id"])
    assert (done["status"], done["result"]["added"]) == ("completed", 2)
    assert query(people, people.ada, store, query="bread baked")[0]["document_metadata"] == {"year": "2020"}
    ask(people, people.eve, f"/api/tasks/{task['id']}", status=404)


def test_an_account_that_goes_takes_its_stores_along(people, store):
    leaver = people.add()
    made = ask(people, leaver, "/lollms/v1/datastores", {"name": "to go"}, status=201)["id"]
    ask(people, leaver, "/v1/documents/ingest", {"name": "a.txt", "content": "Secret words.", "datastore_id": made})
    ask(people, leaver, f"/lollms/v1/datastores/{made}/share", {"target_username": people.bob.username}, status=201)
    ask(people, people.ada, f"/lollms/v1/datastores/{store}/share", {"target_username": leaver.username}, status=201)
    assert people.request(f"/v1/users/{leaver.id}", headers=people.admin, method="DELETE")[0] == 200
    ask(people, people.bob, f"/lollms/v1/datastores/{made}", status=404)
    assert ask(people, people.ada, f"/lollms/v1/datastores/{store}/shared-with") == []
    with sqlite3.connect(people.server.data_dir / "offgrid.db") as db:
        wait_until(lambda: db.execute("SELECT count(*) FROM datastores WHERE id = ?", (made,)).fetchone()[0] == 0)
        assert db.execute("SELECT count(*) FROM chunks WHERE text LIKE 'Secret words%'").fetchone()[0] == 0


def test_passages_overlap_by_half_at_most(people):
    sizes = {"chunk_size": 65, "chunk_overlap": 64}
    store = ask(people, people.ada, "/lollms/v1/datastores", {"name": "overlap", **sizes}, status=201)["id"]
    text = " ".join(f"Line {i} is short." for i in range(200))
    body = {"name": "lines.txt", "content": text, "datastore_id": store}
    n_chunks = ask(people, people.ada, "/v1/documents/ingest", body)["document"]["chunks"]
    assert n_chunks < 50  # with nearly all of one in the next: one for each sentence
