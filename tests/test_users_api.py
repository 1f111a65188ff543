"""/v1/users on a real server: who sees and changes whom, passwords, roles, keys."""

import json
import re

import pytest
from people import PASSWORD, People, error_of

ID = re.compile(r"[0-9a-f]{32}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    with People(tmp_path_factory.mktemp("people")) as running:
        yield running


def test_a_user_is_made_with_a_key_that_works_and_is_listed_without_secrets(people):
    body = {"username": "Ada", "password": PASSWORD, "email": "ada@school.example"}
    status, _, answer = people.request("/v1/users", body, headers=people.admin)
    assert status == 200
    user, key = answer["user"], answer["api_key"]
    assert ID.fullmatch(user["id"]) and TIME.fullmatch(user["created_at"]) and re.fullmatch(r"og_[\w-]{43}", key)
    assert (user["username"], user["role"], user["email"]) == ("Ada", "user", "ada@school.example")
    listed = people.request("/v1/users", headers=people.admin)[2]["users"]
    assert user in listed and listed[0]["username"] == "Ada"
    assert "hash" not in json.dumps(listed) and PASSWORD not in json.dumps(listed) and "last_login_at" not in user
    status, _, me = people.request("/v1/users/me", headers={"Authorization": f"Bearer {key}"})
    assert (status, me) == (200, {"user": user, "authenticated": True})


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"username": "a b"}, "username"),
        ({"username": ""}, "username"),
        ({"username": 7}, "username"),
        ({"username": None}, "username"),
        ({"password": "short"}, "password"),
        ({"password": "x" * 73}, "password"),
        ({"password": None}, "password"),
        ({"role": "root"}, "role"),
        ({"role": ["admin"]}, "role"),
        ({"email": "nobody"}, "email"),
        ({"is_admin": True}, "is_admin"),
    ],
)
def test_a_user_that_cannot_be_is_refused_by_the_field_at_fault(people, wrong, param):
    body = {"username": "wrong", "password": PASSWORD, **wrong}
    status, _, answer = people.request("/v1/users", body, headers=people.admin)
    assert (status, answer["error"]["param"]) == (400, param)


def test_the_same_name_again_is_a_conflict_whatever_its_case(people):
    person = people.add(username="Grace")
    body = {"username": "gRACE", "password": PASSWORD}
    status, _, answer = people.request("/v1/users", body, headers=people.admin)
    assert (status, error_of(answer)) == (409, "user_exists")
    assert people.request(f"/v1/users/{person.id}", headers=people.admin)[0] == 200


def test_everybody_sees_and_changes_only_themselves_and_an_admin_all(people):
    ada, bob = people.add(), people.add()
    made = people.request(f"/v1/users/{bob.id}/api-keys", {"name": "b"}, headers=bob.headers)[2]
    for path, method, body in (
        ("", "GET", None),
        ("/password", "PUT", {"password": PASSWORD, "current_password": PASSWORD}),
        ("/regenerate-key", "POST", {}),
        ("/api-keys", "GET", None),
        ("/api-keys", "POST", {"name": "x"}),
        (f"/api-keys/{made['id']}", "DELETE", None),
    ):
        for id in (bob.id, "0" * 32):
            status, _, answer = people.request(f"/v1/users/{id}{path}", body, method=method, headers=ada.headers)
            assert (status, error_of(answer)) == (404, "user_not_found"), (method, path)
    for path, method, body in (
        ("/v1/users", "GET", None),
        ("/v1/users", "POST", {"username": "x", "password": PASSWORD, "role": "admin"}),
        (f"/v1/users/{ada.id}", "DELETE", None),
        (f"/v1/users/{ada.id}/role", "PUT", {"role": "admin"}),
    ):
        assert people.request(path, body, method=method, headers=ada.headers)[0] == 403
    assert people.request(f"/v1/users/{ada.id}", headers=ada.headers)[2]["username"] == ada.username
    assert people.request(f"/v1/users/{bob.id}", headers=people.admin)[2]["username"] == bob.username
    assert people.request(f"/v1/users/{bob.id}/api-keys", headers=bob.headers)[2]["api_keys"][-1]["id"] == made["id"]


def test_a_role_acts_at_once_and_the_last_admin_keeps_it(people):
    person = people.add("viewer")
    role = f"/v1/users/{person.id}/role"
    assert people.request("/v1/users", headers=person.headers)[0] == 403
    answer = people.request(role, {"role": "admin"}, method="PUT", headers=people.admin)[2]
    assert answer == {"status": "role updated"}
    assert people.request("/v1/users", headers=person.headers)[0] == 200
    assert people.request(role, {"role": "guest"}, method="PUT", headers=people.admin)[0] == 200
    assert people.request("/v1/models", headers=person.headers)[0] == 403
    for body in ({}, {"role": "root"}):
        status, _, answer = people.request(role, body, method="PUT", headers=people.admin)
        assert (status, answer["error"]["param"]) == (400, "role")
    me = people.request("/v1/users/me", headers=people.admin)[2]["user"]["id"]
    for path, method, body in (("/role", "PUT", {"role": "user"}), ("", "DELETE", None)):
        status, _, answer = people.request(f"/v1/users/{me}{path}", body, method=method, headers=people.admin)
        assert (status, error_of(answer)) == (409, "last_admin")


