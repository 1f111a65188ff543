"""What tests of faults do to a server: leave its streams, freeze its worker, run the whole of it in this process.

The fixtures that go with it, in `conftest.py`, are `tiny_server` and `endless_models`.
"""

import http.client
import json
import os
import signal
import threading
from contextlib import contextmanager
from pathlib import Path

from running import RunningServer

from offgrid.app import App
from offgrid.logs import Logs
from offgrid.sections import Config, PathSettings, ServerSettings

ENDLESS = {"max_tokens": 100_000}


class Stream:
    """A streamed chat as its client sees it. The constructor returns when the first byte of the answer is there."""

    def __init__(self, port: int, text: str = "Hello!", **fields):
        body = {"messages": [{"role": "user", "content": text}], "temperature": 0, "stream": True, **fields}
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        self.answer = self._connection.getresponse()

    def event(self) -> str:
        """The data of the next event; "" at the end of the stream."""
        for line in self.answer:
            if line.startswith(b"data: "):
                return line[6:].decode().strip()
        return ""

    def events(self) -> list[str]:
        """The data of all events that are still to come."""
        events = list(iter(self.event, ""))
        self.hang_up()
        return events

    def hang_up(self) -> None:
        self.answer.close()
        self._connection.close()


def ask(server: RunningServer, text: str = "Hello!", **fields):
    """(status, headers, answer) of a chat without stream."""
    body = {"messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 8, **fields}
    return server.request("/v1/chat/completions", body)


def check_one_error(events: list[str], code: str) -> None:
    """A stream that failed: text, then one error, and no [DONE]."""
    assert "[DONE]" not in events
    errors = [json.loads(event)["error"] for event in events if '"error"' in event]
    assert [error["code"] for error in errors] == [code]
    assert '"error"' in events[-1]


def worker_of(server: RunningServer) -> int:
    """Process id of its only worker."""
    [pid] = server.children()
    return pid


def is_running(pid: int) -> bool:
    """Whether a process is there and more than a zombie that nobody has reaped yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def frozen(pid: int):
    """The process stands still meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def in_thread(function, *args, **fields) -> tuple[threading.Thread, list]:
    """Run it beside the test; the list will hold what it returned."""
    result = []
    thread = threading.Thread(target=lambda: result.append(function(*args, **fields)), daemon=True)
    thread.start()
    return thread, result


@contextmanager
def running_app(models: Path, data: Path, **sections):
    """The whole server inside this process; `sections` are those of its `Config`."""
    paths = PathSettings(models_dir=models, data_dir=data)
    config = Config(server=ServerSettings(port=0), paths=paths, **sections)
    logs = Logs(config.log, data / "logs")
    app = App(config, logs)
    try:
        app.start()
        yield app
    finally:
        app.stop()
        logs.close()


def post(app: App, body: dict) -> tuple[int, dict]:
    connection = http.client.HTTPConnection("127.0.0.1", app.server.server_port, timeout=30)
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
    with connection.getresponse() as answer:
        content = json.load(answer)
    connection.close()
    return answer.status, content
