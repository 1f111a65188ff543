"""Documents in a data store of a server in this process, and what tests ask it with them."""

import http.client
import json
from pathlib import Path

from offgrid.app import App
from offgrid.store.datastores import DataStore
from offgrid.store.intake import Accepted

AURORA = """# The ship Aurora

## Crew
The captain of the Aurora is Ines Okafor. The ship has a crew of 23 people and sails from Bergen.

## Generator
The diesel generator was repaired in March by Tomas Lindqvist. The repair cost 4,300 crowns.
"""
CLINIC = """# Rules of the clinic

The pharmacy opens at 8:15. Insulin is kept in the blue refrigerator in room 12.
"""


def add_text(app: App, store: DataStore, folder: Path, name: str, text: str) -> str:
    """The id of the document that the text has become."""
    path = folder / name
    path.write_text(text)
    return app.knowledge.add(store, Accepted(name, path, is_upload=False), lambda: None).id


def send(app: App, path: str, body: dict, key: str = "") -> tuple[int, bytes]:
    """(status, body) of the answer to a POST."""
    connection = http.client.HTTPConnection("127.0.0.1", app.server.server_port, timeout=60)
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    connection.request("POST", path, json.dumps(body), headers)
    with connection.getresponse() as answer:
        content = answer.read()
    connection.close()
    return answer.status, content


def ask(app: App, path: str, body: dict, key: str = "") -> tuple[int, dict]:
    status, content = send(app, path, body, key)
    return status, json.loads(content)


def events(app: App, path: str, body: dict) -> list[dict]:
    """The data of a stream's events, but for [DONE]."""
    status, content = send(app, path, {**body, "stream": True})
    assert status == 200, content
    lines = content.decode().split("\n")
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
