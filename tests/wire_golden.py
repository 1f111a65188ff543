"""Requests and answers of an API as text files: what a server says is held against them, field by field.

A file holds exchanges, one after the other: a line `> POST /path`, the request's JSON, a line `< 200 application/json`
and the answer: JSON, or the events of a stream as they came. What differs from run to run is masked: an id becomes its
prefix and its number in the file (`resp_1`), which requests may use as well; times and counts of cached tokens become
words. With GOLDEN=write in the environment the answers are written instead of compared.
"""

import http.client
import json
import os
import re
from pathlib import Path

ID = re.compile(r"\b(resp|msg|rs|fc|fco|call|chatcmpl)[_-]([0-9a-f]{24,})\b")
VARYING = {"created_at": "<time>", "completed_at": "<time>", "created": "<time>", "cached_tokens": "<number>"}
VARYING |= {"timings": "<times>"}


class Masks:
    """Ids of one file and the names that they have there."""

    def __init__(self):
        self._names: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    def mask(self, value: object, key: str = "") -> object:
        if key in VARYING and value is not None:
            return VARYING[key]
        if isinstance(value, dict):
            return {name: self.mask(one, name) for name, one in value.items()}
        if isinstance(value, list):
            return [self.mask(one) for one in value]
        if isinstance(value, str):
            return ID.sub(lambda match: self._name(match[0], match[1]), value)
        return value

    def unmask(self, text: str) -> str:
        for id, name in self._names.items():
            text = re.sub(rf"\b{name}\b", id, text)
        return text

    def _name(self, id: str, prefix: str) -> str:
        if id not in self._names:
            self._counts[prefix] = self._counts.get(prefix, 0) + 1
            self._names[id] = f"{prefix}_{self._counts[prefix]}"
        return self._names[id]


def check_golden(path: Path, port: int) -> None:
    """Send what the file says, and hold what comes back against it."""
    masks, written = Masks(), []
    for request, wanted in _exchanges(path.read_text()):
        head, _, body = masks.unmask(request).partition("\n")
        found = _ask(port, *head.split(), body.strip(), masks)
        written.append(f"> {request.strip()}\n{found}")
        if os.environ.get("GOLDEN") != "write":
            assert _parsed(found) == _parsed(wanted), f"{path.name}: {head}"
    if os.environ.get("GOLDEN") == "write":
        path.write_text("\n".join(written))


def _exchanges(text: str) -> list[tuple[str, str]]:
    """(request, answer) pairs; the answer of a new file may be missing."""
    pairs = []
    for exchange in re.split(r"^> ", text, flags=re.MULTILINE)[1:]:
        request, mark, answer = exchange.partition("\n< ")
        pairs.append((request, mark[1:] + answer))
    return pairs


def _ask(port: int, method: str, path: str, body: str, masks: Masks) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=110)
    connection.request(method, path, body.encode() or None, {"Content-Type": "application/json"} if body else {})
    answer = connection.getresponse()
    text, kind = answer.read().decode(), answer.headers.get_content_type()
    connection.close()
    shown = _events(text, masks) if kind == "text/event-stream" else _pretty(masks.mask(json.loads(text)))
    return f"< {answer.status} {kind}\n{shown}"


def _events(text: str, masks: Masks) -> str:
    """The lines of a stream, their data masked. Comments come as time goes by, so they are left out."""
    lines = [line for line in text.split("\n") if not line.startswith(":")]
    assert all(re.match(r"event: \S+$|data: |$", line) for line in lines), text
    return "\n".join(f"data: {_masked(line[6:], masks)}" if line.startswith("data: ") else line for line in lines)


def _masked(data: str, masks: Masks) -> str:
    return json.dumps(masks.mask(json.loads(data)), ensure_ascii=False) if data != "[DONE]" else data


def _pretty(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


def _parsed(answer: str) -> list:
    """Head, then JSON or lines: compared as values, so that the order of members does not matter."""
    head, _, rest = answer.partition("\n")
    if "event-stream" not in head:
        return [head, json.loads(rest)]
    lines = rest.strip().split("\n")
    is_json = [line.startswith("data: {") for line in lines]
    return [head, *(json.loads(line[6:]) if data else line for line, data in zip(lines, is_json, strict=True))]
