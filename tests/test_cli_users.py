"""`offgrid.py users`, also beside a running server: what it changes holds for the next request."""

import os
import pty
import subprocess
import sys

import pytest
from people import PASSWORD, People
from running import REPO


def users(data_dir, *words: str, stdin: str = "") -> subprocess.CompletedProcess:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OFFGRID_")}
    command = [sys.executable, str(REPO / "offgrid.py"), "users", *words, "--data-dir", str(data_dir)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=30, env=clean)


def test_accounts_are_made_and_changed_while_the_server_runs(tmp_path):
    with People(tmp_path / "p") as people:
        data = people.server.data_dir
        assert (
            users(data, "add", "bob", "viewer", stdin=f"{PASSWORD}\n").stdout == "bob is there, in the role viewer.\n"
        )
        login = {"Authorization": f"Bearer {people.token('bob')}"}
        assert people.request("/v1/users", headers=login)[0] == 403
        assert users(data, "role", "Bob", "admin").returncode == 0
        assert people.request("/v1/users", headers=login)[0] == 200
        assert users(data, "passwd", "bob", stdin="mended it\n").returncode == 0
        assert people.request("/v1/users", headers=login)[0] == 401
        assert people.token("bob", "mended it")
        lines = [line.split("\t")[:2] for line in users(data).stdout.splitlines()]
        assert lines == [["admin", "admin"], ["bob", "admin"]]
        assert users(data, "remove", "bob").returncode == 0
        assert people.request("/v1/auth/login", {"username": "bob", "password": "mended it"})[0] == 401


@pytest.mark.parametrize(
    ("words", "stdin", "expected"),
    [
        (("add", "x y"), "secret1", "username"),
        (("add", "x"), "short", "at least 6 characters"),
        (("add", "x"), "", "at least 6 characters"),
        (("add", "x", "root"), "secret1", "admin, user, viewer, guest"),
        (("add",), "", "users add NAME [ROLE]"),
        (("role", "x"), "", "users role NAME ROLE"),
        (("passwd", "x", "y"), "", "users passwd NAME"),
        (("list", "x"), "", "users list"),
        (("remove", "nobody"), "", "no database in"),
        (("list",), "", "no database in"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(tmp_path, words, stdin, expected):
    done = users(tmp_path / "data", *words, stdin=stdin)
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("offgrid: ") and expected in line
    assert words[0] == "add" or not (tmp_path / "data").exists()


def test_what_the_disk_or_another_program_prevents_is_one_sentence(tmp_path):
    assert users(tmp_path, "add", "ada", stdin="secret1").returncode == 0
    assert "no user 'nobody'" in users(tmp_path, "remove", "nobody").stderr
    for file, said in (("audit.key", "This is done, but"), ("offgrid.db", "cannot be used")):
        (tmp_path / file).unlink()
        (tmp_path / file).mkdir()
        done = users(tmp_path, "role", "ada", "viewer")
        assert done.returncode == 2
        [line] = done.stderr.splitlines()
        assert line.startswith("offgrid: ") and said in line


def test_the_last_admin_is_kept(tmp_path):
    assert users(tmp_path, "add", "boss", "admin", stdin="secret1").returncode == 0
    for words in (("remove", "boss"), ("role", "boss", "user")):
        assert "last admin" in users(tmp_path, *words).stderr


def test_on_a_terminal_the_password_is_asked_for_twice_and_not_shown(tmp_path):
    for typed, status in ((b"secret1\nsecret1\n", 0), (b"secret1\nsecret2\n", 2)):
        ours, theirs = pty.openpty()
        command = [sys.executable, str(REPO / "offgrid.py"), "users", "add", f"x{status}", "--data-dir", str(tmp_path)]
        child = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
        os.close(theirs)
        shown = b""
        while b"Password: " not in shown:
            shown += os.read(ours, 100)
        for line in typed.splitlines(keepends=True):
            os.write(ours, line)
            if b"Again: " not in shown:
                while b"Again: " not in shown:
                    shown += os.read(ours, 100)
        assert child.wait(30) == status
        os.close(ours)
        assert b"secret" not in shown
