"""A server that is killed while a file comes in: no half a model is ever one, and nothing is left of it."""

import hashlib
import http.client
import json
import os
from pathlib import Path

import pytest
import tiny_models
from running import RunningServer, wait_until

N_BYTES = 50 << 20
MOST_GROWTH_KB = 30_000


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A model file that takes a moment: behind its last tensor it goes on."""
    path = tiny_models.chat_model(tmp_path_factory.mktemp("stick") / "large.gguf")
    with open(path, "ab") as file:
        file.write(os.urandom(1 << 20) * (N_BYTES >> 20))
    return path


class Machine:
    """A server over one data folder and one models' folder, started again after each kill."""

    def __init__(self, tmp_path: Path):
        self.data, self.models = tmp_path / "data", tmp_path / "models"
        self.models.mkdir()
        self.start()

    def start(self) -> None:
        self.server = RunningServer(self.data, "--models-dir", str(self.models))

    def kill(self) -> None:
        self.server.process.kill()
        self.server.stop()

    def names(self) -> list[str]:
        return [model["name"] for model in self.server.request("/api/tags")[2]["models"]]

    def leftovers(self) -> list[str]:
        """What is in the folders besides whole models and blobs."""
        files = [*self.models.iterdir(), *(self.data / "blobs").glob("*")]
        return [path.name for path in files if path.name.endswith(".part")]

    def kill_at(self, path: str, body: dict, moment: str) -> None:
        """Kill the server when its answer has told of `moment`, or has come to its end."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        for line in connection.getresponse():
            status = json.loads(line)["status"]
            if status.startswith(moment):
                break
        self.kill()
        connection.close()


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path)
    yield machine
    machine.server.stop()


def upload(port: int, source: Path, n_bytes: int) -> http.client.HTTPConnection:
    """Send so much of a file as a blob; the answer is still to be read."""
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.putrequest("POST", f"/api/blobs/sha256:{digest}")
    connection.putheader("Content-Length", str(source.stat().st_size))
    connection.endheaders()
    with open(source, "rb") as file:
        while n_bytes and (piece := file.read(min(n_bytes, 1 << 20))):
            connection.send(piece)
            n_bytes -= len(piece)
    return connection


@pytest.mark.parametrize("moment", ["reading", "pulling ", "verifying", "success"])
def test_a_kill_in_a_pull_leaves_the_whole_model_or_nothing(machine, source, moment):
    machine.kill_at("/api/pull", {"model": str(source)}, moment)
    machine.start()
    assert machine.leftovers() == []
    target = machine.models / source.name
    assert machine.names() == (["large:latest"] if target.exists() else [])
    if target.exists():
        assert target.read_bytes() == source.read_bytes()
    assert target.exists() or moment != "success"
    assert machine.server.request("/api/pull", {"model": str(source), "stream": False})[0] == 200
    assert machine.names() == ["large:latest"]


def test_a_kill_in_an_upload_leaves_nothing_and_it_can_be_sent_again(machine, source):
    connection = upload(machine.server.port, source, N_BYTES // 2)
    wait_until(lambda: any(path.stat().st_size for path in (machine.data / "blobs").glob("*.part")))
    machine.kill()
    connection.close()
    assert len(machine.leftovers()) == 1
    machine.start()
    assert list((machine.data / "blobs").iterdir()) == []
    connection = upload(machine.server.port, source, source.stat().st_size)
    assert connection.getresponse().status == 201
    connection.close()
    assert [path.stat().st_size for path in (machine.data / "blobs").iterdir()] == [source.stat().st_size]


@pytest.mark.parametrize("moment", ["parsing", "creating system", "success"])
def test_a_kill_while_a_model_is_made_of_a_blob_leaves_the_blob_or_the_model(machine, source, moment):
    connection = upload(machine.server.port, source, source.stat().st_size)
    assert connection.getresponse().status == 201
    connection.close()
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    body = {"model": "made", "files": {"large.gguf": f"sha256:{digest}"}, "system": "Be brief."}
    machine.kill_at("/api/create", body, moment)
    machine.start()
    assert machine.leftovers() == []
    blob, model = machine.data / "blobs" / f"sha256-{digest}", machine.models / "made.gguf"
    assert blob.exists() != model.exists()
    assert machine.names() == (["made:latest"] if model.exists() else [])
    [whole] = [path for path in (blob, model) if path.exists()]
    assert whole.read_bytes() == source.read_bytes()
    if moment == "success":
        assert machine.server.request("/api/show", {"model": "made"})[2]["system"] == "Be brief."


def test_what_an_earlier_life_left_is_removed_at_the_start(tmp_path):
    machine = Machine(tmp_path)
    machine.kill()
    (machine.models / ".old.gguf.part").write_bytes(b"half")
    machine.start()
    assert machine.leftovers() == []
    machine.server.stop()


@pytest.mark.full
def test_a_large_upload_is_not_held_in_memory(machine, tmp_path):
    large = tmp_path / "large"
    with open(large, "wb") as file:
        for _ in range(300):
            file.write(os.urandom(1 << 20))
    machine.names()
    before_kb = memory_kb(machine, "VmRSS")
    connection = upload(machine.server.port, large, large.stat().st_size)
    assert connection.getresponse().status == 201
    connection.close()
    grown_kb = memory_kb(machine, "VmHWM") - before_kb
    assert grown_kb < MOST_GROWTH_KB


def memory_kb(machine: Machine, name: str) -> int:
    status = Path(f"/proc/{machine.server.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(name + ":"))
