"""The audit log of a server with accounts: who came in, who was turned away, who changed what, also by hand."""

import json
import subprocess
import sys
from urllib.parse import quote

import pytest
from people import PASSWORD, People
from running import REPO

from offgrid.store.audit_repeats import N_SINGLY


@pytest.fixture
def people(tmp_path):
    with People(tmp_path) as people:
        yield people


def rows(people: People, action: str) -> list[dict]:
    return people.request(f"/v1/admin/audit?action={quote(action)}", headers=people.admin)[2]["data"]


def run(people: People, *words: str, stdin: str = "") -> str:
    command = [sys.executable, str(REPO / "offgrid.py"), *words, "--data-dir", str(people.server.data_dir)]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_logins_are_recorded_with_the_account_and_never_with_what_was_typed_wrongly(people):
    ada = people.add()
    people.token(ada.username)
    people.request("/v1/auth/login", {"username": ada.username, "password": "not-her-password"})
    people.request("/v1/auth/login", {"username": PASSWORD, "password": ada.username})  # in the wrong fields
    unknown, wrong, right = rows(people, "/v1/auth/login")[:3]
    assert (right["status"], right["name"], right["user_id"]) == (200, ada.username, ada.id)
    assert (wrong["status"], wrong["code"], wrong["detail"]) == (401, "invalid_credentials", {"username": ada.username})
    assert (unknown["status"], unknown["detail"]) == (401, {})


def test_who_logged_out_is_recorded_and_a_flood_of_what_costs_nothing_is_a_few_rows(people):
    ada = people.add()
    people.request("/v1/auth/logout", {}, headers={"Authorization": f"Bearer {people.token(ada.username)}"})
    for _ in range(3 * N_SINGLY):
        people.request("/v1/auth/logout", {})
        people.request("/v1/auth/login", {})
        people.request("/v1/chat/completions", {})
    outs = [row["name"] for row in rows(people, "/v1/auth/logout")]
    assert outs == [""] * N_SINGLY + [ada.username]
    refused = [row for row in rows(people, "POST") if row["status"] == 400]  # nobody's and a guest's
    assert len(refused) == N_SINGLY


def test_what_an_admin_changes_is_recorded_with_who_and_what(people):
    ada = people.add()
    people.request(f"/v1/users/{ada.id}/role", {"role": "viewer"}, method="PUT", headers=people.admin)
    body = {"requests_per_minute": 5}
    people.request(f"/v1/admin/limits/user/{ada.id}", body, method="PUT", headers=people.admin)
    people.request("/v1/users", headers=ada.headers)
    [made] = rows(people, "POST /v1/users")
    assert made["detail"] == {"user_id": ada.id, "username": ada.username, "role": "user"}
    [changed] = rows(people, "/role")
    assert (changed["name"], changed["target"], changed["detail"]) == ("admin", ada.id, {"role": "viewer"})
    [limited] = rows(people, "PUT /v1/admin/limits")
    assert (limited["target"], limited["status"]) == (f"user/{ada.id}", 200)
    [refused] = rows(people, "GET /v1/users")
    assert (refused["name"], refused["role"], refused["status"]) == (ada.username, "viewer", 403)
    assert people.request("/v1/admin/audit", headers=ada.headers)[0] == 403


def test_changes_by_the_command_line_are_recorded_and_the_log_stays_whole(people):
    run(people, "users", "add", "bob", "viewer", stdin=f"{PASSWORD}\n")
    run(people, "users", "role", "bob", "user")
    run(people, "users", "remove", "bob")
    found = [(row["action"], row["target"], row["detail"]) for row in rows(people, "cli users")]
    assert found == [
        ("cli users remove", "bob", {}),
        ("cli users role", "bob", {"role": "user"}),
        ("cli users add", "bob", {"role": "viewer"}),
    ]
    assert people.request("/v1/admin/audit/verify", headers=people.admin)[2]["ok"] is True


def test_a_backup_that_is_put_back_is_told_from_tampering_by_its_row(tmp_path):
    with People(tmp_path) as people:
        people.add()
        run(people, "backup", str(tmp_path / "copy.db"))
        people.add()
    run(people, "restore", str(tmp_path / "copy.db"))
    exported = [json.loads(line) for line in run(people, "audit", "export").splitlines() if '"action"' in line]
    assert [row["action"] for row in exported[-2:]] == ["audit broken", "cli restore"]


def test_no_secret_is_in_any_file_of_the_data_folder(people):
    ada = people.add()
    token = people.token(ada.username)
    people.request("/v1/models", headers={"Authorization": f"Bearer {token}"})
    people.request("/v1/models", headers={"X-Api-Key": ada.key})
    people.request("/v1/models", headers={"Authorization": f"Bearer og_{'w' * 43}"})
    assert rows(people, "GET /v1/models")
    files = [path for path in people.server.data_dir.rglob("*") if path.is_file()]
    for secret in (PASSWORD, token, ada.key, "w" * 43):
        assert not [path.name for path in files if secret.encode() in path.read_bytes()], secret
