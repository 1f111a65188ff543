"""/v1/documents and /v1/rag on a server with a tiny embedding model: what comes in, is found, and goes."""

import http.client
import io
import json
import time
import zipfile

import pytest
import tiny_models
from running import RunningServer

WATER = "# Water\n\nWater boils at one hundred degrees at sea level. On a mountain it boils sooner."
BREAD = "# Bread\n\nBread is baked from flour and yeast in a hot oven. Let the dough rest before."
BOUNDARY = "a-boundary"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kb")
    tiny_models.embedding_model(folder / "vectors.gguf")
    (folder / "docs").mkdir()
    flags = ("--models-dir", str(folder), "--rag-roots", str(folder / "docs"), "--rag-max-file-bytes", "1000000")
    server = RunningServer(folder / "data", *flags)
    server.docs = folder / "docs"
    yield server
    assert server.stop() == 0


@pytest.fixture
def store(server):
    """A fresh data store's id."""
    status, _, made = server.request("/lollms/v1/datastores", {"name": f"store {time.monotonic_ns()}"})
    assert status == 201
    return made["id"]


def ask(server, path: str, body: object = None, *, status: int = 200, method: str | None = None) -> dict:
    found, _, answer = server.request(path, body, method=method)
    assert found == status, answer
    return answer


def add(server, store: str, name: str, content: str, *, status: int = 200, **more) -> dict:
    body = {"name": name, "content": content, "datastore_id": store, **more}
    return ask(server, "/v1/documents/ingest", body, status=status)


def search(server, store: str, query: str, **more) -> list[dict]:
    return ask(server, "/v1/documents/search", {"query": query, "datastore_id": store, **more})["results"]


