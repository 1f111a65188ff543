"""The knowledge base outlives kills in the middle of adding, replacing and deleting documents."""

import http.client
import json
import random
import sqlite3
import threading
import time
from pathlib import Path

import pytest
import tiny_models
from running import RunningServer, wait_until

PARAGRAPHS = 6  # each becomes a passage or more of its own
BOUNDARY = "a-boundary"
CONSISTENT = {
    "whole database": "PRAGMA integrity_check",
    "foreign keys": "PRAGMA foreign_key_check",
    "chunks of a found document": "SELECT d.id FROM documents AS d WHERE state = 'ready'"
    " AND n_chunks <> (SELECT count(*) FROM chunks WHERE document = d.number)",
    "vectors of a found document": "SELECT d.id FROM documents AS d JOIN datastores AS s ON s.number = d.store"
    " JOIN vector_spaces AS v ON v.number = s.space WHERE d.state = 'ready' AND NOT EXISTS (SELECT 1 FROM"
    " document_vectors WHERE document = d.number AND space = s.space AND length(data) = 4 * v.n_dim * d.n_chunks)",
    "no vectors of what is not there": "SELECT document FROM document_vectors WHERE document NOT IN"
    " (SELECT number FROM documents)",
    "no halves left beside the whole": "SELECT document FROM vector_parts JOIN documents ON number = document"
    " WHERE state = 'ready'",
}


