"""Logging in and out on a real server: tokens, cookies, other sites' pages, guessing."""

import re
import sqlite3
import threading

import pytest
from people import ADMIN_PASSWORD, PASSWORD, People, error_of
from running import wait_until

from offgrid.api import auth
from offgrid.api.login_throttle import BUCKET, N_FREE
from offgrid.store.logins import hash_of
from offgrid.web.message import Request


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    with People(tmp_path_factory.mktemp("people")) as running:
        yield running


@pytest.fixture(scope="module")
def ada(people):
    return people.add(username="ada")


def log_in(people, username="ada", password=PASSWORD):
    return people.request("/v1/auth/login", {"username": username, "password": password})


def cookie_of(headers) -> str:
    return headers["Set-Cookie"].partition(";")[0]


def test_a_login_gives_a_token_that_is_a_bearer_and_a_cookie(people, ada):
    status, headers, answer = log_in(people, "ADA")
    assert status == 200
    assert set(answer) == {"user", "token", "expires_at", "auth_method"} and answer["auth_method"] == "local"
    assert re.fullmatch(r"[\w-]{43}", answer["token"])
    assert answer["user"]["id"] == ada.id and answer["user"]["last_login_at"]
    assert headers["Set-Cookie"] == (
        f"session={answer['token']}; Path=/; Max-Age=86400; HttpOnly; SameSite=Strict"  # Secure only under TLS
    )
    assert headers["Cache-Control"] == "no-store"
    for sent in ({"Authorization": f"Bearer {answer['token']}"}, {"Cookie": f"a=b; {cookie_of(headers)}; c=d"}):
        assert people.request("/v1/users/me", headers=sent)[2]["user"]["id"] == ada.id


def test_a_wrong_password_and_an_unknown_name_are_answered_alike(people, ada):
    answers = [log_in(people, *words) for words in (("ada", "wrong-one"), ("nobody", PASSWORD), ("ada", "x"))]
    assert [status for status, _, _ in answers] == [401] * 3
    assert answers[0][2] == answers[1][2] == answers[2][2]
    assert error_of(answers[0][2]) == "invalid_credentials" and answers[0][1]["WWW-Authenticate"] == "Bearer"
    assert "Set-Cookie" not in answers[0][1]
    for body in ({}, {"username": "ada"}, {"password": PASSWORD}, {"username": 1, "password": PASSWORD}):
        assert people.request("/v1/auth/login", body)[0] == 400


def test_logging_out_ends_the_login_at_once_and_may_be_said_twice(people, ada):
    for spelling in ("Authorization", "Cookie"):
        _, headers, answer = log_in(people)
        sent = {"Authorization": f"Bearer {answer['token']}"} if spelling == "Authorization" else {}
        sent = sent or {"Cookie": cookie_of(headers)}
        assert people.request("/v1/models", headers=sent)[0] == 200
        for _ in range(2):
            status, headers, answer = people.request("/v1/auth/logout", {}, headers=sent)
            assert (status, answer) == (200, {"status": "logged out"})
            assert headers["Set-Cookie"].startswith("session=; Path=/; Max-Age=0")
        assert people.request("/v1/models", headers=sent)[0] == 401
    assert people.request("/v1/auth/logout", {})[2] == {"status": "logged out"}


def test_under_tls_the_cookie_is_for_tls_only():
    answer = auth.log_out(Request("POST", "/v1/auth/logout", is_tls=True), None)
    assert answer.headers["Set-Cookie"].endswith("; HttpOnly; SameSite=Strict; Secure")


def test_a_cookie_changes_something_only_for_a_page_of_this_server(people, ada):
    cookie = {"Cookie": cookie_of(log_in(people)[1])}
    own = people.server.url
    path = f"/v1/users/{ada.id}/api-keys"
    for proof in ({"Origin": own}, {"Sec-Fetch-Site": "same-origin"}):
        assert people.request(path, {"name": "x"}, headers=cookie | proof)[0] == 201
    for proof in ({}, {"Sec-Fetch-Site": "none"}):
        status, _, answer = people.request(path, {"name": "x"}, headers=cookie | proof)
        assert (status, error_of(answer)) == (403, "csrf")
    for proof in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "null"}):
        assert people.request(path, {"name": "x"}, headers=cookie | proof)[0] == 403
    assert people.request(path, headers=cookie)[0] == 200  # reading changes nothing
    assert people.request(path, {"name": "x"}, headers=cookie | ada.headers)[0] == 201  # a header wins


