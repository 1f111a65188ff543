"""Families of clients that are switched off, or closed to guests; and the further ports at which they look."""

import os
import socket
from types import SimpleNamespace

import pytest
from people import People
from running import RunningServer, wait_until

from offgrid.api import access
from offgrid.api.health import get_root
from offgrid.api.routes import ROUTES
from offgrid.api.throttle import COMPUTING
from offgrid.errors import PermissionDenied
from offgrid.sections import Config, ServiceSettings
from offgrid.types import SERVICES
from offgrid.web.message import Request
from offgrid.web.router import Route

CHAT = {"messages": [{"role": "user", "content": "Hi"}]}
# llama-server's, and OffGrid's own: no family that can be switched off
OWN_COMPUTING = {"/tokenize", "/detokenize", "/apply-template", "/infill", "/rerank", "/v1/rerank", "/v1/agents/run"}


def test_every_route_of_a_family_is_of_its_service_and_what_computes_can_be_switched_off():
    assert {route.service for route in ROUTES} == {"", *SERVICES}
    for route in ROUTES:
        assert route.service in ("", *SERVICES), route
        assert route.family in ("openai", route.service) or route.path.startswith("/ollama/v1/"), route
        assert route.service or route.permission not in COMPUTING or route.path in OWN_COMPUTING, route


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_that_is_switched_off_is_refused_by_name_and_the_others_are_not(service):
    settings = ServiceSettings(**{service: False})
    for other in ("", *SERVICES):
        route = Route("GET", "/x", print, "chat", service=other)
        if other == service:
            with pytest.raises(PermissionDenied, match=rf"not enabled by the administrator \(services\.{service}\)"):
                access.require_service(route, settings)
        else:
            access.require_service(route, settings)


def test_what_is_off_says_so_in_its_familys_words_and_what_is_no_family_stays(tmp_path):
    flags = ("--service-openai", "false", "--service-lollms", "no")
    server = RunningServer(tmp_path / "data", "--models-dir", str(tmp_path), *flags)
    try:
        for path, body in (
            ("/v1/models", None),
            ("/v1/models/tiny", None),
            ("/v1/chat/completions", CHAT),
            ("/v1/embeddings", {"input": "a"}),
        ):
            status, _, answer = server.request(path, body)
            assert (status, answer["error"]["code"]) == (403, "service_disabled"), path
            assert "OpenAI API" in answer["error"]["message"] and "detail" not in answer
        for path, body in (
            ("/lollms/v1/tokenize", {"text": "a"}),
            ("/v1/personalities", None),
            ("/api/api-keys", None),
        ):
            status, _, answer = server.request(path, body)
            assert (status, answer["error"]["code"]) == (403, "service_disabled"), path
            assert answer["detail"] == answer["error"]["message"] and "services.lollms" in answer["detail"]
        for path in ("/health", "/v1/sessions", "/v1/stats", "/metrics", "/slots"):
            assert server.request(path)[0] == 200, path
    finally:
        assert server.stop() == 0
    assert "Try:" not in "".join(server.output)


def test_a_service_that_requires_a_key_has_no_guests_and_others_keep_theirs(tmp_path):
    with People(tmp_path / "people", "--services-require-key", "lollms") as people:
        person = people.add()
        text = {"text": "a"}
        for path in ("/lollms/v1/tokenize", "/v1/tokenize"):
            status, headers, answer = people.request(path, text)
            assert (status, answer["error"]["code"]) == (401, "missing_api_key")
            assert headers["WWW-Authenticate"] == "Bearer" and answer["detail"]
            assert people.request(path, text, headers=person.headers)[0] == 404  # no model, but let in
        assert people.request("/v1/chat/completions", CHAT)[0] == 404
        assert people.request("/tokenize", {"content": "a"})[0] == 404
        assert people.request("/api/auth/token", method="POST")[0] == 400  # the way to a key stays open


# --- further ports ---


def root_at(port: int, **services) -> str:
    app = SimpleNamespace(config=Config(services=ServiceSettings(**services)))
    return get_root(Request("GET", "/", local_port=port), app).body.decode()


def test_the_root_is_ollamas_at_its_port_only_and_not_when_that_service_is_off():
    assert root_at(11434) == "Ollama is running"
    assert '"OffGrid LLM"' in root_at(11434, ollama=False)
    assert '"OffGrid LLM"' in root_at(11611)


def test_the_ports_of_other_programs_answer_as_their_clients_expect(tmp_path):
    """On an address of this test's own, as those ports are fixed."""
    host = f"127.{os.getpid() >> 8 & 255}.{os.getpid() & 255}.77"
    flags = ("--host", host, "--extra-ports", "11434,9642", "--models-dir", str(tmp_path))
    server = RunningServer(tmp_path / "data", *flags)
    try:
        main = server.url
        banner = wait_until(lambda: "no chat model" in "".join(server.output) and "".join(server.output))
        assert f"http://{host}:11434" in banner and f"http://{host}:9642" in banner
        server.url = f"http://{host}:11434"
        status, headers, answer = server.request("/")
        assert (status, headers["Content-Type"], answer) == (200, "text/plain; charset=utf-8", "Ollama is running")
        status, headers, answer = server.request("/", method="HEAD")
        assert (status, headers["Content-Length"], answer) == (200, "17", "")
        for url in (main, f"http://{host}:9642"):
            server.url = url
            assert server.request("/")[2]["name"] == "OffGrid LLM"
            assert server.request("/v1/models")[0] == 200
            status, _, answer = server.request("/lollms/v1/tokenize", {"text": "a"})
            assert (status, answer["error"]["code"]) == (404, "model_not_found") and answer["detail"]
    finally:
        assert server.stop() == 0


def test_an_extra_port_that_is_taken_stops_the_start_with_a_sentence(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        sentence = rf"offgrid: Cannot listen on .*{port} \(server\.extra_ports\).*in use"
        with pytest.raises(AssertionError, match=sentence):
            RunningServer(tmp_path / "data", "--models-dir", str(tmp_path), "--extra-ports", f"0,{port}")
