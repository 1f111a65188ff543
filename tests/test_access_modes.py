"""Who somebody is and what that lets them do: without accounts, on a network, with one key, with accounts."""

from types import SimpleNamespace

import pytest
from people import People, error_of
from running import RunningServer

from offgrid.api import access
from offgrid.api.routes import ROUTES
from offgrid.errors import ApiError, PermissionDenied, Unauthenticated
from offgrid.sections import AccessSettings, Config, ServerSettings
from offgrid.types import ROLES, Principal
from offgrid.web.message import Headers, Request
from offgrid.web.router import Route

LAN = "192.168.1.20"


def somebody(peer: str, access_settings: AccessSettings, *, api_key: str = "", **headers: str) -> Principal | None:
    """Who a request is, on a server without accounts."""
    config = Config(server=ServerSettings(api_key=api_key), access=access_settings)
    sent = Headers({name.replace("_", "-"): value for name, value in headers.items()})
    request = Request("GET", "/v1/models", headers=sent, peer=peer)
    return access.identify(request, SimpleNamespace(config=config), Route("GET", "/v1/models", print, "models"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A server without accounts, models or a key."""
    folder = tmp_path_factory.mktemp("alone")
    running = RunningServer(folder / "data", "--models-dir", str(folder))
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    with People(tmp_path_factory.mktemp("people")) as running:
        yield running


# --- without accounts ---


@pytest.mark.parametrize("role", ROLES)
def test_without_accounts_this_machine_is_the_admin_and_others_have_the_lan_role(role):
    settings = AccessSettings(lan_role=role)
    for peer in ("127.0.0.1", "127.8.8.8", "::1"):
        assert somebody(peer, settings) == Principal("admin", "local", "local", peer)
    for peer in (LAN, "2001:db8::1", "", "nonsense"):
        assert somebody(peer, settings, authorization="Bearer whatever").role == role
        assert somebody(peer, settings).owner == "lan"


def test_without_accounts_any_credentials_are_passed_over(alone):
    for headers in ({"Authorization": "Bearer not-needed"}, {"X-Api-Key": "og_x"}, {"Cookie": f"session={'x' * 43}"}):
        assert alone.request("/v1/models", headers=headers)[0] == 200


def test_one_shared_key_is_asked_of_everybody():
    settings = AccessSettings()
    for headers in ({"authorization": "Bearer k"}, {"authorization": "k"}, {"x_api_key": "k"}):
        assert somebody("127.0.0.1", settings, api_key="k", **headers).role == "admin"
        assert somebody(LAN, settings, api_key="k", **headers).role == "user"
    assert somebody("127.0.0.1", settings, api_key="k") is None
    for wrong in ("Bearer j", "Basic k", "Bearer ké"):
        with pytest.raises(Unauthenticated):
            somebody("127.0.0.1", settings, api_key="k", authorization=wrong)


def test_routes_for_accounts_are_refused_by_name_where_there_are_none(alone):
    for method, path in (
        ("GET", "/v1/users"),
        ("POST", "/v1/users"),
        ("GET", "/v1/users/me"),
        ("DELETE", "/v1/users/x"),
        ("POST", "/v1/auth/login"),
        ("POST", "/api/auth/token"),
        ("GET", "/api/api-keys"),
    ):
        status, _, answer = alone.request(path, method=method)
        assert (status, error_of(answer)) == (403, "multi_user_disabled"), path
        assert ("detail" in answer) == path.startswith("/api/")
        assert "OFFGRID_MULTI_USER=true" in answer["error"]["message"]
    assert alone.request("/v1/auth/logout", {})[2] == {"status": "logged out"}


# --- with accounts ---


def test_no_credentials_are_a_guest_who_may_chat_and_nothing_else(people):
    body = {"messages": [{"role": "user", "content": "Hi"}]}
    assert people.request("/v1/chat/completions", body)[0] == 404  # no model, but allowed to ask for one
    status, _, answer = people.request("/v1/models")
    assert (status, answer["error"]["type"]) == (403, "permission_error")
    assert people.request("/v1/users/me")[2] == {"user": None, "authenticated": False, "guest": True}


@pytest.mark.parametrize("flags", [("--guest-access", "false"), ("--require-auth", "true")])
def test_where_guests_are_not_let_in_no_credentials_are_401(tmp_path, flags):
    with People(tmp_path / "p", *flags) as people:
        for path, body in (("/v1/models", None), ("/v1/chat/completions", {"messages": []})):
            status, headers, answer = people.request(path, body)
            assert (status, error_of(answer), headers["WWW-Authenticate"]) == (401, "missing_api_key", "Bearer")
        assert people.request("/v1/users/me")[2] == {"user": None, "authenticated": False, "guest": False}
        assert people.request("/health")[0] == 200
        assert people.request("/v1/models", headers=people.admin)[0] == 200


def test_wrong_credentials_are_401_and_never_a_guest(people):
    person = people.add()
    gone = people.request(f"/v1/users/{person.id}/api-keys", {"name": "x"}, headers=person.headers)[2]
    people.request(f"/v1/users/{person.id}/api-keys/{gone['id']}", method="DELETE", headers=person.headers)
    answers = set()
    for word in (
        "not-needed",
        "og_" + "x" * 43,
        person.key[:-1] + ("a" if person.key[-1] != "a" else "b"),
        gone["key"],
        "x" * 43,
        "lollms_abcdefgh_" + "x" * 43,
    ):
        for headers in ({"Authorization": f"Bearer {word}"}, {"Authorization": word}, {"X-Api-Key": word}):
            for path in ("/v1/models", "/v1/users/me"):
                status, sent, answer = people.request(path, headers=headers)
                assert status == 401 and sent["WWW-Authenticate"] == "Bearer"
                answers.add(str(answer))
    assert len(answers) == 1
    assert people.request("/health", headers={"Authorization": "Bearer wrong"})[0] == 200  # public: not looked at


def test_a_key_comes_in_three_spellings_and_a_login_not_as_a_key(people):
    person = people.add()
    token = people.token(person.username)
    for headers in (
        {"Authorization": f"bearer {person.key}"},
        {"Authorization": person.key},
        {"x-api-key": person.key},
    ):
        assert people.request("/v1/models", headers=headers)[0] == 200
    assert people.request("/v1/models", headers={"Authorization": f"Bearer {token}"})[0] == 200
    assert people.request("/v1/models", headers={"X-Api-Key": token})[0] == 401
    assert people.request("/v1/models?api_key=" + person.key)[0] == 403  # a guest: keys in URLs end up in logs


# --- the table ---


def test_every_permission_of_a_route_is_somebodys_or_says_that_it_is_everybodys():
    known = access.PERMISSIONS["admin"] | {access.PUBLIC, access.ANYONE}
    assert {route.permission for route in ROUTES} <= known


def test_each_role_may_do_what_the_one_before_may():
    for less, more in zip(("guest", "viewer", "user"), ("viewer", "user", "admin"), strict=True):
        assert access.PERMISSIONS[less] < access.PERMISSIONS[more]
    assert set(access.PERMISSIONS) == set(ROLES)


def test_a_permission_that_nobody_has_is_refused_even_to_the_admin():
    route = Route("GET", "/x", print, "mistyped")
    with pytest.raises(PermissionDenied):
        access.require(Principal("admin", "local", "local", ""), route, AccessSettings())
    with pytest.raises(Unauthenticated):
        access.require(None, route, AccessSettings())


def test_who_must_change_the_password_may_do_that_and_what_anybody_may():
    who = Principal("admin", "a", "a", "", "a", must_change_password=True)
    allowed = set()
    for route in ROUTES:
        try:
            access.require(who, route, AccessSettings(multi_user=True))
        except ApiError as error:
            assert error.code == "password_change_required"
        else:
            allowed.add(route.permission)
    assert allowed == {access.PUBLIC, access.ANYONE, access.PASSWORD}
