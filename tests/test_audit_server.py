"""The audit log of a running server: what is recorded and what never is, who may read it, and the command line."""

import csv
import json
import signal
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from audit_bench import findings, opened
from running import REPO, RunningServer, wait_until

from offgrid.store.audit_repeats import N_SINGLY

pytestmark = pytest.mark.model  # many seconds: each test starts processes of its own

KEY = "canary-of-the-shared-key"
SECRETS = ("canary-of-the-shared-key", "canary-of-a-wrong-key", "canary-of-a-header", "canary-of-a-password")
PROMPT = "canary-of-a-prompt"
BEARER = {"Authorization": f"Bearer {KEY}"}


def events(server: RunningServer, query: str = "", **headers) -> list[dict]:
    status, _, answer = server.request(f"/v1/admin/audit{query}", headers=headers or None)
    assert status == 200, answer
    return answer["data"]


def actions(server: RunningServer, **headers) -> list[str]:
    return [event["action"] for event in reversed(events(server, **headers))]


def cli(server: RunningServer, *words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(REPO / "offgrid.py"), "audit", *words, "--data-dir", str(server.data_dir)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=server.data_dir, check=False)


@pytest.fixture
def server(start_server, tmp_path) -> RunningServer:
    return start_server("--models-dir", str(tmp_path / "none"))


def test_what_changes_something_is_recorded_and_reading_is_not(server):
    server.request("/v1/models")
    server.request("/v1/models/refresh", {}, headers={"x-request-id": "mine-1"})
    server.request("/v1/models/nothing")
    server.request("/nowhere", {})
    server.request("/v1/models/load", {"model": "nothing"})
    wait_until(lambda: actions(server) == ["server start", "POST /v1/models/refresh", "POST /v1/models/load"])
    load, refresh, start = events(server)
    assert start["detail"]["version"]
    assert (refresh["status"], refresh["code"], refresh["request_id"]) == (200, "", "mine-1")
    assert (refresh["name"], refresh["role"], refresh["address"]) == ("local", "admin", "127.0.0.1")
    assert (load["status"], load["code"]) == (404, "model_not_found")
    assert refresh["at"].endswith("Z") and refresh["took_ms"] >= 0
    assert refresh["seq"] == 2


def test_a_stop_and_the_next_start_are_rows_of_one_chain(server, start_server, tmp_path):
    assert server.stop() == 0
    db, log = opened(server.data_dir)
    assert [row.entry.action for row in log.newest(5)] == ["server stop", "server start"]
    assert findings(log) == []
    db.close()
    for file in ("offgrid.db", "audit.key", "audit.head"):
        assert (server.data_dir / file).stat().st_mode & 0o077 == 0
    again = RunningServer(server.data_dir, "--models-dir", str(tmp_path / "none"))
    wait_until(lambda: actions(again) == ["server start", "server stop", "server start"])
    assert again.request("/v1/admin/audit/verify")[2]["ok"]
    again.stop()


def test_a_refusal_is_on_the_disk_before_it_is_answered(start_server, tmp_path):
    server = start_server("--models-dir", str(tmp_path), "--api-key", KEY)
    assert server.request("/v1/models", headers={"Authorization": "Bearer canary-of-a-wrong-key"})[0] == 401
    assert server.request("/v1/models")[0] == 401
    assert server.request("/health", {}, headers={"Origin": "http://evil.example"})[0] == 403
    server.stop(signal.SIGKILL)
    db, log = opened(server.data_dir)
    refused = [row.entry for row in log.newest(10) if row.entry.status]
    assert [(e.action, e.status, e.code, e.name) for e in reversed(refused)] == [
        ("GET /v1/models", 401, "invalid_api_key", ""),
        ("GET /v1/models", 401, "missing_api_key", ""),
        ("POST", 403, "", ""),
    ]
    assert {e.address for e in refused} == {"127.0.0.1"}
    assert findings(log) == []
    db.close()


def test_a_flood_of_wrong_keys_does_not_fill_the_disk(start_server, tmp_path):
    server = start_server("--models-dir", str(tmp_path), "--api-key", KEY)
    for n in range(60):
        assert server.request(f"/v1/models/{n}", headers={"x-api-key": "wrong"})[0] == 401
    assert server.stop() == 0
    db, log = opened(server.data_dir)
    rows = [row.entry for row in log.newest(100) if row.entry.status == 401]
    assert [e.target for e in reversed(rows[1:])] == [str(n) for n in range(N_SINGLY)]
    assert json.loads(rows[0].detail) == {"times": 50}
    db.close()


# --- what is never written ---


def written_into(folder: Path, *texts: str) -> set[str]:
    """Which of these stand in any file below the folder."""
    content = b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
    return {text for text in texts if text.encode() in content}


