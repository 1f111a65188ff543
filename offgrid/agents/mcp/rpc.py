"""JSON-RPC 2.0 with one peer: requests that wait for their answers, and what comes in between.

Knows messages and who waits, nothing of pipes, HTTP or what MCP means by them. Must stay true: nobody waits longer than
they said; an entry of the table of waiting requests is removed on every way out; what nobody waits for (wrong ids, late
answers, garbage) is passed over; nothing here blocks the thread that calls `take`.
"""

import json
import logging
import math
import re
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from offgrid.agents.mcp.lines import MAX_LINE_BYTES, Cut

log = logging.getLogger(__name__)

MAX_WAITING = 64  # requests to one peer at the same time
MAX_CALL_S = 600  # of a request whose peer goes on telling how far it is
MAX_NODES = 200_000  # lists and objects in one message: each takes some 60 bytes, and two bytes to write
MAX_BATCH = 100
MAX_TEXT_CHARS = 1000  # of a peer's own words in a message of ours
LOOK_INTERVAL_S = 0.1  # at whether the one who asked still wants to know
METHOD_NOT_FOUND = -32601

Progress = Callable[[float, float | None, str], None]  # how far, of how much, in words


class McpError(Exception):
    """What was asked of an MCP server did not work; the message is for the one who asked."""


class TimedOut(McpError):
    pass


class Cancelled(McpError):
    """The one who asked no longer wants to know."""


class Gone(McpError):
    """The connection ended before the answer; the request may have had its effect."""


class NotSent(Gone):
    """The connection had ended before the request was sent: to ask again is safe."""


class Refused(McpError):
    """The peer answered with an error of its own."""

    def __init__(self, message: str, code: int, data: Any):
        super().__init__(message)
        self.code = code
        self.data = data


class Transport(Protocol):
    def send(self, message: bytes, id: int | None) -> None:
        """Send one message, never waiting. `id`: of the request that it is. Raises NotSent, McpError."""

    def forget(self, id: int) -> None:
        """Nobody waits any longer for the answer to this request."""


class _Waiting:
    """One request until its answer is there."""

    __slots__ = ("answer", "arrived", "on_progress", "restarted_at")

    def __init__(self, on_progress: Progress | None):
        self.arrived = threading.Event()
        self.answer: dict | McpError | None = None
        self.on_progress = on_progress
        self.restarted_at = time.monotonic()  # the time-out counts from here

    def settle(self, answer: "dict | McpError") -> None:
        """The first one counts."""
        if not self.arrived.is_set():
            self.answer = answer
            self.arrived.set()


