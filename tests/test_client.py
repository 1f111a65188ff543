"""The Python library against a small real HTTP server: what it asks and answers, its addresses, its use as a package.

Streams are in `test_client_streams.py`, errors in `test_client_errors.py`.
"""

import base64
import json
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from running import REPO
from scripted_server import WORDS, Handler, chat_reply, reply, stream_reply

import offgrid
from offgrid.client.address import parse


def test_chat_answers_with_the_text(scripted):
    scripted.answers = [chat_reply("Hi!")]
    client = offgrid.Client(host=scripted.url)
    assert client.chat("Hello!") == "Hi!"
    method, path, body, headers = scripted.requests[0]
    assert (method, path) == ("POST", "/v1/chat/completions")
    assert body == {"messages": [{"role": "user", "content": "Hello!"}]}
    assert headers["Content-Type"] == "application/json"
    assert headers["Authorization"] is None


def test_chat_sends_what_was_given_and_nothing_else(scripted):
    scripted.answers = [chat_reply("")]
    client = offgrid.Client(scripted.url)
    client.chat(
        "And now?",
        model="m",
        system="Be kind.",
        messages=[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
        temperature=0,
        max_tokens=5,
        stop=["x"],
        presence_penalty=0.5,
    )
    assert scripted.requests[0][2] == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": "And now?"},
        ],
        "temperature": 0,
        "max_tokens": 5,
        "stop": ["x"],
        "presence_penalty": 0.5,
    }


def test_chat_with_documents_says_so_and_has_the_citations(scripted):
    cited = [{"document_name": "ship.md"}]
    choices = [{"index": 0, "message": {"role": "assistant", "content": "Ines."}}]
    event = (
        b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"citations":[{"document_name":"ship.md"}]}'
    )
    scripted.answers = [
        reply({"choices": choices, "citations": cited}),
        stream_reply(WORDS[1], event + b"\n\n", b"data: [DONE]\n\n"),
    ]
    client = offgrid.Client(scripted.url)
    answer = client.chat("Who?", use_kb=True)
    assert (answer, answer.citations) == ("Ines.", cited)
    stream = client.chat("Who?", datastore_id="d1", stream=True)
    assert stream.citations == []
    assert list(stream) == ["Once "]
    assert stream.citations == cited
    asked = [request[2] for request in scripted.requests]
    assert asked[0] == {"messages": [{"role": "user", "content": "Who?"}], "use_knowledge_base": True}
    assert asked[1]["datastore_id"] == "d1"


def test_chat_without_anything_to_say_is_refused_before_it_is_sent(scripted):
    with pytest.raises(TypeError, match="prompt or messages"):
        offgrid.Client(scripted.url).chat()
    assert scripted.requests == []


def test_a_chat_without_text_is_an_empty_string(scripted):
    scripted.answers = [chat_reply(None)]
    assert offgrid.Client(scripted.url).chat("call a tool") == ""


def test_complete_answers_with_text_whole_and_streamed(scripted):
    scripted.answers = [
        reply({"choices": [{"text": " a time"}]}),
        stream_reply(b'data: {"choices": [{"text": " a"}]}\n\n', b"data: [DONE]\n\n"),
    ]
    client = offgrid.Client(scripted.url)
    assert client.complete("Once upon", max_tokens=2) == " a time"
    assert list(client.complete("Once upon", stream=True)) == [" a"]
    assert [path for _, path, _, _ in scripted.requests] == ["/v1/completions"] * 2
    assert scripted.requests[0][2] == {"prompt": "Once upon", "max_tokens": 2}


def test_embed_gives_one_vector_for_a_text_and_a_list_for_a_list(scripted):
    def row(index, *values):
        return {"index": index, "embedding": base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()}

    scripted.answers = [reply({"data": [row(0, 1.0, -0.5)]}), reply({"data": [row(1, 3.0), row(0, 2.0)]})]
    client = offgrid.Client(scripted.url)
    assert client.embed("a") == [1.0, -0.5]
    assert client.embed(["a", "b"], model="m") == [[2.0], [3.0]]
    assert scripted.requests[0][2] == {"input": "a", "encoding_format": "base64"}
    assert scripted.requests[1][2] == {"input": ["a", "b"], "encoding_format": "base64", "model": "m"}


def test_embed_takes_plain_numbers_too(scripted):
    scripted.answers = [reply({"data": [{"index": 0, "embedding": [0.25, 1]}]})]
    assert offgrid.Client(scripted.url).embed("a") == [0.25, 1]