def send_canaries(server: RunningServer) -> None:
    head = {"x-api-key": "canary-of-a-wrong-key", "Cookie": "s=canary-of-a-header"}
    server.request("/v1/models", headers=head)
    asked = {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 4}
    server.request("/v1/chat/completions", asked, headers={**BEARER, "Cookie": "s=canary-of-a-header"})
    server.request("/v1/completions", {"prompt": PROMPT, "max_tokens": 4}, headers=BEARER)
    server.request("/v1/embeddings", {"input": PROMPT}, headers=BEARER)
    login = {"username": "admin", "password": "canary-of-a-password", "messages": "canary-of-a-password"}
    server.request("/v1/auth/login", login, headers=BEARER)
    server.request("/v1/models/load", login, headers=BEARER)


@pytest.mark.parametrize("prompts", [False, True], ids=["without log.prompts", "with log.prompts"])
def test_no_secret_is_written_into_any_file_and_prompts_only_where_a_setting_asks_for_it(
    start_server, endless_models, prompts
):
    flags = ("--models-dir", str(endless_models), "--cache-disk-mb", "0", "--log-prompts", str(prompts))
    server = start_server(*flags, env={"OFFGRID_API_KEY": KEY})
    send_canaries(server)
    assert written_into(server.data_dir, *SECRETS) == set()
    server.stop()
    assert written_into(server.data_dir, *SECRETS) == set()
    assert written_into(server.data_dir, PROMPT) == ({PROMPT} if prompts else set())
    db, log = opened(server.data_dir)
    chats = [row.entry for row in log.newest(50) if row.entry.action == "POST /v1/chat/completions"]
    [detail] = [json.loads(e.detail) for e in chats]
    assert detail["model"] == "tiny"
    assert ("asked" in detail) == prompts
    assert sum("asked" in row.entry.detail for row in log.newest(50)) == (3 if prompts else 0)
    db.close()
    assert ("written into the audit log" in "".join(server.output)) == prompts


def test_a_long_prompt_is_kept_up_to_a_bound_and_its_length_is_said(start_server, tmp_path):
    server = start_server("--models-dir", str(tmp_path), "--log-prompts", "true")
    text = "ü\ud800" + "é" * 100_000
    server.request("/v1/chat/completions", {"messages": [{"role": "user", "content": text}]})
    [event] = wait_until(lambda: events(server, "?action=chat"))
    assert len(event["detail"]["asked"].encode()) <= 16 * 1024
    assert event["detail"]["asked"].startswith('[{"role": "user", "content": "ü?éé')
    assert event["detail"]["asked_bytes"] > 200_000


# --- an answer that fails in the middle, a client that leaves ---


def test_a_client_that_left_and_the_model_it_used_are_recorded(tiny_server):
    body = json.dumps({"messages": [{"role": "user", "content": "Hi"}], "stream": True}).encode()
    with socket.create_connection(("127.0.0.1", tiny_server.port)) as client:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        client.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert client.recv(1000)
    [left] = wait_until(lambda: [e for e in events(tiny_server) if e["status"] == 499])
    assert left["detail"] == {"model": "tiny"}


def test_an_error_inside_a_stream_is_recorded_with_its_code(tiny_server):
    body = json.dumps({"messages": [{"role": "user", "content": "Hi"}], "stream": True}).encode()
    with socket.create_connection(("127.0.0.1", tiny_server.port)) as client:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        client.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        received = client.recv(1000)
        while b'"content":"' not in received:
            received += client.recv(1000)
        [worker] = tiny_server.children()
        subprocess.run(["kill", "-9", str(worker)], check=True)
        [failed] = wait_until(lambda: [e for e in events(tiny_server) if e["code"] == "engine_crashed"])
    assert failed["status"] == 200


def test_which_model_was_pinned_is_recorded(tiny_server):
    tiny_server.request("/v1/models/pin", {"model": "tiny"})
    [event] = wait_until(lambda: events(tiny_server, "?action=pin"))
    assert event["detail"] == {"model": "tiny", "pinned": True}


# --- reading it ---


def test_the_list_goes_on_page_by_page_and_is_narrowed(server):
    for _ in range(5):
        server.request("/v1/models/refresh", {})
    wait_until(lambda: len(events(server)) == 6)
    status, _, page = server.request("/v1/admin/audit?limit=4")
    assert (status, page["object"], [e["seq"] for e in page["data"]]) == (200, "list", [6, 5, 4, 3])
    assert page["next_before"] == 3
    rest = server.request("/v1/admin/audit?limit=4&before=3")[2]
    assert ([e["seq"] for e in rest["data"]], rest["next_before"]) == ([2, 1], None)
    assert [e["seq"] for e in events(server, "?action=start")] == [1]
    assert len(events(server, "?user=local&action=refresh")) == 5
    assert events(server, "?user=nobody") == []


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "before=-1", "before=%D9%A1", "usr=me"])
def test_a_wrong_question_is_refused_with_its_name(server, query):
    status, _, answer = server.request(f"/v1/admin/audit?{query}")
    assert (status, answer["error"]["param"]) == (400, query.partition("=")[0])


