import socket

import pytest

from offgrid.errors import BadRequest, Misdirected, PermissionDenied
from offgrid.web.guard import Guard
from offgrid.web.message import Headers, Request


def request(method="GET", *, is_tls=False, **headers):
    named = {name.replace("_", "-"): value for name, value in {"host": "127.0.0.1:11611", **headers}.items()}
    return Request(method, "/", headers=Headers(named), is_tls=is_tls)


OWN_NAME = socket.gethostname()


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "192.168.1.20:11611", "[::1]:11611", "[fe80::1]"),
        *("localhost", "LOCALHOST:80", "localhost."),
        *(OWN_NAME, OWN_NAME.partition(".")[0] + ".local:11611"),
        *("box.example.org", "BOX.example.org:443"),
    ],
)
def test_names_of_this_machine_and_allowed_ones_are_answered(host):
    Guard(allowed_hosts=("box.example.org",)).check(request(host=host))


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "1.2.3", "."])
def test_a_foreign_name_is_misdirected_and_told_the_setting(host):
    with pytest.raises(Misdirected, match="allowed_hosts") as caught:
        Guard().check(request(host=host))
    assert caught.value.status == 421


def test_a_host_that_is_no_host_is_a_bad_request():
    with pytest.raises(BadRequest):
        Guard().check(request(host="user@localhost"))


def test_a_star_allows_every_host():
    Guard(allowed_hosts=("*",)).check(request(host="any.example"))


def test_a_request_without_host_is_no_browsers():
    Guard().check(Request("POST", "/", http_version="1.0"))


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "PURGE"])
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:3000"},
        {"origin": "https://127.0.0.1:11611"},
        {"origin": "null"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
)
def test_a_write_from_another_origin_is_refused(method, headers):
    with pytest.raises(PermissionDenied):
        Guard().check(request(method, **headers))


@pytest.mark.parametrize(
    "headers",
    [{}, {"origin": "http://127.0.0.1:11611"}, {"sec_fetch_site": "same-origin"}, {"sec_fetch_site": "none"}],
)
def test_a_write_from_our_own_pages_or_from_a_program_passes(headers):
    Guard().check(request("POST", **headers))


def test_the_own_origin_over_tls_is_https():
    Guard().check(request("POST", is_tls=True, origin="https://127.0.0.1:11611"))
    with pytest.raises(PermissionDenied):
        Guard().check(request("POST", is_tls=True, origin="http://127.0.0.1:11611"))


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_a_cross_site_read_passes_but_gets_no_cors_headers(method):
    guard, foreign = Guard(), request(method, origin="http://evil.example")
    guard.check(foreign)
    assert guard.cors_headers(foreign) == {}


@pytest.mark.parametrize(
    ("setting", "origin"), [("https://App.example/", "https://app.example"), ("null", "null"), ("*", "null")]
)
def test_an_allowed_origin_may_write(setting, origin):
    Guard(cors_origins=(setting,)).check(request("POST", origin=origin))


def test_an_allowed_origin_is_echoed_and_answers_vary():
    guard = Guard(cors_origins=("http://a.example", "http://b.example"))
    headers = guard.cors_headers(request(origin="http://b.example"))
    assert headers["Access-Control-Allow-Origin"] == "http://b.example"
    assert headers["Vary"] == "Origin"
    exposed = headers["Access-Control-Expose-Headers"].split(", ")
    assert {"x-request-id", "retry-after", "x-ratelimit-remaining-requests"} <= set(exposed)
    assert guard.cors_headers(request()) == {}
    assert guard.cors_headers(request(origin="http://c.example")) == {}


def test_a_star_is_answered_with_a_star():
    headers = Guard(cors_origins=("*",)).cors_headers(request(origin="http://x.example"))
    assert headers["Access-Control-Allow-Origin"] == "*"


def test_a_preflight_allows_the_methods_of_the_path_and_the_headers_asked_for():
    asked = request(
        "OPTIONS",
        origin="http://a.example",
        access_control_request_headers="content-type, authorization,x-stainless-os, bad name",
        access_control_request_private_network="true",
    )
    response = Guard(cors_origins=("http://a.example",)).preflight(asked, ["GET", "HEAD", "OPTIONS", "PATCH"])
    assert (response.status, response.body) == (204, b"")
    assert response.headers["Allow"] == response.headers["Access-Control-Allow-Methods"] == "GET, HEAD, OPTIONS, PATCH"
    assert response.headers["Access-Control-Allow-Headers"] == "content-type, authorization, x-stainless-os"
    assert response.headers["Access-Control-Allow-Private-Network"] == "true"
    assert response.headers["Access-Control-Max-Age"] == "600"
    assert response.headers["Access-Control-Allow-Origin"] == "http://a.example"


def test_a_preflight_of_a_foreign_origin_is_told_only_what_the_path_answers():
    response = Guard().preflight(request("OPTIONS", origin="http://evil.example"), ["OPTIONS", "POST"])
    assert response.headers == {"Allow": "OPTIONS, POST"}
