"""The web server as a whole: where it listens, bursts of clients, its bound, and stopping without a trace."""

import json
import os
import socket
import threading
from contextlib import closing

import pytest
from running import wait_until
from web_app import BOUND_S, App, Client, get, serving

from offgrid.errors import SetupError
from offgrid.web.server import Server


def ask_once(server):
    with closing(Client(server)) as client:
        return client.ask(get("/"))[0]


def test_a_burst_of_clients_is_answered_to_the_last():
    server = Server(("127.0.0.1", 0), App())
    clients = [Client(server) for _ in range(200)]  # nobody accepts yet: only the backlog holds them
    server.start()
    try:
        for client in clients:
            client.send(get("/burst"))
        assert [client.answer()[0] for client in clients] == [200] * 200
    finally:
        for client in clients:
            client.close()
        assert server.stop(BOUND_S)


def test_beyond_the_bound_a_client_is_told_to_come_back():
    with serving(max_connections=1) as server, closing(Client(server)) as first:
        assert first.ask(get("/"))[0] == 200
        with closing(Client(server)) as second:
            status, headers, _ = second.ask(get("/"))
            assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
            assert second.is_closed()
        assert first.ask(get("/"))[0] == 200
        first.close()
        wait_until(lambda: ask_once(server) == 200)


def fds_and_threads():
    return len(os.listdir("/proc/self/fd")), sorted(thread.name for thread in threading.enumerate())


def test_stopping_leaves_no_thread_and_no_fd():
    before = fds_and_threads()
    for _ in range(20):
        with serving(extra_ports=(0,)) as server:
            clients = [Client(server) for _ in range(5)]
            assert clients[0].ask(get("/stream"))[0] == 200
            clients[1].send(b"GET / HT")
            clients[2].send(get("/wait"))
            assert server.app.held.acquire(timeout=BOUND_S)
            clients[2].close()
        for client in clients:
            client.close()
    wait_until(lambda: fds_and_threads() == before)


def test_stopping_closes_idle_connections_and_lets_a_running_request_end():
    with serving() as server, closing(Client(server)) as idle, closing(Client(server)) as busy:
        assert idle.ask(get("/"))[0] == 200
        busy.send(get("/hold"))
        assert server.app.held.acquire(timeout=BOUND_S)
        stopping = threading.Thread(target=server.stop, args=[BOUND_S])
        stopping.start()
        assert idle.is_closed()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(server.server_address)
        server.app.release.set()
        status, headers, body = busy.answer()
        assert (status, headers["connection"], body) == (200, "close", b"held")
        stopping.join(BOUND_S)
        assert not stopping.is_alive()


def test_stopping_cuts_what_does_not_end_in_time():
    with serving() as server, closing(Client(server)) as client:
        client.send(get("/wait"))
        assert server.app.held.acquire(timeout=BOUND_S)
        assert server.stop(0)
        assert server.app.gone.acquire(blocking=False)
        assert client.is_closed()


def test_a_server_that_never_started_can_be_stopped():
    before = fds_and_threads()
    server = Server(("127.0.0.1", 0), App())
    assert server.stop() and server.stop()
    assert fds_and_threads() == before


def test_ipv6_is_served_and_ipv4_by_its_plain_address():
    server = Server(("::", 0), App())
    server.start()
    try:
        for host in ("::1", "127.0.0.1"):
            with closing(Client(None, socket.create_connection((host, server.server_port), BOUND_S))) as client:
                assert json.loads(client.ask(get("/"))[2])["peer"] == host
    finally:
        server.stop()


def test_one_server_listens_on_several_ports_and_says_by_which_a_request_came():
    with serving(extra_ports=(0, 0)) as server:
        assert len(set(server.ports)) == 3 and server.ports[0] == server.server_port
        clients = [Client(server, socket.create_connection(("127.0.0.1", port), BOUND_S)) for port in server.ports]
        for _ in range(2):  # a connection lives on, whichever port it came by
            assert [json.loads(client.ask(get("/"))[2])["port"] for client in clients] == server.ports
        for client in clients:
            client.close()
    for port in server.ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))


def test_the_bound_of_connections_holds_over_all_ports():
    with serving(extra_ports=(0,), max_connections=1) as server, closing(Client(server)) as first:
        assert first.ask(get("/"))[0] == 200
        with closing(Client(server, socket.create_connection(("127.0.0.1", server.ports[1]), BOUND_S))) as second:
            assert second.ask(get("/"))[0] == 503


def test_an_extra_port_that_is_taken_is_said_with_its_setting_and_nothing_stays_open():
    before = fds_and_threads()
    with serving() as other, pytest.raises(SetupError, match=rf"{other.server_port} \(server.extra_ports\): .*in use"):
        Server(("127.0.0.1", 0), App(), extra_ports=(0, other.server_port))
    wait_until(lambda: fds_and_threads() == before)


def test_an_address_in_use_and_a_missing_certificate_are_said_in_a_sentence(tmp_path):
    with serving() as server, pytest.raises(SetupError, match="in use"):
        Server(server.server_address, App())
    with pytest.raises(SetupError, match="certificate"):
        Server(("127.0.0.1", 0), App(), tls=(tmp_path / "no.crt", tmp_path / "no.key"))
