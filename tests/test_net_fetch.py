"""Fetching from real servers on this machine: redirects, slow and lying servers, names that change their minds."""

import io
import ipaddress
import os
import socket
import ssl
import subprocess
import threading

import pytest
from fetch_server import BOUND_S, answer, redirect, told

from offgrid.errors import ApiError, BadGateway, PermissionDenied, TooLarge, Unavailable
from offgrid.net import connection, names
from offgrid.net.addresses import AddressRules
from offgrid.net.connection import Cancelled
from offgrid.net.fetch import fetch

HERE = ipaddress.ip_network("127.0.0.1/32")  # and not 127.0.0.2, which is somebody else in these tests
PUBLIC = AddressRules(networks_setting="agents.http_networks")


def get(server, path="/", *, host="127.0.0.1", ports=(), max_bytes=100_000, timeout_s=BOUND_S, **more):
    rules = AddressRules(networks=(HERE,), ports=(server.port, *ports))
    return fetch(f"http://{host}:{server.port}{path}", max_bytes=max_bytes, timeout_s=timeout_s, allow=rules, **more)


def names_of(table):
    """A resolver that knows these names; every question is counted."""

    def ask(host, port):
        ask.asked.append(host)
        if host not in table:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return table[host]

    ask.asked = []
    return ask


def test_a_document_comes_with_its_type_and_its_address():
    page = answer("grün".encode("latin-1"), "Content-Type: Text/HTML; charset=ISO-8859-1", "X-More: 1")
    with told({"/a?b": page}) as server:
        found = get(server, "/a?b#c")
    assert (found.status, found.body, found.n_bytes) == (200, "grün".encode("latin-1"), 4)
    assert (found.content_type, found.charset, found.headers["x-more"]) == ("text/html", "iso-8859-1", "1")
    assert found.url == f"http://127.0.0.1:{server.port}/a?b"
    head = server.asked[0]
    assert head.startswith("GET /a?b HTTP/1.1\r\n") and "Accept-Encoding: identity\r\n" in head
    assert f"Host: 127.0.0.1:{server.port}\r\n" in head and "Connection: close\r\n" in head


def test_an_error_of_the_other_side_is_an_answer_like_any_other():
    with told({"/": answer(b"no such page", status="404 Not Found")}) as server:
        found = get(server)
    assert (found.status, found.body) == (404, b"no such page")


def test_a_large_document_goes_into_a_file():
    body = os.urandom(300_000)
    with told({"/": answer(body)}) as server:
        kept = io.BytesIO()
        found = get(server, max_bytes=300_000, into=kept)
    assert kept.getvalue() == body and found.body == b"" and found.n_bytes == 300_000


def test_a_head_request_asks_for_no_body():
    with told({"/": answer(length=5_000_000)}) as server:
        found = get(server, method="HEAD")
    assert found.n_bytes == 0 and found.headers["content-length"] == "5000000"


def test_a_body_in_chunks_is_put_together():
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: 1\r\n\r\n"
    with told({"/": chunked}) as server:
        assert get(server).body == b"abcde"


def test_redirects_are_followed_to_their_end():
    with told(
        {"/": redirect("/b"), "/b": redirect("c?d#e", "308 Permanent Redirect"), "/c?d": answer(b"end")}
    ) as server:
        found = get(server)
    assert found.body == b"end" and found.url.endswith("/c?d")


def test_a_name_is_looked_up_once_and_asked_by_its_name():
    ask = names_of({"some.example": ["127.0.0.1"]})
    with told({"/": answer(b"ok")}) as server:
        assert get(server, host="some.example", ask=ask).body == b"ok"
    assert ask.asked == ["some.example"] and f"Host: some.example:{server.port}" in server.asked[0]


def test_a_name_that_changes_its_mind_gains_nothing():
    """DNS rebinding: the second answer would be another machine, and nobody asks a second time."""
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])
    with told({"/": answer(b"ok")}) as server:
        assert get(server, host="some.example", ask=lambda host, port: next(answers)).body == b"ok"
        assert next(answers) == ["127.0.0.2"]


def test_an_address_that_does_not_answer_gives_way_to_the_next():
    rules_net = ipaddress.ip_network("127.0.0.0/8")
    with told({"/": answer(b"ok")}) as server:
        rules = AddressRules(networks=(rules_net,), ports=(server.port,))
        ask = names_of({"some.example": ["127.0.0.9", "127.0.0.1"]})
        url = f"http://some.example:{server.port}/"
        assert fetch(url, max_bytes=10, timeout_s=BOUND_S, allow=rules, ask=ask).body == b"ok"


REFUSED = (
    "127.0.0.1 127.8.8.8 10.0.0.1 192.168.1.1 172.16.0.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 "
    "255.255.255.255 [::] [::1] [::ffff:127.0.0.1] [::ffff:a9fe:a9fe] [64:ff9b::7f00:1] [2002:7f00:1::] "
    "[2001:0:1::1] [fd00::1] [fe80::1] [ff02::1] "
)