class Rpc:
    """`request` and `notify` are for any thread; `take` and `end` for the one that reads.

    `answer(method, params)` makes the result of a request of the peer's, or None for what it cannot ask;
    `notice(method, params)` is given its notifications. Neither may block.
    """

    def __init__(self, answer: Callable[[str, dict], dict | None], notice: Callable[[str, dict], None]):
        self.transport: Transport | None = None  # set before anything else happens
        self._answer = answer
        self._notice = notice
        self._waiting: dict[int, _Waiting] = {}
        self._n_asked = 0
        self._ended: str | None = None  # why
        self._lock = threading.Lock()

    @property
    def n_waiting(self) -> int:
        return len(self._waiting)

    @property
    def is_open(self) -> bool:
        return self._ended is None

    def request(
        self,
        method: str,
        params: dict | None = None,
        *,
        timeout_s: float,
        on_progress: Progress | None = None,
        is_cancelled: Callable[[], bool] | None = None,
        may_cancel: bool = True,
    ) -> dict:
        """The result. Progress starts the time anew, up to MAX_CALL_S; `on_progress` is called by the reading thread.

        Raises TimedOut, Cancelled, NotSent, Gone, Refused, McpError.
        """
        waiting = _Waiting(on_progress)
        id = self._enter(waiting)
        try:
            params = dict(params or {})
            if on_progress is not None:
                params["_meta"] = {"progressToken": id}
            self.transport.send(_encode({"id": id, "method": method, "params": params}), id)
            self._wait(waiting, method, timeout_s, is_cancelled)
        except (TimedOut, Cancelled) as error:
            if may_cancel:
                self._tell_cancelled(id, error)
            raise
        finally:
            with self._lock:
                del self._waiting[id]
            self.transport.forget(id)
        return _result_of(waiting.answer, method)

    def notify(self, method: str, params: dict | None = None) -> None:
        """Raises NotSent, McpError."""
        self.transport.send(_encode({"method": method} | ({"params": params} if params else {})), None)

    def take(self, line: bytes | Cut) -> bool:
        """One message that came in; whether somebody waited for it."""
        if isinstance(line, Cut):
            return self._take_cut(line)
        message = parse(line)
        if not isinstance(message, list):
            return self._take_one(message)
        return sum(map(self._take_one, message[:MAX_BATCH])) > 0

    def end(self, why: str, unheard: int | None = None) -> None:
        """Nothing comes in any more: whoever waits is told why. Harmless when called again.

        `unheard`: the id of a request that is known to have had no effect.
        """
        with self._lock:
            if self._ended is not None:
                return
            self._ended = why
            waiting = list(self._waiting.items())
        for id, one in waiting:
            one.settle(NotSent(why) if id == unheard else Gone(why))

    def fail(self, id: int, error: McpError) -> None:
        """There will be no answer to this one request."""
        if waiting := self._waiting.get(id):
            waiting.settle(error)

    def _enter(self, waiting: _Waiting) -> int:
        with self._lock:
            if self._ended is not None:
                raise NotSent(self._ended)
            if len(self._waiting) >= MAX_WAITING:
                raise McpError(f"{MAX_WAITING} requests are waiting for it already.")
            self._n_asked += 1
            self._waiting[self._n_asked] = waiting
            return self._n_asked

    def _wait(self, waiting: _Waiting, method: str, timeout_s: float, is_cancelled: Callable[[], bool] | None) -> None:
        last = time.monotonic() + max(timeout_s, MAX_CALL_S)
        while True:
            left_s = min(waiting.restarted_at + timeout_s, last) - time.monotonic()
            if waiting.arrived.wait(max(0, min(left_s, LOOK_INTERVAL_S) if is_cancelled else left_s)):
                return
            if is_cancelled is not None and is_cancelled():
                raise Cancelled(f"{method} was cancelled.")
            if time.monotonic() >= min(waiting.restarted_at + timeout_s, last):
                raise TimedOut(f"{method} was not answered within {timeout_s:g} s.")

    def _tell_cancelled(self, id: int, why: McpError) -> None:
        try:
            self.notify("notifications/cancelled", {"requestId": id, "reason": str(why)})
        except McpError:  # it is gone, or does not listen: nothing left to cancel
            pass

    def _take_cut(self, line: Cut) -> bool:
        found = _ID_AT_BEGIN.match(line.head) or _ID_AT_END.search(line.tail)
        waiting = self._waiting.get(int(found[1])) if found else None
        log.warning("an MCP server sent a message of %d bytes, which is passed over", line.n_bytes)
        if waiting is None:
            return False
        waiting.settle(McpError(f"The answer has {line.n_bytes} bytes; at most {MAX_LINE_BYTES} are read."))
        return True

    def _take_one(self, message: Any) -> bool:
        if not isinstance(message, dict):
            return False
        method, id, params = message.get("method"), message.get("id"), message.get("params")
        if isinstance(method, str):
            params = params if isinstance(params, dict) else {}
            if id is None:
                self._take_notice(method, params)
            elif isinstance(id, str | int):
                self._reply(id, self._answer(method, params), method)
            return False
        waiting = self._waiting.get(id) if type(id) is int else None
        if waiting is not None:
            waiting.settle(message)
        return waiting is not None

    def _take_notice(self, method: str, params: dict) -> None:
        if method != "notifications/progress":
            self._notice(method, params)
            return
        token, done, total = params.get("progressToken"), params.get("progress"), params.get("total")
        waiting = self._waiting.get(token) if type(token) is int else None
        if waiting is None or waiting.on_progress is None or type(done) not in (int, float):
            return
        waiting.restarted_at = time.monotonic()
        text = params.get("message")
        try:
            waiting.on_progress(
                float(done),
                float(total) if type(total) in (int, float) else None,
                text[:MAX_TEXT_CHARS] if isinstance(text, str) else "",
            )
        except Exception:  # the caller's fault must not end the reading for everybody
            log.exception("what was to be told of an MCP server's progress failed")

    def _reply(self, id: str | int, result: dict | None, method: str) -> None:
        refusal = {"code": METHOD_NOT_FOUND, "message": f"{method[:100]} is not there"}
        try:
            self.transport.send(
                _encode({"id": id} | ({"error": refusal} if result is None else {"result": result})), None
            )
        except McpError:  # who does not read its answers gets none
            pass


# Where programs put the id of a long answer: Python's first, JavaScript's last.
_ID_AT_BEGIN = re.compile(rb'\s*\{\s*"jsonrpc"\s*:\s*"2\.0"\s*,\s*"id"\s*:\s*(\d{1,15})\s*,')
_ID_AT_END = re.compile(rb',\s*"id"\s*:\s*(\d{1,15})\s*\}\s*$')


def parse(line: bytes) -> Any:
    """A message as JSON; None for what is none, or holds more than is good for our memory."""
    if not line.lstrip().startswith((b"{", b"[")):  # the garbage of a program that is no server, at little cost
        return None
    if line.count(b"{") + line.count(b"[") > MAX_NODES:
        return None
    try:
        return json.loads(line, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError):
        return None


def _finite(text: str) -> float:
    """JSON has no NaN and no Infinity, and what we pass on must have none."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _encode(message: dict) -> bytes:
    try:
        return json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":"), allow_nan=False).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise McpError(f"This cannot be sent as JSON: {error}") from None


def _result_of(answer: "dict | McpError", method: str) -> dict:
    if isinstance(answer, McpError):
        raise answer
    error = answer.get("error")
    if error is not None:
        error = error if isinstance(error, dict) else {"message": str(error)}
        code = error.get("code")
        text = str(error.get("message") or "no reason given")[:MAX_TEXT_CHARS]
        raise Refused(f"{method} was refused: {text}", code if type(code) is int else 0, error.get("data"))
    if not isinstance(answer.get("result"), dict):
        raise McpError(f"{method} was answered with neither a result nor an error.")
    return answer["result"]