def test_a_deleted_user_is_gone_with_keys_and_logins(people):
    person = people.add()
    token = people.token(person.username)
    path = f"/v1/users/{person.id}"
    assert people.request(path, method="DELETE", headers=people.admin)[2] == {"status": "deleted"}
    for word in (person.key, token):
        assert people.request("/v1/models", headers={"Authorization": f"Bearer {word}"})[0] == 401
    assert people.request(path, method="DELETE", headers=people.admin)[0] == 404
    assert people.request("/v1/auth/login", {"username": person.username, "password": PASSWORD})[0] == 401


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_changing_ones_password_needs_the_current_one_and_ends_ones_other_logins(people, method):
    person = people.add()
    path = f"/v1/users/{person.id}/password"
    here, there = ({"Authorization": f"Bearer {people.token(person.username)}"} for _ in range(2))
    status, _, answer = people.request(path, {"password": "another one"}, method=method, headers=here)
    assert (status, answer["error"]["param"]) == (400, "current_password")
    body = {"password": "another one", "current_password": "wrong"}
    status, _, answer = people.request(path, body, method=method, headers=here)
    assert (status, error_of(answer)) == (403, "wrong_password")
    body["current_password"] = PASSWORD
    assert people.request(path, body, method=method, headers=here)[2] == {"status": "password updated"}
    assert people.request("/v1/models", headers=here)[0] == 200
    assert people.request("/v1/models", headers=there)[0] == 401
    assert people.request("/v1/models", headers=person.headers)[0] == 200  # keys are revoked by name
    assert people.token(person.username, "another one")


def test_an_admins_reset_ends_all_logins_of_a_user(people):
    person = people.add()
    login = {"Authorization": f"Bearer {people.token(person.username)}"}
    path = f"/v1/users/{person.id}/password"
    assert people.request(path, {"password": "reset-it"}, method="PUT", headers=people.admin)[0] == 200
    assert people.request("/v1/models", headers=login)[0] == 401
    assert people.request("/v1/auth/login", {"username": person.username, "password": PASSWORD})[0] == 401
    assert people.token(person.username, "reset-it")


def test_keys_are_made_listed_and_revoked(people):
    person = people.add()
    path = f"/v1/users/{person.id}/api-keys"
    status, _, made = people.request(path, {"name": "laptop"}, headers=person.headers)
    assert status == 201
    assert made["key"] == made["api_key"] and made["api_key"].startswith(made["prefix"]) and made["name"] == "laptop"
    assert TIME.fullmatch(made["created_at"]) and made["expires_at"] is made["last_used_at"] is None
    new = {"Authorization": f"Bearer {made['api_key']}"}
    assert people.request("/v1/models", headers=new)[0] == 200
    [first, second] = people.request(path, headers=new)[2]["api_keys"]
    assert (first["name"], second["id"]) == ("default", made["id"]) and second["last_used_at"]
    assert set(second) == {"id", "name", "prefix", "created_at", "last_used_at", "expires_at"}
    assert people.request(f"{path}/{made['id']}", method="DELETE", headers=new)[2] == {"status": "revoked"}
    assert people.request("/v1/models", headers=new)[0] == 401
    for id in (made["id"], 10**17, "1' OR 1=1", "x", "9" * 30):
        status = people.request(f"{path}/{str(id).replace(' ', '%20')}", method="DELETE", headers=person.headers)[0]
        assert status == 404
    assert people.request("/v1/models", headers=person.headers)[0] == 200


def test_a_key_may_end_at_a_time_to_come(people):
    person = people.add()
    path = f"/v1/users/{person.id}/api-keys"
    for given, shown in (
        ("2999-01-01T00:00:00+01:00", "2998-12-31T23:00:00.000Z"),
        ("2999-01-01T00:00:00Z", "2999-01-01T00:00:00.000Z"),
        (32472144000, "2999-01-01T00:00:00.000Z"),
    ):
        answer = people.request(path, {"name": "x", "expires_at": given}, headers=person.headers)[2]
        assert answer["expires_at"] == shown
    for wrong in ("2000-01-01T00:00:00Z", "2999-01-01T00:00:00", "tomorrow", True, [], -1, 1e300, "9999-99-99"):
        status, _, answer = people.request(path, {"name": "x", "expires_at": wrong}, headers=person.headers)
        assert (status, answer["error"]["param"]) == (400, "expires_at"), wrong
    for wrong in ("", "x" * 101, "a\nb", 5):
        status, _, answer = people.request(path, {"name": wrong}, headers=person.headers)
        assert (status, answer["error"]["param"]) == (400, "name"), wrong


def test_the_first_key_is_replaced_and_keys_made_by_name_stay(people):
    person = people.add()
    named = people.request(f"/v1/users/{person.id}/api-keys", {"name": "x"}, headers=person.headers)[2]["key"]
    status, _, answer = people.request(f"/v1/users/{person.id}/regenerate-key", {}, headers=person.headers)
    assert status == 200
    for key, status in ((person.key, 401), (answer["api_key"], 200), (named, 200)):
        assert people.request("/v1/models", headers={"Authorization": f"Bearer {key}"})[0] == status


def test_a_server_goes_on_with_its_accounts_after_a_restart(tmp_path):
    from running import RunningServer

    with People(tmp_path / "one") as people:
        person = people.add()
        login = {"Authorization": f"Bearer {people.token(person.username)}"}
    again = RunningServer(
        tmp_path / "one" / "data",
        *("--models-dir", str(tmp_path)),
        env={"OFFGRID_MULTI_USER": "true", "OFFGRID_ADMIN_PASSWORD": "a later one"},
    )
    assert again.request("/v1/users/me", headers=person.headers)[2]["user"]["id"] == person.id
    assert again.request("/v1/users/me", headers=login)[2]["user"]["id"] == person.id
    assert again.request("/v1/auth/login", {"username": "admin", "password": "a later one"})[0] == 401
    assert again.stop() == 0
