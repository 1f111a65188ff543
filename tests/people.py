"""A server with accounts, and people with credentials for it. Its admin's password is `ADMIN_PASSWORD`."""

import http.client
import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from running import RunningServer

ADMIN_PASSWORD = "open-sesame"
PASSWORD = "secret of one"


@dataclass
class Person:
    id: str
    username: str
    key: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


class People:
    """`with People(folder, "--guest-access", "false") as people`. Without models unless a flag names their folder."""

    def __init__(self, folder: Path, *flags: str, admin_password: str = ADMIN_PASSWORD):
        folder.mkdir(exist_ok=True)
        empty = folder / "no-models"
        empty.mkdir()
        env = {"OFFGRID_MULTI_USER": "true", "OFFGRID_ADMIN_PASSWORD": admin_password}
        self.server = RunningServer(folder / "data", "--models-dir", str(empty), "--preload", "false", *flags, env=env)
        self.request = self.server.request
        self._admin: dict[str, str] = {}

    def __enter__(self) -> "People":
        return self

    def __exit__(self, *_) -> None:
        assert self.server.stop() == 0

    @property
    def admin(self) -> dict[str, str]:
        """Headers of the first admin."""
        if not self._admin:
            self._admin = {"Authorization": f"Bearer {self.token('admin', ADMIN_PASSWORD)}"}
        return self._admin

    def add(self, role: str = "user", username: str | None = None) -> Person:
        """A new account, with `PASSWORD`."""
        body = {"username": username or f"{role}-{secrets.token_hex(4)}", "password": PASSWORD, "role": role}
        status, _, answer = self.request("/v1/users", body, headers=self.admin)
        assert status == 200, answer
        return Person(answer["user"]["id"], answer["user"]["username"], answer["api_key"])

    def token(self, username: str, password: str = PASSWORD) -> str:
        status, _, answer = self.request("/v1/auth/login", {"username": username, "password": password})
        assert status == 200, answer
        return answer["token"]

    def log_in_from(self, address: str, username: str, password: str) -> tuple[int, http.client.HTTPMessage, dict]:
        """Status, headers and answer of a login from another loopback address."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, 60, source_address=(address, 0))
        body = json.dumps({"username": username, "password": password})
        connection.request("POST", "/v1/auth/login", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        parsed = json.loads(answer.read())
        connection.close()
        return answer.status, answer.headers, parsed


def error_of(answer: dict) -> str:
    return answer["error"]["code"]