class Writer:
    """A client that adds, replaces and deletes documents until the server dies, and knows what was acknowledged."""

    def __init__(self, seed: int):
        self.kept: dict[str, str] = {}  # name → the word that only its newest content has
        self.unsure: dict[str, set[str]] = {}  # name → the words it may have, "" for none, as an answer did not arrive
        self.n_acknowledged = 0
        self._random = random.Random(seed)
        self._number = 0

    def work(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            while True:
                self._random.choice((self._add, self._add, self._upload, self._replace, self._delete))()
        except (OSError, http.client.HTTPException, ValueError):
            self.connection.close()

    def _word(self) -> str:
        self._number += 1
        return "w" + "".join(chr(97 + int(digit)) for digit in str(self._number))

    def _add(self) -> None:
        word = self._word()
        self._put(f"{word}.txt", word, replace=False)

    def _replace(self) -> None:
        if sure := [name for name in self.kept if name not in self.unsure]:
            self._put(self._random.choice(sure), self._word(), replace=True)

    def _put(self, name: str, word: str, *, replace: bool) -> None:
        self.unsure.setdefault(name, {self.kept.get(name, "")}).add(word)
        body = {"name": name, "content": content(word), "replace": replace}
        status, answer = self._ask("POST", "/v1/documents/ingest", json.dumps(body), "application/json")
        assert status == 200, answer
        self._settle(name, word)

    def _upload(self) -> None:
        """Two files at once, which are as good as there once their task is accepted."""
        words = [self._word(), self._word()]
        parts = []
        for word in words:
            self.unsure[f"{word}.txt"] = {"", word}
            head = f'Content-Disposition: form-data; name="file"; filename="{word}.txt"\r\n\r\n'
            parts.append(f"--{BOUNDARY}\r\n{head}{content(word)}\r\n")
        body = "".join(parts) + f"--{BOUNDARY}--\r\n"
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        status, answer = self._ask("POST", "/v1/documents/ingest", body, kind)
        assert status == 202, answer
        for word in words:
            self._settle(f"{word}.txt", word)

    def _delete(self) -> None:
        sure = [name for name in self.kept if name not in self.unsure]
        if not sure:
            return
        name = self._random.choice(sure)
        self.unsure[name] = {self.kept[name], ""}
        status, answer = self._ask("DELETE", f"/v1/documents/delete?id={name}")
        assert status in (200, 404), answer  # what a task has not yet taken in is not there to be deleted
        if status == 200:
            del self.kept[name]
        del self.unsure[name]
        self.n_acknowledged += 1

    def _settle(self, name: str, word: str) -> None:
        self.kept[name] = word
        self.unsure.pop(name, None)
        self.n_acknowledged += 1

    def _ask(self, method: str, path: str, body: str | None = None, kind: str = "") -> tuple[int, dict]:
        self.connection.request(method, path, body, {"Content-Type": kind} if kind else {})
        with self.connection.getresponse() as answer:
            return answer.status, json.load(answer)


def content(word: str) -> str:
    return "\n\n".join(f"Paragraph {i} of {word} says that {word} is here." for i in range(PARAGRAPHS))


def check_file(data: Path) -> None:
    """What a killed server has left is consistent, before anybody mends it."""
    database = sqlite3.connect(data / "offgrid.db")
    try:
        for what, question in CONSISTENT.items():
            found = [row for row in database.execute(question) if row != ("ok",)]
            assert not found, (what, found[:5])
        database.execute("INSERT INTO chunk_words (chunk_words) VALUES ('integrity-check')")
    finally:
        database.close()


def check_server(server: RunningServer, writer: Writer) -> None:
    """Everything that was acknowledged is found, as it was acknowledged, and nothing else."""
    wait_until(lambda: not busy(server), 60)
    listed = {}
    while page := server.request(f"/v1/documents?limit=1000&offset={len(listed)}")[2]["documents"]:
        listed |= {one["name"]: one for one in page}
    for name, words in writer.unsure.items():  # whatever became of it is now known
        text = text_of(server, name) if name in listed else ""
        word = next(word for word in words if (word in text.split() if word else not text))
        writer.kept.pop(name, None)
        if word:
            writer.kept[name] = word
    writer.unsure.clear()
    assert listed.keys() == writer.kept.keys()
    for name, word in writer.kept.items():
        assert text_of(server, name) == content(word)
    sample = random.Random(0).sample(sorted(writer.kept.items()), min(10, len(writer.kept)))
    for name, word in sample:
        for mode in ("keyword", "vector"):
            body = {"query": f"{word} is here", "mode": mode, "filter": {"documents": [name]}, "min_score": -1}
            status, _, found = server.request("/v1/documents/search", body)
            assert status == 200 and found["mode"] == mode, found
            assert found["results"] and all(word in hit["chunk"]["content"] for hit in found["results"])


def busy(server: RunningServer) -> bool:
    tasks = server.request("/v1/tasks?limit=1000")[2]["tasks"]
    assert not any(task["status"] == "failed" for task in tasks), tasks
    return any(task["status"] in ("pending", "running") for task in tasks)


def text_of(server: RunningServer, name: str) -> str:
    status, _, found = server.request(f"/v1/documents/{name}/content")
    assert status == 200, found
    return found["content"]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("n_kills", [2, pytest.param(100, marks=pytest.mark.full)])
def test_every_acknowledged_document_outlives_kills_and_none_is_half_there(tmp_path, n_kills):
    tiny_models.embedding_model(tmp_path / "vectors.gguf")
    chunks = ("--rag-chunk-tokens", "32", "--rag-overlap-tokens", "0")
    flags = (tmp_path / "data", "--models-dir", str(tmp_path), *chunks)
    writer, moments = Writer(seed=n_kills), random.Random(n_kills)
    for _ in range(n_kills):
        server = RunningServer(*flags)
        check_server(server, writer)
        n_before = writer.n_acknowledged
        thread = threading.Thread(target=writer.work, args=(server.port,))
        thread.start()
        wait_until(lambda n=n_before: writer.n_acknowledged > n, 60)
        time.sleep(moments.uniform(0, 0.4))  # a random moment is what is tested
        server.process.kill()
        thread.join()
        server.process.wait()
        check_file(tmp_path / "data")
    server = RunningServer(*flags)
    check_server(server, writer)
    assert not list((tmp_path / "data" / "uploads").iterdir())
    assert writer.kept and server.stop() == 0