def test_models_health_and_info_are_what_the_server_says(scripted):
    scripted.answers = [
        reply({"object": "list", "data": [{"id": "m"}]}),
        reply({"data": []}),
        reply({"status": "healthy"}),
        reply({"name": "OffGrid LLM"}),
    ]
    client = offgrid.Client(scripted.url)
    assert client.list_models() == [{"id": "m"}]
    assert client.models.list() == []
    assert client.health() == {"status": "healthy"}
    assert client.info() == {"name": "OffGrid LLM"}
    assert [(m, path) for m, path, _, _ in scripted.requests] == [
        ("GET", "/v1/models"),
        ("GET", "/v1/models"),
        ("GET", "/health"),
        ("GET", "/"),
    ]


def test_what_the_server_cannot_do_yet_says_so():
    client = offgrid.Client()
    with pytest.raises(offgrid.NotSupportedYet, match="models folder"):
        client.models.download("repo/model", "file.gguf")


def test_host_and_key_come_from_the_environment(scripted, monkeypatch):
    monkeypatch.setenv("OFFGRID_HOST", scripted.url + "/")
    monkeypatch.setenv("OFFGRID_API_KEY", "og_1")
    scripted.answers = [chat_reply("a"), stream_reply(*WORDS, b"data: [DONE]\n\n"), chat_reply("b")]
    offgrid.Client().chat("x")
    list(offgrid.Client().chat("x", stream=True))
    offgrid.Client(api_key="og_2").chat("x")
    keys = [headers["Authorization"] for _, _, _, headers in scripted.requests]
    assert keys == ["Bearer og_1", "Bearer og_1", "Bearer og_2"]


def test_a_path_in_front_is_kept_and_localhost_is_found_on_ipv4(scripted):
    scripted.answers = [reply({"data": []})]
    port = scripted.server_address[1]
    offgrid.Client(f"http://localhost:{port}/ai/").list_models()
    _, path, _, headers = scripted.requests[0]
    assert path == "/ai/v1/models"
    assert headers["Host"] == f"localhost:{port}"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("192.168.1.100", "http://192.168.1.100:11611"),
        ("192.168.1.100:80", "http://192.168.1.100:80"),
        ("box.local/ai", "http://box.local:11611/ai"),
        ("http://box.local", "http://box.local:80"),
        ("https://box.local", "https://box.local:443"),
        ("http://box:11611/v1", "http://box:11611"),
        ("https://box/ai/v1/", "https://box:443/ai"),
        ("::1", "http://[::1]:11611"),
        ("[fe80::1]:99", "http://[fe80::1]:99"),
        ("0.0.0.0", "http://127.0.0.1:11611"),
    ],
)
def test_a_host_is_written_in_many_ways(host, url):
    assert parse(host).url == url


@pytest.mark.parametrize(
    "host", ["", "ftp://box", "http://", "box:port", "http://box:99999", "http://u:p@box", "a?b=1"]
)
def test_what_is_no_address_is_refused(host):
    with pytest.raises(ValueError, match="is not the address of a server"):
        parse(host)


def test_one_client_serves_many_threads(scripted):
    class EchoHandler(Handler):
        def handle_any(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            chat_reply(body["messages"][0]["content"])(self)

        do_POST = handle_any

    scripted.RequestHandlerClass = EchoHandler
    client = offgrid.Client(scripted.url)
    texts = [str(i) for i in range(50)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(client.chat, texts)) == texts


def test_importing_offgrid_loads_neither_the_library_nor_the_server():
    code = "import sys, offgrid; print(offgrid.__version__, *(name for name in sys.modules if 'offgrid.' in name))"
    out = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True).stdout
    assert out.split() == [offgrid.__version__]


def test_the_library_works_as_a_copy_in_another_project(tmp_path):
    copy = tmp_path / "ai"
    copy.mkdir()
    for path in (REPO / "offgrid/client").glob("*.py"):
        (copy / path.name).write_bytes(path.read_bytes())
    code = "import sys, ai; ai.Client('box'); print(*(name for name in sys.modules if name.startswith('offgrid')))"
    out = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert out.strip() == ""


def test_every_name_of_the_library_is_found_in_offgrid():
    from offgrid import client

    assert all(getattr(offgrid, name) is getattr(client, name) for name in client.__all__)
    assert set(client.__all__) <= set(dir(offgrid))
    with pytest.raises(AttributeError, match="has no attribute 'Clint'"):
        offgrid.Clint  # noqa: B018
