"""/v1/tasks and /v1/models/verify over HTTP."""

import hashlib
import os
import signal

import pytest
import tiny_models
from running import RunningServer, wait_until

from offgrid.engine.verify import FileChanged, hash_files


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    tiny_models.chat_model(folder / "tiny.gguf")
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory, models):
    running = RunningServer(tmp_path_factory.mktemp("data"), "--models-dir", str(models), "--preload", "false")
    yield running
    assert running.stop() == 0


def finished(server: RunningServer, id: str) -> dict:
    return wait_until(lambda: (task := server.request(f"/v1/tasks/{id}")[2])["completed_at"] and task)


def test_a_model_is_verified_in_the_background(server, models):
    content = (models / "tiny.gguf").read_bytes()
    expected = hashlib.sha256(content).hexdigest()
    for sha256, verified in ((None, None), (expected.upper(), True), ("0" * 64, False)):
        status, _, task = server.request("/v1/models/verify", {"model": "tiny", "sha256": sha256})
        assert (status, task["name"]) == (202, "verify")
        task = finished(server, task["id"])
        assert (task["status"], task["progress"], task["error"]) == ("completed", 100, None)
        assert task["result"] == {
            "model_id": "tiny",
            "size": len(content),
            "sha256": expected,
            "verified": verified,
            "files": [{"file_name": "tiny.gguf", "size": len(content), "sha256": expected}],
        }


def test_tasks_are_listed_cancelled_too_late_and_deleted(server):
    ids = [server.request("/v1/models/verify", {"model": "tiny"})[2]["id"] for _ in range(2)]
    for id in ids:
        finished(server, id)
    answer = server.request("/v1/tasks?limit=2")[2]
    assert [task["id"] for task in answer["tasks"]] == ids[::-1]
    assert answer["count"] == 2 <= answer["total"]
    status, _, answer = server.request(f"/v1/tasks/{ids[0]}/cancel", method="POST")
    assert (status, answer["error"]["code"]) == (409, "task_finished")
    assert server.request(f"/v1/tasks/{ids[0]}", method="DELETE")[2]["success"] is True
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/cancel")):
        status, _, answer = server.request(f"/v1/tasks/{ids[0]}{path}", method=method)
        assert (status, answer["error"]["code"]) == (404, "task_not_found")


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 400, "model"),
        ({"model": "nothing"}, 404, None),
        ({"model": "tiny", "sha256": "abc"}, 400, "sha256"),
        ({"model": "tiny", "md5": "abc"}, 400, "md5"),
    ],
)
def test_a_wrong_question_starts_no_task(server, body, status, param):
    before = server.request("/v1/tasks")[2]["total"]
    answer = server.request("/v1/models/verify", body)
    assert (answer[0], answer[2]["error"]["param"]) == (status, param)
    assert server.request("/v1/tasks")[2]["total"] == before


@pytest.fixture
def endless(models, tmp_path):
    """A folder with a model whose file takes a minute to read, and no room on the disk."""
    folder = tmp_path / "models"
    folder.mkdir()
    path = folder / "endless.gguf"
    path.write_bytes((models / "tiny.gguf").read_bytes())
    os.truncate(path, 100_000_000_000)
    return folder


def verify_endlessly(server: RunningServer) -> str:
    """Id of a task that is at work."""
    status, _, task = server.request("/v1/models/verify", {"model": "endless"})
    assert status == 202, task
    wait_until(lambda: server.request(f"/v1/tasks/{task['id']}")[2]["progress"] > 0)
    return task["id"]


def test_a_task_at_work_is_cancelled_and_not_deleted_before(start_server, endless):
    server = start_server("--models-dir", str(endless), "--preload", "false")
    id = verify_endlessly(server)
    status, _, answer = server.request(f"/v1/tasks/{id}", method="DELETE")
    assert (status, answer["error"]["code"]) == (409, "task_unfinished")
    assert server.request(f"/v1/tasks/{id}/cancel", method="POST")[0] == 200
    assert finished(server, id)["status"] == "cancelled"
    assert server.request(f"/v1/tasks/{id}", method="DELETE")[0] == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_task_that_a_server_did_not_finish_is_interrupted(tmp_path, endless, number):
    flags = (tmp_path / "data", "--models-dir", str(endless), "--preload", "false")
    server = RunningServer(*flags)
    id = verify_endlessly(server)
    server.stop(number)
    again = RunningServer(*flags)
    try:
        task = again.request(f"/v1/tasks/{id}")[2]
        assert (task["status"], task["result"]) == ("interrupted", None)
        assert "server ended" in task["error"]
    finally:
        again.stop()


def test_a_file_that_changes_meanwhile_has_no_hash(tmp_path):
    path = tmp_path / "a.gguf"
    path.write_bytes(b"x" * 10)

    def write(_percent: float) -> None:
        path.write_bytes(b"y" * 10)
        os.utime(path, ns=(0, 0))

    with pytest.raises(FileChanged, match=r"a\.gguf changed"):
        hash_files([path], write)


def test_the_hash_of_several_files_reports_up_to_all_of_them(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b", tmp_path / "empty"]
    for path, content in zip(paths, (b"a" * 3_000_000, b"b", b""), strict=True):
        path.write_bytes(content)
    percents = []
    hashes = hash_files(paths, percents.append)
    assert [h.sha256 for h in hashes] == [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    assert percents == sorted(percents)
    assert percents[-1] == 100
