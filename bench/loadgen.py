"""Put a load of concurrent streaming requests on an OpenAI-compatible server, and say in figures how it did.

    python bench/loadgen.py --url http://127.0.0.1:11611 --model ID --clients 8 --tokens 128

prints one JSON line. While bytes arrive they are only stamped with the time; what they say is read afterwards, because
client and server share one processor. Tokens are counted from the usage that the server reports, never from events.
"""

import argparse
import asyncio
import itertools
import json
import secrets
import statistics
import sys
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field

import prompts

PATIENCE_S = 900  # a request that takes longer is an error


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send requests, and which model to ask for."""

    host: str
    port: int
    model: str
    path: str = ""  # put before /v1
    key: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One text to be continued by exactly `max_tokens` tokens: the end-of-text token is ignored."""

    text: str
    max_tokens: int
    seed: int
    is_chat: bool = True  # else the text goes to /v1/completions, without the chat template's own words
    temperature: float = 0.8
    further: dict = field(default_factory=dict)  # fields of the body besides


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. Times are `time.perf_counter` seconds; `error` is None when the answer is complete."""

    sent_at: float
    token_times: tuple[float, ...]  # arrival of every event that carried text
    ended_at: float
    text: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    error: str | None
    n_drafted: int = 0  # tokens computed on a guess, as `timings` says
    n_accepted: int = 0

    @property
    def ttft_s(self) -> float:
        """Time to first token; to the end, where no token had text of its own."""
        return min(self.token_times, default=self.ended_at) - self.sent_at

    @property
    def tokens_per_s(self) -> float:
        """Of its own, after the first token; 0 when all came at once."""
        writing_s = self.ended_at - self.sent_at - self.ttft_s
        return (self.completion_tokens - 1) / writing_s if writing_s > 0 else 0.0

    @property
    def gaps_s(self) -> list[float]:
        """The waits between one piece of text and the next."""
        return [b - a for a, b in itertools.pairwise(self.token_times)]


class Stream(asyncio.Protocol):
    """One request on a connection of its own, being answered."""

    def __init__(self, message: bytes):
        self.sent_at = time.perf_counter()
        self.n_events = 0  # so far, roughly
        self.has_ended = asyncio.get_running_loop().create_future()
        self._message = message
        self._pieces: list[tuple[float, bytes]] = []

    @classmethod
    async def send(cls, target: Target, request: Request) -> "Stream":
        """Raises OSError when nobody listens."""
        loop = asyncio.get_running_loop()
        _, stream = await loop.create_connection(lambda: cls(_message(target, request)), target.host, target.port)
        return stream

    def connection_made(self, transport) -> None:
        self._transport = transport
        transport.write(self._message)

    def data_received(self, data: bytes) -> None:
        self._pieces.append((time.perf_counter(), data))
        self.n_events += data.count(b"data:")

    def connection_lost(self, _error: Exception | None) -> None:
        if not self.has_ended.done():
            self.has_ended.set_result(None)

    def hang_up(self) -> None:
        self._transport.abort()

    def answer(self) -> Answer:
        """What has arrived so far."""
        return read_answer(self.sent_at, self._pieces)


def _message(target: Target, request: Request) -> bytes:
    if request.is_chat:
        resource, content = "chat/completions", {"messages": [{"role": "user", "content": request.text}]}
    else:
        resource, content = "completions", {"prompt": request.text}
    # Everything that shapes the draw is said, so that no server's defaults make its work lighter.
    sampling = {"temperature": request.temperature, "top_k": 40, "top_p": 0.95, "min_p": 0.05, "seed": request.seed}
    streaming = {"stream": True, "stream_options": {"include_usage": True}}
    fixed = {"model": target.model, "max_tokens": request.max_tokens, "ignore_eos": True}
    fields = {**fixed, **content, **sampling, **streaming, **request.further}
    body = json.dumps(fields).encode()
    head = [
        f"POST {target.path}/v1/{resource} HTTP/1.1",
        f"Host: {target.host}:{target.port}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *([f"Authorization: Bearer {target.key}"] if target.key else []),
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


async def run(target: Target, requests: list[Request], n_clients: int) -> list[Answer]:
    """Send the requests from `n_clients` clients, each of which has one at a time. Raises OSError, TimeoutError."""
    waiting = iter(requests)  # shared: a client that is done takes the next one
    answers = []

    async def client():
        for request in waiting:
            stream = await Stream.send(target, request)
            await asyncio.wait_for(stream.has_ended, PATIENCE_S)
            answers.append(stream.answer())

    await asyncio.gather(*(client() for _ in range(n_clients)))
    return answers


def read_answer(sent_at: float, pieces: list[tuple[float, bytes]]) -> Answer:
    """Make sense of the bytes of one HTTP answer, each piece of which comes with the time of its arrival."""
    raw = b"".join(data for _, data in pieces)
    head, _, rest = raw.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1].decode() if head.startswith(b"HTTP/") else "no status"
    texts, usage, timings, error, is_done, times = [], {}, {}, None, False, []
    for arrived_at, data in _events(pieces, len(head) + 4, b"transfer-encoding: chunked" in head.lower()):
        if data == b"[DONE]":
            is_done = True
            continue
        event = json.loads(data)
        error = event.get("error") or error
        usage = event.get("usage") or usage
        timings = event.get("timings") or timings
        if text := "".join(_text(choice) for choice in event.get("choices", ())):
            texts.append(text)
            times.append(arrived_at)
    if status != "200":
        error = f"status {status}: {rest[-300:].decode('utf-8', 'replace')}"
    elif not error and not (is_done and usage):
        error = "the stream ended before its end"
    return Answer(
        sent_at,
        tuple(times),
        pieces[-1][0] if pieces else sent_at,
        "".join(texts),
        usage.get("prompt_tokens", 0),
        (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0),
        usage.get("completion_tokens", 0),
        str(error) if error else None,
        timings.get("draft_n", 0),
        timings.get("draft_n_accepted", 0),
    )


def _text(choice: dict) -> str:
    return choice.get("delta", {}).get("content") or choice.get("text") or ""


def _events(pieces: list[tuple[float, bytes]], at: int, is_chunked: bool) -> Iterator[tuple[float, bytes]]:
    """(arrival, data) of each server-sent event; the body begins at offset `at` of the pieces together."""
    unread = b""
    for arrived_at, body in _chunks(pieces, at) if is_chunked else _plain(pieces, at):
        *lines, unread = (unread + body).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield arrived_at, line[5:].strip()


def _plain(pieces: list[tuple[float, bytes]], at: int) -> Iterator[tuple[float, bytes]]:
    """(arrival, bytes) of a body that ends with its connection."""
    n_read = 0
    for arrived_at, data in pieces:
        yield arrived_at, data[max(0, at - n_read) :]
        n_read += len(data)


def _chunks(pieces: list[tuple[float, bytes]], at: int) -> Iterator[tuple[float, bytes]]:
    """(arrival, bytes) of each complete HTTP chunk; it has arrived when its last byte has."""
    raw = b""
    for arrived_at, data in pieces:
        raw += data
        while (line_end := raw.find(b"\r\n", at)) >= 0:
            end = line_end + 2 + int(raw[at:line_end].partition(b";")[0], 16)
            if len(raw) < end + 2:
                break
            yield arrived_at, raw[line_end + 2 : end]
            at = end + 2


def figures(answers: list[Answer]) -> dict:
    """The figures of one load. Those about time and tokens are of complete answers only; count `n_errors` first."""
    complete = [a for a in answers if a.error is None]
    errors = [a.error for a in answers if a.error is not None]
    found = {"n_requests": len(answers), "n_errors": len(errors), "errors": errors[:2]}
    if not complete:
        return found
    wall_s = max(a.ended_at for a in complete) - min(a.sent_at for a in complete)
    n_tokens = sum(a.completion_tokens for a in complete)
    gaps_s = [gap for a in complete for gap in a.gaps_s] or [0.0]
    return found | {
        "wall_s": round(wall_s, 3),
        "tokens": n_tokens,
        "tokens_per_s": round(n_tokens / wall_s, 2),
        "answer_tokens_per_s": round(statistics.median(a.tokens_per_s for a in complete), 2),
        "ttft_s": round(statistics.median(a.ttft_s for a in complete), 4),
        "ttft_max_s": round(max(a.ttft_s for a in complete), 4),
        "gap_s": round(statistics.median(gaps_s), 4),
        "gap_max_s": round(max(gaps_s), 4),
        "prompt_tokens": round(statistics.median(a.prompt_tokens for a in complete)),
        "cached_tokens": round(statistics.median(a.cached_tokens for a in complete)),
        "drafted": sum(a.n_drafted for a in complete),
        "accepted": sum(a.n_accepted for a in complete),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Load an OpenAI-compatible server; one JSON line of figures.")
    parser.add_argument("--url", required=True, help="without /v1, http only: http://127.0.0.1:11611")
    parser.add_argument("--model", required=True)
    parser.add_argument("--key", default="", help="API key")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--requests", type=int, help="for all clients together (one each)")
    parser.add_argument("--tokens", type=int, default=128, help="to generate for each request")
    parser.add_argument("--words", type=int, default=24, help="length of each request's own text")
    parser.add_argument("--shared-words", type=int, default=0, help="length of a text that all requests begin with")
    parser.add_argument("--key-of-texts", default=secrets.token_hex(4), help="the same one makes the same texts again")
    options = parser.parse_args()
    url = urllib.parse.urlsplit(options.url)
    if url.scheme != "http":
        parser.error(f"--url must begin with http://; it is {options.url}")
    target = Target(url.hostname, url.port or 80, options.model, url.path.rstrip("/"), options.key)
    shared = prompts.text(f"{options.key_of_texts} shared", options.shared_words)
    requests = []
    for i in range(options.requests or options.clients):
        key = f"{options.key_of_texts} {i}"
        text = f"{shared}\n{prompts.text(key, options.words)}".strip()
        requests.append(Request(text, options.tokens, prompts.seed(key)))
    try:
        answers = asyncio.run(run(target, requests, options.clients))
    except OSError as error:
        print(f"loadgen: {options.url}: {error}", file=sys.stderr)
        return 1
    found = figures(answers)
    print(json.dumps({"clients": options.clients, **found}))
    return 1 if found["n_errors"] else 0


if __name__ == "__main__":
    sys.exit(main())