def test_a_changed_row_shows_in_the_list_and_in_the_check(server):
    server.request("/v1/models/refresh", {})
    wait_until(lambda: len(events(server)) == 2)
    verified = server.request("/v1/admin/audit/verify")[2]
    assert (verified["ok"], verified["rows"], verified["head"]["seq"]) == (True, 2, 2)
    with sqlite3.connect(server.data_dir / "offgrid.db") as db:
        db.execute("UPDATE audit SET detail = 'no json', at_ms = 9000000000000000000 WHERE seq = 2")
    db.close()
    assert events(server)[0]["detail"] is None
    verified = server.request("/v1/admin/audit/verify")[2]
    assert not verified["ok"]
    assert "row 2" in verified["findings"][0]
    assert "9000000000000000000" in cli(server, "show").stdout


def test_without_the_setting_nothing_is_recorded(start_server, tmp_path):
    server = start_server("--models-dir", str(tmp_path), env={"OFFGRID_AUDIT_LOG": "false"})
    server.request("/v1/models/refresh", {})
    assert server.request("/health")[2]["audit"] == "off"
    assert server.request("/v1/admin/audit")[2]["data"] == []
    server.stop()
    assert not (server.data_dir / "audit.key").exists()


def test_health_says_whether_the_log_is_written(server):
    assert server.request("/health")[2]["audit"] == "ok"


# --- the command line ---


def test_the_command_line_shows_checks_and_exports_beside_a_running_server_and_without_it(server, tmp_path):
    server.request("/v1/models/refresh", {})
    wait_until(lambda: len(events(server)) == 2)
    for is_running in (True, False):
        if not is_running:
            server.stop()
        shown = cli(server, "show", "--only", "refresh", "--user", "local", "--since", "1h")
        assert shown.returncode == 0, shown.stderr
        [line] = shown.stdout.splitlines()
        assert "POST /v1/models/refresh" in line and "127.0.0.1" in line and line.startswith("2  ")
        verified = cli(server, "verify")
        assert (verified.returncode, verified.stderr) == (0, "")
        assert "as it was written" in verified.stdout
    out = tmp_path / "audit.jsonl"
    assert cli(server, "export", "--out", str(out)).returncode == 0
    assert out.stat().st_mode & 0o077 == 0
    assert cli(server, "export").stdout == out.read_text()
    assert "File exists" in cli(server, "export", "--out", str(out)).stderr
    assert cli(server, "verify", "--file", str(out)).returncode == 0
    rows = list(csv.reader(cli(server, "export", "--format", "csv").stdout.splitlines()))
    assert rows[0][:3] == ["seq", "at", "action"]
    assert [row[2] for row in rows[1:]] == ["server start", "POST /v1/models/refresh", "server stop"]


def test_the_command_line_finds_a_change_and_says_so_by_its_status(server, tmp_path):
    server.request("/v1/models/refresh", {})
    wait_until(lambda: len(events(server)) == 2)
    kept = tmp_path / "kept.head"
    kept.write_bytes((server.data_dir / "audit.head").read_bytes())
    server.stop()
    out = tmp_path / "audit.jsonl"
    assert cli(server, "export", "--out", str(out)).returncode == 0
    assert cli(server, "verify", "--head", str(kept)).returncode == 0
    with sqlite3.connect(server.data_dir / "offgrid.db") as db:
        db.execute("UPDATE audit SET name = 'somebody' WHERE seq = 2")
    db.close()
    verified = cli(server, "verify")
    assert (verified.returncode, verified.stderr) == (1, "")
    assert "NOT RIGHT: row 2 was changed" in verified.stdout
    out.write_text(out.read_text().replace("local", "vocal"))
    assert cli(server, "verify", "--file", str(out)).returncode == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("show", "--since", "yesterday"), "--since is 'yesterday'"),
        (("verify", "--file", "nothing.jsonl"), "nothing.jsonl cannot be read"),
        (("verify", "--head", "offgrid.db"), "no copy of an audit.head"),
        (("export", "--out", "nowhere/x"), "nowhere/x cannot be written"),
    ],
)
def test_a_wrong_command_is_one_sentence(server, words, expected):
    done = cli(server, *words)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert expected in line


def test_without_a_server_ever_there_is_no_log_and_none_is_made(tmp_path):
    command = [sys.executable, str(REPO / "offgrid.py"), "audit", "verify", "--data-dir", str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "there is no audit log" in done.stderr
    assert not (tmp_path / "data").exists()


def test_what_a_client_sent_cannot_move_the_cursor_or_become_a_formula(server):
    db, log = opened(server.data_dir)
    log.record_cli("users passwd", "=cmd|' /C calc'!A0", {"x": "\x1b[2J"})
    log.record_cli("users passwd", "\x1b[2Jgone")
    db.close()
    shown = cli(server, "show").stdout
    assert "\x1b" not in shown and "?[2Jgone" in shown
    assert "'=cmd|" in cli(server, "export", "--format", "csv").stdout