def test_an_allowed_origin_may_not_use_somebodys_cookie(tmp_path):
    with People(tmp_path / "p", "--cors-origins", "*") as people:
        cookie = {"Cookie": cookie_of(log_in(people, "admin", ADMIN_PASSWORD)[1])}
        body, evil = {"username": "x", "password": PASSWORD}, {"Origin": "http://evil.example"}
        status, _, answer = people.request("/v1/users", body, headers=cookie | evil)
        assert (status, error_of(answer)) == (403, "csrf")
        status, headers, _ = people.request("/v1/users", headers=cookie | evil)
        assert (status, headers["Access-Control-Allow-Credentials"]) == (200, None)  # its page cannot read that


def test_another_programs_cookie_of_the_same_name_is_not_ours(people):
    for value in ("eyJfcGVybWFuZW50Ijp0cnVlfQ.Zx", "", "x" * 42, "../../etc"):
        assert people.request("/v1/users/me", headers={"Cookie": f"session={value}"})[2]["guest"] is True
    assert people.request("/v1/users/me", headers={"Cookie": f"session={'x' * 43}"})[0] == 401


def test_a_login_ends_when_its_hours_are_over(people, ada):
    text = people.token("ada")
    token = {"Authorization": f"Bearer {text}"}
    assert people.request("/v1/models", headers=token)[0] == 200
    database = sqlite3.connect(people.server.data_dir / "offgrid.db", timeout=10)
    database.execute("UPDATE logins SET expires_s = expires_s - 86401 WHERE hash = ?", (hash_of(text),))
    database.commit()
    database.close()
    status, _, answer = people.request("/v1/models", headers=token)
    assert (status, error_of(answer)) == (401, "invalid_api_key")


def test_the_made_up_password_is_shown_once_and_must_be_changed_before_anything_else(tmp_path):
    with People(tmp_path / "p", admin_password="") as people:
        banner = wait_until(lambda: (text := "".join(people.server.output)) and "models starter" in text and text)
        [password] = re.findall(r"user admin, password (\S+)", banner)
        _, _, answer = log_in(people, "admin", password)
        assert answer["user"]["must_change_password"] is True
        me, login = answer["user"]["id"], {"Authorization": f"Bearer {answer['token']}"}
        for path in ("/v1/models", "/v1/users", f"/v1/users/{me}"):
            status, _, refused = people.request(path, headers=login)
            assert (status, error_of(refused)) == (403, "password_change_required")
            assert f"/v1/users/{me}/password" in refused["error"]["message"]
        assert people.request("/v1/users/me", headers=login)[0] == 200
        body = {"password": password, "current_password": password}
        assert people.request(f"/v1/users/{me}/password", body, method="PUT", headers=login)[0] == 400
        body["password"] = "a new one"
        assert people.request(f"/v1/users/{me}/password", body, method="PUT", headers=login)[0] == 200
        assert people.request("/v1/users", headers=login)[0] == 200
    for file in (people.server.data_dir / "logs").iterdir():
        assert password not in file.read_text()


# --- guessing ---


def test_guesses_at_one_account_have_to_wait_and_the_owner_elsewhere_does_not(people, ada):
    answers = [people.log_in_from("127.0.1.1", "ada", f"guess-{n}") for n in range(N_FREE + 3)]
    assert [status for status, _, _ in answers] == [401] * N_FREE + [429] * 3
    assert 1 <= int(answers[-1][1]["Retry-After"]) <= 2 and error_of(answers[-1][2]) == "too_many_attempts"
    assert people.log_in_from("127.0.1.1", "ada", PASSWORD)[0] == 429  # a right guess is not even looked at
    assert people.log_in_from("127.0.1.2", "ada", PASSWORD)[0] == 200


def test_guesses_at_ones_own_password_with_a_stolen_login_have_to_wait_too(people):
    person = people.add()
    body = {"password": "another one", "current_password": "guess"}
    path = f"/v1/users/{person.id}/password"
    statuses = [people.request(path, body, method="PUT", headers=person.headers)[0] for _ in range(N_FREE + 1)]
    assert statuses == [403] * N_FREE + [429]


def test_a_thousand_wrong_logins_from_one_address_are_throttled_while_another_user_logs_in(people, ada):
    assert people.log_in_from("127.0.2.2", "ada", PASSWORD)[0] == 200
    statuses, is_full = [], threading.Event()

    def guess(who: int) -> None:
        for n in range(100):
            statuses.append(people.log_in_from("127.0.2.1", f"name-{who}-{n}", "guess-it")[0])
            if 429 in statuses:
                is_full.set()

    threads = [threading.Thread(target=guess, args=(n,)) for n in range(10)]
    for thread in threads:
        thread.start()
    assert is_full.wait(30)
    assert people.log_in_from("127.0.2.2", "ada", PASSWORD)[0] == 200
    for thread in threads:
        thread.join()
    assert len(statuses) == 1000 and set(statuses) == {401, 429}
    assert BUCKET <= statuses.count(401) <= BUCKET + 10  # what refills meanwhile
    assert people.log_in_from("127.0.2.1", "ada", PASSWORD)[0] == 429