@pytest.mark.parametrize("host", REFUSED.split())
def test_addresses_that_are_not_public_are_refused_without_a_connection(host):
    with pytest.raises(PermissionDenied, match=r"agents\.http_networks can allow it") as caught:
        fetch(f"http://{host}/", max_bytes=10, timeout_s=BOUND_S, allow=PUBLIC)
    assert caught.value.code == "address_refused"


@pytest.mark.parametrize(
    "addresses",
    ["127.0.0.1", "8.8.8.8 10.0.0.1", "::1", "::ffff:192.168.0.1", "fe80::1%eth0", "169.254.169.254", "x"],
)
def test_names_of_addresses_that_are_not_public_are_refused(addresses):
    ask = names_of({"inside.example": addresses.split()})
    with pytest.raises(PermissionDenied, match=r"inside\.example has the address"):
        fetch("http://inside.example/", max_bytes=10, timeout_s=BOUND_S, allow=PUBLIC, ask=ask)


def test_the_name_localhost_is_refused_by_its_address():
    with pytest.raises(PermissionDenied, match="localhost has the address"):
        fetch("http://localhost./", max_bytes=10, timeout_s=BOUND_S, allow=PUBLIC)


def test_this_machines_own_address_is_refused_though_it_is_public(monkeypatch):
    monkeypatch.setattr("offgrid.net.addresses.is_public", lambda address: True)
    with pytest.raises(PermissionDenied, match="this machine's own"):
        fetch("http://127.0.0.1/", max_bytes=10, timeout_s=BOUND_S, allow=PUBLIC)


@pytest.mark.parametrize(
    ("location", "error"),
    [
        ("http://127.0.0.2:{port}/secret", PermissionDenied),
        ("//127.0.0.2:{port}/secret", PermissionDenied),
        ("http://[::1]:{port}/secret", PermissionDenied),
        ("http://[::ffff:127.0.0.2]:{port}/secret", PermissionDenied),
        ("http://inside.example:{port}/secret", PermissionDenied),
        ("http://127.0.0.1:1/", PermissionDenied),
        ("http://169.254.169.254/latest/meta-data", PermissionDenied),
        ("http://2130706434:{port}/secret", BadGateway),
        ("http://0x7f.2:{port}/secret", BadGateway),
        ("http://user@127.0.0.1:{port}/secret", BadGateway),
        ("file:///etc/passwd", BadGateway),
        ("gopher://127.0.0.1:{port}/_x", BadGateway),
        ("http://127.0.0.1:{port}\\@elsewhere/", BadGateway),
        ("http://\xff/", BadGateway),
    ],
)
def test_a_redirect_to_what_is_refused_is_refused(location, error):
    with told({"/secret": answer(b"secret")}, "127.0.0.2") as other:
        answers = {"/": redirect(location.format(port=other.port)).decode().encode("latin-1")}
        with told(answers) as server, pytest.raises(error):
            get(server, ports=(other.port,), ask=names_of({"inside.example": ["127.0.0.2"]}))
        assert other.asked == [] and len(server.asked) == 1


def test_redirects_without_end_end():
    with told({"/": redirect("/")}) as server, pytest.raises(BadGateway, match="redirects more than 5 times"):
        get(server)
    assert len(server.asked) == 6


def drip(client):
    """A byte now and then, for as long as anybody listens."""
    client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    over = threading.Event()
    while not over.wait(0.02):
        client.sendall(b"x")


def drip_head(client):
    over = threading.Event()
    client.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while not over.wait(0.02):
        client.sendall(b"x")


def interim_for_ever(client):
    while True:
        client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


def chunks_for_ever(client):
    client.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        client.sendall(b"1;" + b"e" * 60_000 + b"\r\nx\r\n")


def flood(client):
    client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        client.sendall(b"x" * 65536)


def chunk_without_end(client):
    client.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n")
    while True:
        client.sendall(b"x" * 65536)


def silence(client):
    client.recv(1)


@pytest.mark.parametrize("behaviour", [drip, drip_head, silence])
def test_the_time_is_for_all_of_it(behaviour):
    with told({"/": behaviour}) as server, pytest.raises(BadGateway, match=r"longer than 0\.3 s"):
        get(server, timeout_s=0.3)


def test_a_fetch_that_nobody_wants_any_more_ends():
    begun = threading.Event()

    def answer_nothing(client):
        begun.set()
        client.recv(1)

    with told({"/": answer_nothing}) as server, pytest.raises(Cancelled):
        get(server, is_cancelled=begun.is_set)


@pytest.mark.parametrize("behaviour", [flood, answer(b"x" * 2000), answer(b"", length=10**15)])
def test_no_more_is_kept_than_the_limit(behaviour):
    with told({"/": behaviour}) as server, pytest.raises(TooLarge, match="larger than 1000 bytes"):
        get(server, max_bytes=1000)


@pytest.mark.parametrize("behaviour", [chunk_without_end, interim_for_ever, chunks_for_ever])
def test_what_comes_without_being_a_body_has_a_limit_as_well(behaviour):
    with told({"/": behaviour}) as server, pytest.raises(TooLarge):
        get(server, max_bytes=1000)