def upload(server, path: str, files: list[tuple[str, bytes]], **fields: str) -> tuple[int, dict]:
    parts = [f'Content-Disposition: form-data; name="{n}"\r\n\r\n{value}'.encode() for n, value in fields.items()]
    for name, data in files:
        head = f'Content-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: text/plain\r\n\r\n'
        parts.append(head.encode() + data)
    body = b"".join(b"--a-boundary\r\n" + part + b"\r\n" for part in parts) + b"--a-boundary--\r\n"
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("POST", path, body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"})
    answer = connection.getresponse()
    found = answer.status, json.loads(answer.read())
    connection.close()
    return found


def finished(server, task: dict) -> dict:
    deadline = time.monotonic() + 60
    while (task := ask(server, f"/v1/tasks/{task['id']}"))["status"] in ("pending", "running"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return task


# --- coming in ---


def test_a_text_is_found_by_its_words_with_its_place_in_the_document(server, store):
    document = add(server, store, "water.md", WATER, metadata={"year": 2020})["document"]
    assert (document["chunks"], document["content_type"]) == (1, "text/markdown")
    assert document["metadata"]["year"] == "2020"
    add(server, store, "bread.md", BREAD)
    best = search(server, store, "water boils mountain")[0]
    assert best["document_name"] == "water.md" and best["document_id"] == document["id"]
    chunk = best["chunk"]
    assert WATER[chunk["start_char"] : chunk["end_char"]] == chunk["content"]
    assert chunk["heading"] == "Water"


def test_files_of_a_form_are_taken_in_and_several_of_them_in_the_background(server, store):
    status, answer = upload(server, "/v1/documents/ingest", [("water.md", WATER.encode())], datastore_id=store)
    assert status == 200 and answer["document"]["name"] == "water.md"
    files = [("bread.md", BREAD.encode()), ("empty.md", b" \n"), ("photo.png", b"\x89PNG\r\n\x1a\n" + bytes(100))]
    status, answer = upload(server, "/v1/documents/ingest", files, datastore_id=store)
    assert status == 202
    task = finished(server, answer["task"])
    assert task["status"] == "completed"
    assert (task["result"]["added"], task["result"]["n_failed"]) == (1, 2)
    assert [failure["name"] for failure in task["result"]["failed"]] == ["empty.md", "photo.png"]
    assert not list((server.data_dir / "uploads").iterdir())


def test_an_office_document_is_read_by_what_it_is(server, store):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.text")
        names = "".join(
            f' xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "text")
        )
        text = "<text:p>Dough must rest before baking.</text:p>"
        content = f"<office:document-content{names}><office:body><office:text>{text}</office:text></office:body>"
        archive.writestr("content.xml", content + "</office:document-content>")
    status, answer = upload(server, "/v1/documents/ingest", [("dough.odt", made.getvalue())], datastore_id=store)
    assert status == 200, answer
    assert "Dough must rest" in search(server, store, "dough rest")[0]["chunk"]["content"]


def test_a_folder_is_taken_in_whole_and_later_only_what_has_changed(server, store):
    (server.docs / "deep").mkdir(exist_ok=True)
    (server.docs / "water.md").write_text(WATER)
    (server.docs / "deep" / "bread.md").write_text(BREAD)
    (server.docs / ".hidden.md").write_text("hidden")
    (server.docs / "link.md").symlink_to("/etc/passwd")
    asked = {"path": str(server.docs), "datastore_id": store}
    task = finished(server, ask(server, "/v1/documents/ingest", asked, status=202)["task"])
    assert task["result"]["added"] == 2 and task["result"]["n_failed"] == 0
    (server.docs / "water.md").write_text(WATER + " Salt makes it boil later.")
    task = finished(server, ask(server, "/v1/documents/ingest", asked, status=202)["task"])
    assert task["result"]["added"] == 1
    listed = ask(server, f"/v1/documents?datastore_id={store}")["documents"]
    assert {one["name"] for one in listed} == {"water.md", "deep/bread.md"}
    assert "Salt" in search(server, store, "salt water boil")[0]["chunk"]["content"]


@pytest.mark.parametrize("path", ["/etc/passwd", "docs", "{docs}/../data/offgrid.db", "{docs}/link.md"])
def test_only_what_is_below_a_root_is_taken_in_by_path(server, store, path):
    link = server.docs / "link.md"
    if not link.is_symlink():
        link.symlink_to("/etc/passwd")
    asked = {"path": path.format(docs=server.docs), "datastore_id": store}
    assert "rag.roots" in ask(server, "/v1/documents/ingest", asked, status=403)["error"]["message"]


def test_addresses_are_not_fetched_unless_the_settings_say_so(server, store):
    for path in ("/v1/documents/ingest", "/v1/documents/ingest-url"):
        error = ask(server, path, {"url": "http://127.0.0.1/", "datastore_id": store}, status=403)["error"]
        assert "rag.fetch_urls" in error["message"]


def test_the_same_content_is_not_kept_twice_and_another_of_that_name_only_when_it_is_to_replace(server, store):
    first = add(server, store, "water.md", WATER)["document"]
    assert add(server, store, "again.md", WATER, status=409)["error"]["code"] == "duplicate_document"
    assert add(server, store, "water.md", BREAD, status=409)["error"]["code"] == "document_exists"
    second = add(server, store, "water.md", BREAD, replace=True)["document"]
    assert second["id"] != first["id"]
    assert [one["id"] for one in ask(server, f"/v1/documents?datastore_id={store}")["documents"]] == [second["id"]]
    assert all("boils" not in hit["chunk"]["content"] for hit in search(server, store, "water boils", min_score=-1))


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"name": "a.md"}, None),
        ({"content": "text"}, "name"),
        ({"name": "a.md", "content": ""}, "content"),
        ({"name": "a.md", "content": "text", "url": "http://a/"}, None),
        ({"name": "a.md", "content": "text", "metadata": {"a": []}}, "metadata.a"),
        ({"name": "a.md", "content": "text", "colour": 1}, "colour"),
        ({"name": "a.md", "content": "\ud800"}, "content"),
        ({"name": 7, "content": "text"}, "name"),
    ],
)
def test_a_wrong_field_is_named(server, store, body, param):
    assert ask(server, "/v1/documents/ingest", body | {"datastore_id": store}, status=400)["error"]["param"] == param


def test_a_file_that_is_too_large_is_refused_and_leaves_nothing(server, store):
    status, answer = upload(server, "/v1/documents/ingest", [("big.txt", b"a " * 600_000)], datastore_id=store)
    assert status == 413 and "rag.max_file_bytes" in answer["error"]["message"]
    assert not list((server.data_dir / "uploads").iterdir())


def test_a_form_that_ends_too_early_leaves_nothing(server, store):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    body = b'--a-boundary\r\nContent-Disposition: form-data; name="file"; filename="a.md"\r\n\r\nhalf of'
    connection.request(
        "POST", "/v1/documents/ingest", body, {"Content-Type": "multipart/form-data; boundary=a-boundary"}
    )
    answer = connection.getresponse()
    assert answer.status == 400 and b"last boundary" in answer.read()
    connection.close()
    assert not list((server.data_dir / "uploads").iterdir())


# --- finding ---


