import itertools

import pytest

from offgrid.errors import MethodNotAllowed, NotFound
from offgrid.web.router import Route, Router


def route(method, path):
    return Route(method, path, handler=lambda request, app: None, permission="any")


TABLE = [
    route("GET", "/"),
    route("GET", "/v1/models"),
    route("POST", "/v1/chat/completions"),
    route("GET", "/v1/models/loaded"),
    route("GET", "/v1/models/{id:path}"),
    route("DELETE", "/v1/models/{id:path}"),
    route("POST", "/v1/models/{id:path}/load"),
    route("GET", "/v1/users/{user}"),
    route("GET", "/v1/users/{rest:path}"),
    route("GET", "/v1/users/{user}/keys"),
]


@pytest.fixture
def router():
    return Router(TABLE)


@pytest.mark.parametrize(
    ("method", "path", "expected", "params"),
    [
        ("GET", "/", "/", {}),
        ("GET", "/v1/models", "/v1/models", {}),
        ("GET", "/v1/models/", "/v1/models", {}),
        ("GET", "/v1/models/loaded", "/v1/models/loaded", {}),
        ("GET", "/v1/models/a/b:c", "/v1/models/{id:path}", {"id": "a/b:c"}),
        ("POST", "/v1/models/a/b/load", "/v1/models/{id:path}/load", {"id": "a/b"}),
        ("GET", "/v1/users/eve", "/v1/users/{user}", {"user": "eve"}),
        ("GET", "/v1/users/eve/keys", "/v1/users/{user}/keys", {"user": "eve"}),
        ("GET", "/v1/users/eve/x", "/v1/users/{rest:path}", {"rest": "eve/x"}),
        ("DELETE", "/v1/models/loaded", "/v1/models/{id:path}", {"id": "loaded"}),
    ],
)
def test_the_most_specific_route_answers(router, method, path, expected, params):
    found, found_params = router.match(method, path)
    assert (found.method, found.path, found_params) == (method, expected, params)


def test_the_order_of_the_table_changes_nothing():
    overlapping = [route("GET", path) for path in ("/a/{x:path}", "/a/{x:path}/end", "/a/{x}", "/a/b", "/a/{x}/end")]
    for table in itertools.permutations(overlapping):
        router = Router(table)
        found = [router.match("GET", path)[0].path for path in ("/a/b", "/a/c", "/a/c/end", "/a/c/d/end", "/a/c/d")]
        assert found == ["/a/b", "/a/{x}", "/a/{x}/end", "/a/{x:path}/end", "/a/{x:path}"]


def test_head_is_answered_by_get(router):
    assert router.match("HEAD", "/v1/models")[0].method == "GET"
    assert router.match("HEAD", "/v1/models/x")[0].path == "/v1/models/{id:path}"


def test_a_path_parameter_needs_at_least_one_character(router):
    with pytest.raises(NotFound):
        router.match("GET", "/v1/users/")


def test_an_unknown_path_names_the_nearest_known_one(router):
    with pytest.raises(NotFound, match=r"no /v1/chat/completion here.*/v1/chat/completions"):
        router.match("POST", "/v1/chat/completion")


def test_an_unknown_path_like_no_other_names_none(router):
    with pytest.raises(NotFound) as caught:
        router.match("GET", "/" + "z" * 8000)
    assert "nearest" not in caught.value.message


def test_another_method_is_refused_with_what_is_allowed(router):
    with pytest.raises(MethodNotAllowed) as caught:
        router.match("PUT", "/v1/models/loaded")
    assert caught.value.headers["Allow"] == "DELETE, GET, HEAD, OPTIONS"
    with pytest.raises(MethodNotAllowed) as caught:
        router.match("HEAD", "/v1/chat/completions")
    assert caught.value.headers["Allow"] == "OPTIONS, POST"


def test_an_unknown_path_has_no_methods(router):
    assert router.methods("/nowhere") == []


def test_errors_of_a_path_are_of_its_family_whatever_the_method():
    router = Router([Route("POST", "/v1/messages", print, "any", family="anthropic"), *TABLE])
    assert router.family("/v1/messages/") == "anthropic"
    assert router.family("/v1/messages/batches/x") == "anthropic"  # which nobody knows, below one that is known
    assert {router.family(path) for path in ("/v1/models/x", "/v1/message", "/nowhere", "/v1", "")} == {"openai"}


@pytest.mark.parametrize("second", ["/a/{y}", "/a/{x}/", "/a/{x}"])
def test_two_routes_for_the_same_requests_are_refused(second):
    with pytest.raises(ValueError, match="two routes for GET"):
        Router([route("GET", "/a/{x}"), route("GET", second)])


@pytest.mark.parametrize("path", ["a", "/a/{x}.json", "/a/{X}", "/a/{x:int}"])
def test_a_path_that_cannot_be_read_is_refused(path):
    with pytest.raises(ValueError, match="/"):
        Router([route("GET", path)])
