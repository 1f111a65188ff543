"""Every route, for everybody, in every mode: held against `permissions.txt`, which is written by hand."""

import http.client
import json
import re
from contextlib import contextmanager
from pathlib import Path

import pytest
from faults import running_app

from offgrid.api import access
from offgrid.api.routes import ROUTES
from offgrid.sections import AccessSettings
from offgrid.store.logins import hash_of
from offgrid.types import ROLES

WHO = ("none", "guest", "viewer", "user", "admin", "revoked key", "expired login", "wrong key")
ACCOUNTS = AccessSettings(multi_user=True, admin_password="open-sesame")
MODES = {
    "single": AccessSettings(),
    "lan": AccessSettings(),
    "multi": ACCOUNTS,
    "auth": AccessSettings(multi_user=True, admin_password="open-sesame", require_auth=True),
    "closed": AccessSettings(multi_user=True, admin_password="open-sesame", guest_access=False),
}
# What a path's parameter may hold, and what nothing has.
UNKNOWN = {"scope": "role", "key_id": "999", "name": "nothing"}
# What this version does not have, or not yet: nothing but errors is documented there.
LATER = {route.path for route in ROUTES if not route.handler.answers}
ODD = ("..%2f..%2fetc", "%00", "x" * 300, "%27%3B--", "%C3%A9", "%F0%9F%90%9F", "-1", "99999999999999999999", "%20")
BODIES = (
    b"",
    b"null",
    b"[]",
    b"{",
    b"{}",
    b"[" * 50_000,
    b'{"a": "\xff"}',
    b'{"a": 1, "a": 2}',
    b'{"model": 5, "messages": {}, "prompt": 7, "input": {}, "name": [], "username": {}, "password": 1, "role": 2}',
    b'{"model": "\\ud800", "name": "\\u0000", "username": "\\ud800", "password": "\\ud800xxxxxxx", "role": "\\ud800"}',
    b'{"concurrent": 1e400, "key_ids": [1e400], "expires_at": 1e400, "limit": NaN}',
)


def expected() -> dict[tuple[str, str], dict[str, str]]:
    """(method, path) → mode → the signs for WHO."""
    table = {}
    for line in (Path(__file__).parent / "permissions.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            method, path, *signs = line.split()
            assert len(signs) == len(MODES) and all(re.fullmatch(r"[+13m]{8}", cell) for cell in signs), line
            assert (method, path) not in table, line
            table[method, path] = dict(zip(MODES, signs, strict=True))
    return table


@contextmanager
def credentials(mode: str, folder: Path):
    """(port, who → headers) of a server in one of the modes. Without accounts, everybody sends something made up."""
    (folder / "models").mkdir()
    with running_app(folder / "models", folder / "data", access=MODES[mode]) as app:
        keys = {who: f"og_{'x' * 42}{i}" for i, who in enumerate(WHO)}
        if MODES[mode].multi_user:
            accounts = app.accounts
            for role in ROLES:
                user = accounts.users.create(f"the-{role}", "secret-of-one", role)
                keys[role] = accounts.keys.create(user.id, "a")[1]
            revoked, keys["revoked key"] = accounts.keys.create(user.id, "b")
            accounts.keys.revoke(user.id, [revoked.id])
            keys["expired login"] = accounts.logins.create(accounts.users.get(user.id))
            with app.db.write() as sql:
                hash = hash_of(keys["expired login"])
                assert sql.execute("UPDATE logins SET expires_s = -1 WHERE hash = ?", (hash,)).rowcount == 1
        headers = {who: {"Authorization": f"Bearer {key}"} for who, key in keys.items()}
        headers["none"] = {}
        yield app.server.server_port, headers


class Client:
    """One connection after the other, each for as many requests as it takes."""

    def __init__(self, port: int):
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def ask(self, method: str, path: str, headers: dict, body: bytes) -> tuple[int, str]:
        """(status, error code). Of an answer without an end only the head is read."""
        kind = "application/x-www-form-urlencoded" if path == "/api/auth/token" else "application/json"
        self._connection.request(method, path, body, {"Content-Type": kind, **headers})
        answer = self._connection.getresponse()
        if answer.headers.get_content_type() == "text/event-stream":
            self._connection.close()
            return answer.status, ""
        content = answer.read()
        if answer.status < 400:
            return answer.status, ""
        assert answer.headers.get_content_type() == "application/json", path
        error = json.loads(content).get("error") if content else None  # /ready says what is missing by itself
        return answer.status, (error.get("code") or "") if isinstance(error, dict) else ""  # Ollama's is only a text


def sign_of(status: int, code: str) -> str:
    if status == 401:
        return "1"
    if status == 403:
        return "m" if code == "multi_user_disabled" else "3"
    return "+"


def filled_in(path: str, value: str | None = None) -> str:
    """A route's path with its parameters replaced."""
    return re.sub(r"\{([a-z_]+)(:path)?\}", lambda m: value or UNKNOWN.get(m[1], "0" * 32), path)


def check_health(method: str, path: str, status: int) -> None:
    """No request may make the server fail; without models it is not ready, and what it does not do is a 501."""
    is_right = (status == 503 and path.startswith("/ready")) or (status == 501 and path in LATER)
    assert status < 500 or is_right, (method, path, status)


def test_the_table_has_every_route_and_no_other():
    assert expected().keys() == {(route.method, route.path) for route in ROUTES}


@pytest.mark.parametrize("mode", MODES)
def test_everybody_may_do_what_the_table_says_and_nothing_else(mode, tmp_path, monkeypatch):
    if mode == "lan":
        monkeypatch.setattr(access, "_is_loopback", lambda peer: False)
    wrong = []
    with credentials(mode, tmp_path) as (port, headers):
        client = Client(port)
        for (method, path), signs in expected().items():
            for who, sign in zip(WHO, signs[mode], strict=True):
                status, code = client.ask(method, filled_in(path), headers[who], b"{}")
                check_health(method, path, status)
                if sign_of(status, code) != sign:
                    wrong.append(f"{method} {path}, {who}: {status} {code}, expected {sign}")
    assert wrong == []


def test_whatever_is_sent_nothing_fails_and_nobody_gets_more(tmp_path):
    """An own walk over all routes until there is a document of the API that others can walk over."""
    with credentials("multi", tmp_path) as (port, headers):
        client = Client(port)
        for (method, path), signs in expected().items():
            for who, sign in zip(WHO[:5], signs["multi"], strict=False):
                for body in BODIES:
                    status, code = client.ask(method, filled_in(path), headers[who], body)
                    check_health(method, path, status)
                    assert sign_of(status, code) == sign, (method, path, who, body[:60], status, code)
                for odd in ODD if "{" in path else ():
                    target = f"{filled_in(path, odd)}?limit={odd}&before={odd}&offset={odd}"
                    status, code = client.ask(method, target, headers[who], b"{}")
                    check_health(method, path, status)
                    got = sign_of(status, code)
                    assert got == sign or (status in (400, 404) and sign != "+"), (method, target, who, status)