def test_a_length_that_is_too_short_cuts_what_is_read():
    with told({"/": answer(b"abcdef", length=3)}) as server:
        assert get(server).body == b"abc"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (answer(b"abc", length=10), "ended before it was complete"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "ended before it was complete"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab", "ended before it was complete"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nab", "not HTTP|ended before"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nab", "not HTTP|ended before"),
        (b"", "not HTTP|RemoteDisconnected"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not HTTP"),
        (b"HTTP/1.1 xyz\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", "not HTTP"),
        (answer(b"\x1f\x8b", "Content-Encoding: gzip"), r"packed \(gzip\)"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "packed"),
    ],
)
def test_a_broken_answer_is_an_error_that_says_so(said, why):
    with told({"/": said}) as server, pytest.raises(BadGateway, match=why):
        get(server)


def test_nobody_listening_is_an_error_that_says_so():
    with told({}) as server:
        pass
    with pytest.raises(BadGateway, match="Connection refused"):
        get(server)


def test_an_unknown_name_is_an_error_that_says_so():
    with pytest.raises(BadGateway, match=r"nowhere.example is not known here \(Name or service"):
        fetch("http://nowhere.example/", max_bytes=1, timeout_s=BOUND_S, allow=PUBLIC, ask=names_of({}))


def test_a_resolver_that_hangs_costs_the_time_and_at_most_so_many_threads():
    release = threading.Event()

    def hang(host, port):
        release.wait(BOUND_S)
        return ["8.8.8.8"]

    def ask_it():
        fetch("http://slow.example/", max_bytes=1, timeout_s=0.05, allow=PUBLIC, ask=hang)

    for _ in range(names.N_AT_ONCE):
        with pytest.raises(BadGateway, match="longer than"):
            ask_it()
    with pytest.raises(Unavailable):
        ask_it()
    resolvers = [thread for thread in threading.enumerate() if thread.name == "net:resolve"]
    assert len(resolvers) == names.N_AT_ONCE
    release.set()
    for thread in resolvers:
        thread.join(BOUND_S)
    with pytest.raises(BadGateway, match="not known"):  # and there is room again
        fetch("http://slow.example/", max_bytes=1, timeout_s=BOUND_S, allow=PUBLIC, ask=names_of({}))


def test_proxies_of_the_environment_are_passed_over(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1/")
    with told({"/": answer(b"direct")}) as server:
        assert get(server).body == b"direct"


def test_a_full_disk_is_the_callers_own_error():
    with told({"/": answer(b"x" * 100)}) as server, open("/dev/full", "wb", buffering=0) as full:
        with pytest.raises(OSError, match="No space left") as caught:
            get(server, into=full)
        assert not isinstance(caught.value, ApiError)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
    name = ["-subj", "/CN=some.example", "-addext", "subjectAltName=DNS:some.example"]
    subprocess.run(
        ["openssl", "req", "-x509", *kind, *name, "-keyout", key, "-out", cert], check=True, capture_output=True
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return cert, context


def get_tls(server, host, **more):
    rules = AddressRules(networks=(HERE,), ports=(server.port,))
    ask = names_of({"some.example": ["127.0.0.1"], "other.example": ["127.0.0.1"]})
    return fetch(f"https://{host}:{server.port}/", max_bytes=10**6, timeout_s=BOUND_S, allow=rules, ask=ask, **more)


@pytest.fixture
def trusted(certificate, monkeypatch):
    context = ssl.create_default_context(cafile=certificate[0])
    monkeypatch.setattr(connection, "_tls", lambda: context)


def test_a_certificate_is_checked_against_the_name_not_the_address(certificate, trusted):
    with told({"/": answer(b"x" * 500_000)}, tls=certificate[1]) as server:
        assert get_tls(server, "some.example").n_bytes == 500_000
        with pytest.raises(BadGateway, match=r"certificate is not good: Hostname mismatch.*other\.example"):
            get_tls(server, "other.example")
        with pytest.raises(BadGateway, match="certificate is not good"):
            get_tls(server, "127.0.0.1")


def test_a_certificate_of_nobody_known_is_refused(certificate):
    self_signed = pytest.raises(BadGateway, match="certificate is not good: self-signed")
    with told({"/": answer(b"x")}, tls=certificate[1]) as server, self_signed:
        get_tls(server, "some.example")
    assert server.asked == []


def test_a_redirect_from_https_to_http_is_refused(certificate, trusted):
    with told({"/": answer(b"plain")}) as plain:
        answers = {"/": redirect(f"http://127.0.0.1:{plain.port}/")}
        refused = pytest.raises(BadGateway, match="from https to http")
        with told(answers, tls=certificate[1]) as server, refused:
            get_tls(server, "some.example")
        assert plain.asked == []


def test_a_server_that_speaks_no_tls_is_an_error_that_says_so():
    def speak(client):
        client.sendall(b"220 mail.example ESMTP\r\n" * 10)
        client.recv(1)

    with told({}, greet=speak) as server, pytest.raises(BadGateway, match="cannot be fetched"):
        get_tls(server, "some.example")
