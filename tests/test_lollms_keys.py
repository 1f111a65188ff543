"""LoLLMs' own spelling of logins and keys, as its clients send it: forms, full_key, errors with `detail`."""

import re
import urllib.error
import urllib.parse
import urllib.request

import pytest
from people import PASSWORD, People


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    with People(tmp_path_factory.mktemp("people")) as running:
        yield running


def post_form(people, *, content_type="application/x-www-form-urlencoded", raw: bytes | None = None, **fields):
    import json

    data = urllib.parse.urlencode(fields).encode() if raw is None else raw
    asked = urllib.request.Request(f"{people.server.url}/api/auth/token", data, {"Content-Type": content_type})
    try:
        answer = urllib.request.urlopen(asked, timeout=30)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return answer.status, answer.headers, json.loads(answer.read())


def test_the_password_form_gives_a_bearer_for_every_surface(people):
    person = people.add(username="Zoë")
    fields = {"grant_type": "password", "scope": "", "client_id": "", "username": "zoë", "password": PASSWORD}
    status, headers, answer = post_form(people, **fields)
    assert status == 200 and set(answer) == {"access_token", "token_type"} and answer["token_type"] == "bearer"
    assert "Set-Cookie" not in headers
    login = {"Authorization": f"Bearer {answer['access_token']}"}
    assert people.request("/api/api-keys", headers=login)[0] == 200
    assert people.request("/v1/users/me", headers=login)[2]["user"]["id"] == person.id


def test_a_wrong_form_is_refused_with_detail(people):
    person = people.add()
    status, headers, answer = post_form(people, username=person.username, password="wrong-one")
    assert (status, answer["detail"]) == (401, "Incorrect username or password") and headers["WWW-Authenticate"]
    assert answer["error"]["message"] == answer["detail"]
    right = {"username": person.username, "password": PASSWORD}
    assert post_form(people, username=person.username)[0] == 400
    assert post_form(people, **right, grant_type="client_credentials")[0] == 400
    assert post_form(people, raw=b"username=%ff&password=%ff")[0] == 400
    assert post_form(people, raw=b"\xff")[0] == 400
    assert post_form(people, content_type="application/json", raw=b"{}")[0] == 415


def test_keys_are_made_listed_and_deleted(people):
    person = people.add()
    assert people.request("/api/api-keys", headers=person.headers)[2][0]["alias"] == "default"
    status, _, made = people.request("/api/api-keys", {"alias": "notebook"}, headers=person.headers)
    assert status == 201
    assert set(made) == {"alias", "id", "created_at", "last_used_at", "key_prefix", "full_key"}
    assert re.fullmatch(r"lollms_[A-Za-z0-9-]{8}_[\w-]{43}", made["full_key"])
    assert made["full_key"].startswith(made["key_prefix"] + "_") and made["last_used_at"] is None
    new = {"Authorization": f"Bearer {made['full_key']}"}
    assert people.request("/v1/models", headers=new)[0] == 200
    listed = people.request("/api/api-keys", headers=new)[2][-1]
    assert listed["last_used_at"] and listed["id"] == made["id"] and "full_key" not in listed
    assert people.request(f"/api/api-keys/{made['id']}", method="DELETE", headers=new)[0] == 204
    status, _, answer = people.request("/v1/models", headers=new)
    assert status == 401 and "detail" not in answer
    status, _, answer = people.request(f"/api/api-keys/{made['id']}", method="DELETE", headers=person.headers)
    assert status == 404 and answer["detail"] == answer["error"]["message"]


def test_several_keys_are_deleted_at_once(people):
    person, other = people.add(), people.add()
    ids = [
        people.request("/api/api-keys", {"alias": alias}, headers=person.headers)[2]["id"] for alias in ("a", "b", "c")
    ]
    theirs = people.request("/api/api-keys", {"alias": "a"}, headers=other.headers)[2]["id"]

    def delete(key_ids) -> int:
        return people.request("/api/api-keys", {"key_ids": key_ids}, method="DELETE", headers=person.headers)[0]

    assert [delete(wrong) for wrong in ([], "x", [True], ["1"], [0], [2**70], None)] == [400] * 7
    assert delete([ids[0], theirs]) == 404
    assert delete([ids[0], ids[0], ids[1]]) == 200
    left = people.request("/api/api-keys", headers=person.headers)[2]
    assert [key["alias"] for key in left] == ["default", "c"]


def test_an_alias_is_unique_and_1_to_100_characters(people):
    person = people.add()
    statuses = [
        people.request("/api/api-keys", {"alias": alias}, headers=person.headers)[0]
        for alias in ("same", "same", "", "x" * 101, 5)
    ]
    assert statuses == [201, 400, 400, 400, 400]
    status, _, answer = people.request("/api/api-keys", {"alias": "x"})
    assert status == 403 and answer["detail"]
