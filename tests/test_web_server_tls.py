"""The web server over TLS: answers, streams, proper ends, hang-ups, and clients that do not speak it."""

import json
import socket
import ssl
import subprocess
from contextlib import closing

import pytest
from web_app import BOUND_S, Client, get, post, serving


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = ["openssl", "req", "-x509", *kind, *name, "-keyout", key, "-out", cert]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


def tls_client(server, certificate):
    context = ssl.create_default_context(cafile=certificate[0])
    sock = socket.create_connection(server.server_address, timeout=BOUND_S)
    return Client(server, context.wrap_socket(sock, server_hostname="localhost", suppress_ragged_eofs=False))


def test_tls_answers_streams_and_ends_properly(certificate):
    with serving(tls=certificate) as server, closing(tls_client(server, certificate)) as client:
        assert json.loads(client.ask(post(b"secret" * 50_000))[2])["tls"] is True
        assert client.ask(get("/stream"))[2] == b"000001111122222"
        assert len(client.ask(get("/stream?size=100000&count=10"))[2]) == 1_000_000
        client.send(get("/stream") + get("/echo", "Connection: close"))
        assert (client.answer()[0], client.answer()[0]) == (200, 200)
        assert client.is_closed()  # by close_notify: a ragged end would raise


def test_a_hang_up_over_tls_ends_the_handlers_wait(certificate):
    with serving(tls=certificate) as server:
        client = tls_client(server, certificate)
        client.send(get("/wait"))
        assert server.app.held.acquire(timeout=BOUND_S)
        client.close()
        assert server.app.gone.acquire(timeout=BOUND_S)


def test_a_tls_client_that_reads_nothing_does_not_hold_up_the_engine(certificate):
    with serving(tls=certificate) as server, closing(tls_client(server, certificate)) as client:
        client.send(get("/stream?size=1000000&count=20"))
        assert server.app.seen.acquire(timeout=BOUND_S)
        assert server.app.seen.acquire(timeout=BOUND_S)


def test_silent_and_plain_clients_on_a_tls_port_hurt_nobody(certificate):
    with serving(tls=certificate, handshake_timeout_s=0.2) as server, closing(Client(server)) as silent:
        plain = Client(server)
        plain.send(get("/"))
        with closing(tls_client(server, certificate)) as client:
            assert client.ask(get("/"))[0] == 200
        assert plain.is_closed() and silent.is_closed()
        plain.close()