def test_filters_choose_by_document_by_note_and_by_date(server, store):
    water = add(server, store, "water.md", WATER, metadata={"kind": "physics"})["document"]
    add(server, store, "bread.md", BREAD, metadata={"kind": "kitchen"})
    for chosen in ({"document_filter": ["bread.md"]}, {"filter": {"metadata": {"kind": "kitchen"}}}):
        hits = search(server, store, "water boils", min_score=-1, **chosen)
        assert {hit["document_name"] for hit in hits} == {"bread.md"}
    assert search(server, store, "water", filter={"documents": [water["id"]]}, min_score=-1)
    assert search(server, store, "water", filter={"added_after": "2999-01-01T00:00:00Z"}, min_score=-1) == []
    assert search(server, store, "water", filter={"added_before": 0}, min_score=-1) == []


def test_the_score_is_the_cosine_whichever_way_a_passage_was_found(server, store):
    add(server, store, "water.md", WATER)
    add(server, store, "bread.md", BREAD)
    by_mode = {
        mode: {hit["document_name"]: hit["score"] for hit in search(server, store, "yeast", mode=mode, min_score=-1)}
        for mode in ("hybrid", "vector")
    }
    assert by_mode["hybrid"] == pytest.approx(by_mode["vector"], abs=1e-5)
    assert search(server, store, "yeast", min_score=1) == []


HOSTILE = [
    '"', "'", "*", "a*", "-", "NEAR(a b)", "a AND", "OR", "NOT a", "(", ")", "^a", "words : a", "store : s1",
    "{a b} : c", "a\x00b", "\x00", "\ufffe", "😀" * 500, "a" * 100_000, "a " * 1000,
    "'; DROP TABLE chunks; --", "%", "_", "\\", "?", "\u202e", "١٢٣", "ﬁ", "a:b", "a-b", "+a", "a^2", "[a]",
    "$1", "@x", "#", "~", "`a`", "<a>", "a,b;c", "\n\t\r", "日本語の質問", "हिन्दी", "ไทย", "العربية", "עברית",
    "한국어", "e\u0301", "\u0301", "AND OR NOT", "NEAR", "null", "true", "0", "-1", "1e999", "\\u0000", "%00",
    "../../etc", "{}", "[]", "a" * 50 + "*", '""""', '"a" "b', "a\u2028b", "\ud83d",
]  # fmt: skip


@pytest.mark.parametrize("mode", ["hybrid", "keyword"])
def test_no_question_is_syntax_and_none_breaks_the_search(server, store, mode):
    add(server, store, "water.md", WATER)
    for query in HOSTILE:
        status, _, answer = server.request(
            "/v1/documents/search", {"query": query, "datastore_id": store, "mode": mode}
        )
        is_refused = query == "\ud83d" or len(query) > 10_000
        assert status == (400 if is_refused else 200), (query[:50], answer)


# --- going, and being switched off ---


def test_a_deleted_document_is_found_no_more_and_deleting_it_again_is_an_error(server, store):
    add(server, store, "water.md", WATER)
    by_id = add(server, store, "bread.md", BREAD)["document"]["id"]
    ask(server, f"/v1/documents/delete?id=water.md&datastore_id={store}", method="DELETE")
    ask(server, "/v1/documents/delete", {"id": by_id, "datastore_id": store})
    assert search(server, store, "water bread", min_score=-1) == []
    error = ask(server, f"/v1/documents/{by_id}?datastore_id={store}", method="DELETE", status=404)["error"]
    assert error["code"] == "document_not_found"
    add(server, store, "water.md", WATER)  # what is gone is no duplicate


def test_a_store_that_is_switched_off_answers_nothing_and_keeps_everything(server, store):
    add(server, store, "water.md", WATER)
    assert ask(server, "/v1/rag/disable", {"datastore_id": store})["enabled"] is False
    error = ask(server, "/v1/documents/search", {"query": "water", "datastore_id": store}, status=409)["error"]
    assert error["code"] == "rag_disabled" and "/v1/rag/enable" in error["message"]
    assert ask(server, "/v1/rag/enable", {"datastore_id": store})["enabled"] is True
    assert search(server, store, "water")


def test_status_tells_how_much_there_is_and_what_can_be_read(server, store):
    add(server, store, "water.md", WATER)
    status = ask(server, f"/v1/rag/status?datastore_id={store}")
    assert (status["enabled"], status["embedding_model"]) == (True, "vectors")
    assert status["stats"]["document_count"] == status["stats"]["chunk_count"] == 1
    assert {"PDF", "Word document"} <= {form["name"] for form in status["formats"]}
    assert "note" not in status


def test_a_body_may_be_chunked_json_too(server, store):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    body = json.dumps({"name": "water.md", "content": WATER, "datastore_id": store}).encode()
    connection.request(
        "POST", "/v1/documents/ingest", iter([body[:20], body[20:]]), {"Content-Type": "application/json"},
        encode_chunked=True,
    )  # fmt: skip
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    connection.close()
