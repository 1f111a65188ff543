"""A real server in a process of its own, as a user would start it, for tests to talk to over HTTP."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
CHAT = "SmolLM2-135M-Instruct.Q4_1"
EMBEDDING = "all-MiniLM-L6-v2.F16"
PROGRAM = (str(REPO / "offgrid.py"), "serve")
STARTERS = ("--models-dir", str(REPO / "models"))  # flags: with the starter models
SIGNS_OF_LIFE = ("--keep-alive-interval-s", "0.05")  # a waiting stream shows by a comment that it has been accepted


class RunningServer:
    """`python offgrid.py serve` on a free loopback port. `url` is there when the port answers.

    `program` is what Python is given instead, and `cwd` the folder to start it in.
    """

    def __init__(
        self,
        data_dir: Path,
        *flags: str,
        env: dict[str, str] | None = None,
        program: tuple[str, ...] = PROGRAM,
        cwd: Path | None = None,
    ):
        self.data_dir = data_dir
        command = [sys.executable, *program, "--port", "0", "--data-dir", str(data_dir), *flags]
        clean = {k: v for k, v in os.environ.items() if not k.startswith("OFFGRID_")}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**clean, **(env or {})}, cwd=cwd
        )
        self.output: list[str] = []
        for line in self.process.stdout:
            self.output.append(line)
            if address := re.search(r"https?://\S+", line):
                self.url = address[0]
                break
        else:
            raise AssertionError("the server did not start:\n" + "".join(self.output))
        self._reader = threading.Thread(target=lambda: self.output.extend(self.process.stdout), daemon=True)
        self._reader.start()

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def request(self, path: str, body: object = None, *, method: str | None = None, headers: dict | None = None):
        """(status, headers, parsed JSON or text). `body` is sent as JSON."""
        data = None if body is None else json.dumps(body).encode()
        head = {"Content-Type": "application/json", **(headers or {})}
        asked = urllib.request.Request(self.url + path, data, head, method=method)
        try:
            answer = urllib.request.urlopen(asked, timeout=110)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            raw = answer.read()
        is_json = answer.headers.get_content_type() == "application/json"
        return answer.status, answer.headers, json.loads(raw) if is_json and raw else raw.decode()

    def chat(self, text: str, **fields) -> dict:
        """The answer to one message; greedy unless told otherwise. Fails the test when it is an error."""
        body = {"messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 16, **fields}
        status, _, answer = self.request("/v1/chat/completions", body)
        assert status == 200, answer
        return answer

    def children(self) -> list[int]:
        """Process ids of the server's children."""
        return children_of(self.process.pid)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signal it and wait for its end; returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(30)
        self._reader.join()
        self.process.stdout.close()
        return status


def children_of(pid: int) -> list[int]:
    """Process ids. From every process's own word for its parent: a thread's list of children can be read with gaps."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = stat.read_text().rpartition(")")[2].split()[1]
        except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            continue
        if int(parent) == pid:
            found.append(int(stat.parent.name))
    return found


def wait_until(condition: Callable[[], object], timeout_s: float = 5.0):
    """The first true value of `condition`; fails the test when there is none in time."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"did not happen within {timeout_s} s"
        time.sleep(0.01)
    return value
