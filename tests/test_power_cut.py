"""What was acknowledged is there after the server was killed in the middle of its work.

A kill shows that nothing is acknowledged before it is committed. What it cannot show, that a commit waits for the disk,
is asked of SQLite.
"""

import http.client
import itertools
import json
import threading

import pytest
from running import RunningServer, wait_until

from offgrid.store.db import Database

FULL = 2
PATH = "/v1/sessions/diary/messages"


def append_until_it_dies(server: RunningServer, acknowledged: list[str], prefix: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    for number in itertools.count():
        body = {"role": "user", "content": f"{prefix} {number}"}
        try:
            connection.request("POST", PATH, json.dumps(body), {"Content-Type": "application/json"})
            with connection.getresponse() as answer:
                is_kept = json.load(answer)["success"] is True
        except (OSError, http.client.HTTPException, ValueError):
            break
        assert is_kept
        acknowledged.append(body["content"])
    connection.close()


def test_a_commit_waits_for_the_disk(tmp_path):
    db = Database(tmp_path / "offgrid.db")
    with db.write() as sql:
        assert sql.execute("PRAGMA synchronous").fetchone()[0] == FULL
        assert sql.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    db.close()


@pytest.mark.parametrize("n_times", [3, pytest.param(20, marks=pytest.mark.full)])
def test_every_acknowledged_message_outlives_a_kill(tmp_path, n_times):
    flags = (tmp_path / "data", "--models-dir", str(tmp_path))
    acknowledged: list[str] = []
    for life in range(n_times):
        server = RunningServer(*flags)
        server.request("/v1/sessions", {"name": "diary"})
        kept = [m["content"] for m in server.request("/v1/sessions/diary")[2]["messages"]]
        # In their order, each once; besides them at most the one of each life whose answer did not arrive.
        assert [text for text in kept if text in set(acknowledged)] == acknowledged
        assert len(set(kept)) == len(kept) <= len(acknowledged) + life
        n_before = len(acknowledged)
        writer = threading.Thread(target=append_until_it_dies, args=(server, acknowledged, str(life)))
        writer.start()
        wait_until(lambda n=n_before + 5 + 7 * life: len(acknowledged) >= n)
        server.process.kill()
        writer.join()
        server.stop()
    server = RunningServer(*flags)
    kept = [m["content"] for m in server.request("/v1/sessions/diary")[2]["messages"]]
    assert [text for text in kept if text in set(acknowledged)] == acknowledged
    assert len(kept) <= len(acknowledged) + n_times
    server.stop()
