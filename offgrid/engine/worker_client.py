"""One model's worker process, as the router sees it.

A thread of its own starts the process, reads its messages and calls the sinks; it ends with the process. A request may
be submitted before the model is loaded: its frame waits in the worker. Whatever happens to the process, every request
that was submitted and not cancelled gets exactly one terminal event.
"""

import itertools
import logging
import os
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial

from offgrid.engine.loading import FAILED, LOADING, READY
from offgrid.engine.meters import Meters
from offgrid.errors import ApiError, BadRequest, ContextLengthExceeded, EngineCrashed, InternalError, Unavailable
from offgrid.procs import machine
from offgrid.procs.child import Child, ChildGone
from offgrid.procs.command import self_command, self_environment
from offgrid.procs.frames import BrokenFrame
from offgrid.types import (
    Asked,
    Begun,
    CallArguments,
    CallBegun,
    Count,
    CountRequest,
    Delta,
    DetokenizeRequest,
    Drafted,
    EmbedRequest,
    Event,
    Finish,
    GenerateRequest,
    Lengths,
    LengthsRequest,
    Loaded,
    RenderRequest,
    Sink,
    Text,
    Thought,
    TokenizeRequest,
    Tokens,
    TokenScore,
    Usage,
    Vectors,
)

log = logging.getLogger(__name__)

# What is asked → the worker's word for it.
OPS = {
    GenerateRequest: "generate",
    EmbedRequest: "embed",
    TokenizeRequest: "tokenize",
    DetokenizeRequest: "detokenize",
    RenderRequest: "render",
    CountRequest: "count",
    LengthsRequest: "lengths",
}
# The worker's error kinds → the error that the client is told.
ERRORS: dict[str, Callable[[dict], ApiError]] = {
    "bad_request": lambda e: BadRequest(e["message"], param=e["param"]),
    "context_length": lambda e: ContextLengthExceeded(e["n_prompt_tokens"], e["n_ctx"], e["param"]),
    "internal": lambda e: InternalError(e["message"]),
}


class WorkerClient:
    def __init__(
        self,
        model_id: str,
        settings: dict,
        *,
        max_active: int,
        load_timeout_s: float,
        write_log: Callable[[str], None],
        on_change: Callable[[], None],
        on_progress: Callable[[str, float], None],
        meters: Meters,
        keep_alive_s: float = -1,
    ):
        """`settings` are the fields of `worker.model.ModelSettings`; at most `max_active` requests are held at once.

        `on_change` is called, without a lock held, when the worker becomes busy or idle and when it has ended;
        `on_progress` with a phase of `loading.py` and the fraction of the file that is read. `keep_alive_s` is how
        long it is to stay without requests, below 0 for ever; a request may change it.
        """
        self.model_id = model_id
        self.settings = settings
        self.facts: dict = {}  # what the worker said when it was ready
        self.figures: dict = {}  # how it stood lately, at most a second ago: `worker.scheduler.Scheduler.figures`
        self.is_ready = False
        self.is_leaving = False  # the pool has begun to end it
        self.has_ended = False
        self.ended_at = 0.0  # monotonic seconds, as all times here
        self.used_at = self._began = time.monotonic()  # when its last request came or ended
        self.loaded_at = 0.0
        self.keep_alive_s = keep_alive_s
        self.n_answered = 0  # requests that were computed to their end
        self.failure: ApiError | None = None  # why it ended, unless it was asked to
        self.n_threads = self._max_threads = settings["n_threads"]
        self._max_active = max_active
        self._write_log = write_log
        self._on_change = on_change
        self._on_progress = on_progress
        self._meters = meters
        self._ids = itertools.count(1)
        self._sinks: dict[int, Sink] = {}
        self._loads: list[int] = []  # those that only wait for the model to be loaded
        self._lock = threading.Lock()  # guards _sinks, has_ended and failure
        self._child: Child | None = None
        self._started = threading.Event()
        self._stop_error: ApiError | None = None
        self._timer = threading.Timer(load_timeout_s, self._load_took_too_long, [load_timeout_s])
        self._timer.daemon = True
        self._thread = threading.Thread(target=self._run, name=f"worker:{model_id}", daemon=True)

    # --- from any thread ---

    def start(self) -> None:
        """Start the process; returns when it exists, long before the model is loaded."""
        self._timer.start()
        self._thread.start()
        self._started.wait()

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    @property
    def n_active(self) -> int:
        return len(self._sinks)

    @property
    def used_bytes(self) -> int:
        """What the process has in RAM now, the pages of the model's file included."""
        return machine.resident_bytes(self.pid) if self.pid else 0

    @property
    def unused_s(self) -> float:
        """Seconds since its last request came or ended."""
        return 0.0 if self.n_active else time.monotonic() - self.used_at

    def submit(self, request: Asked, sink: Sink, keep_alive_s: float | None) -> Callable[[], None] | None:
        """Hand over a request, or with None wait for the model to be loaded.

        Returns what cancels it; None when the process has ended or will now. Raises Unavailable: the queue is full.
        """
        asked = None if request is None else {"op": OPS[type(request)], **asdict(request)}
        with self._lock:
            if self.has_ended or self.is_leaving:
                return None
            if len(self._sinks) >= self._max_active:
                raise Unavailable(
                    f"{len(self._sinks)} requests for {self.model_id} are running or waiting, which is the limit "
                    "(parallel + max_queue). Try again in a moment.",
                    retry_after_s=5,
                )
            id = next(self._ids)
            self._sinks[id] = sink
            became_busy = len(self._sinks) == 1
            self.used_at = time.monotonic()
            if keep_alive_s is not None:
                self.keep_alive_s = keep_alive_s
            if request is None:
                self._loads.append(id)
        if became_busy:
            self._on_change()
        if asked is not None:
            self._tell({**asked, "id": id})
        elif self.is_ready:
            self._answer_loads()
        return partial(self.cancel, id)

    def cancel(self, id: int) -> None:
        with self._lock:
            is_open = self._sinks.pop(id, None) is not None
            became_idle = is_open and not self._sinks
            self.used_at = time.monotonic()
        if is_open:
            self._tell({"op": "cancel", "id": id})
        if became_idle:
            self._on_change()

    def begin_to_leave(self) -> bool:
        """Take nothing more, so that `stop` can end it without an error to anybody; False when it is busy."""
        with self._lock:
            self.is_leaving = self.is_leaving or not self._sinks
            return self.is_leaving

    def set_threads(self, n: int) -> None:
        """Let it compute with `n` threads from its next step on, or with fewer if its model's settings say so."""
        n = min(n, self._max_threads)
        if n != self.n_threads:
            self.n_threads = n
            self._tell({"op": "threads", "n": n})

    def stop(self, error: ApiError) -> None:
        """End the process; requests that are still open get `error`. Returns within some 8 s, usually at once."""
        self._stop_error = self._stop_error or error
        self._timer.cancel()
        if self._child is not None:
            self._child.stop()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _tell(self, message: dict) -> None:
        if self._child is not None:  # else it could not be started
            try:
                self._child.send(message)
            except ChildGone:
                pass  # the worker's thread notices too, and ends all requests

    def _load_took_too_long(self, limit_s: float) -> None:
        if not self.is_ready:
            self.stop(InternalError(f"{self.model_id} was not loaded within {limit_s:g} s (load_timeout_s)."))

    # --- the worker's own thread ---

    def _run(self) -> None:
        reason = ""
        try:
            command = self_command("_worker", str(os.getpid()))
            self._child = Child(command, name=self.model_id, log=self._write_log, env=self_environment())
            self._meters.started(self.model_id)
            self._child.send(self.settings)
            self._started.set()
            for message, blob in self._child.frames():
                self._take(message, blob)
        except (OSError, ChildGone, BrokenFrame) as error:
            reason = str(error)
        finally:
            self._started.set()
            self._timer.cancel()
            if self._child is not None:
                self._child.stop()
            self._end(reason)

    def _take(self, message: dict, blob: bytes) -> None:
        match message["op"]:
            case "step":
                for id, n_prompt, n_cached in message["b"]:
                    self._deliver(id, Begun(n_prompt, n_cached))
                for id, text, *more in message["d"]:
                    self._deliver(id, _part(text, *more) if more else Delta(text))
                for id, reason, usage, prompt_ms, predicted_ms, drafted, *rest in message["f"]:
                    self._close(id, Finish(reason, Usage(*usage), prompt_ms, predicted_ms, Drafted(*drafted), *rest))
                for id, error in message["e"]:
                    self._close(id, ERRORS[error["kind"]](error))
            case "vectors":
                self._close(message["id"], Vectors(blob, message["n_dim"], message["n_tokens"]))
            case "tokens":
                self._close(message["id"], _tokens(blob, message["pieces"]))
            case "text":
                self._close(message["id"], Text(message["text"]))
            case "count":
                self._close(message["id"], Count(message["n"]))
            case "lengths":
                self._close(message["id"], Lengths(tuple(message["n_tokens"]), message["n_limit"]))
            case "figures":
                self._meters.stepped(self.model_id, message["steps"], message["computing_s"])
                self.figures = message
            case "loading":
                self._on_progress(LOADING, message["fraction"])
            case "ready":
                self._timer.cancel()
                self.facts = message
                self.loaded_at = self.used_at = time.monotonic()
                self._meters.loaded(self.model_id, self.loaded_at - self._began)
                self.is_ready = True
                self._on_progress(READY, 1.0)
                self._answer_loads()
                self._on_change()
            case "failed":
                text = f"{self.model_id} cannot be loaded: {message['message']}"
                self.failure = InternalError(text, code="model_load_failed", headers={"x-should-retry": "false"})

    def _answer_loads(self) -> None:
        with self._lock:
            ids, self._loads = self._loads, []
        for id in ids:
            self._close(id, Loaded(self.facts["n_limit"]))

    def _deliver(self, id: int, event) -> None:
        sink = self._sinks.get(id)
        if sink is None:
            return  # cancelled in the meantime
        try:
            sink(event)
        except Exception:  # one client's broken sink must not take the others' text away
            log.exception("the sink of request %d of %s failed", id, self.model_id)
            self.cancel(id)

    def _close(self, id: int, event) -> None:
        """Give a request its terminal event."""
        with self._lock:
            sink = self._sinks.pop(id, None)
            became_idle = sink is not None and not self._sinks
            self.used_at = time.monotonic()
        if sink is not None:
            self.n_answered += isinstance(event, Finish | Vectors)
            try:
                sink(event)
            except Exception:
                log.exception("the sink of request %d of %s failed at its end", id, self.model_id)
        if became_idle:
            self._on_change()

    def _end(self, reason: str) -> None:
        """The process is gone: tell everybody who still waits."""
        with self._lock:
            self.has_ended = True
            self.ended_at = time.monotonic()
            if self._stop_error is None and self.failure is None:
                self.failure = self._crash(reason)
            error = self._stop_error or self.failure
            open_ids = list(self._sinks)
        self._meters.ended(self.model_id, error)
        if self.failure is not None:
            log.error("%s", self.failure.message)
        if not self.is_ready:
            self._on_progress(FAILED, 0.0)
        for id in open_ids:
            self._close(id, error)
        self._on_change()

    def _crash(self, reason: str) -> EngineCrashed:
        how = self._child.how_it_ended() if self._child else "could not be started"
        words = reason or (self._child.last_words[-1] if self._child and self._child.last_words else "")
        details = f" Its last words: {words}" if words else ""
        return EngineCrashed(f"The engine for {self.model_id} {how}.{details} The next request starts it again.")


def _part(text: str, more: list | str, call: int = 0) -> Event:
    """New text that is more than plain content: `more` are its scores, or its kind."""
    match more:
        case "thought":
            return Thought(text)
        case "call":
            return CallBegun(call, text)
        case "arguments":
            return CallArguments(call, text)
    return Delta(text, _scores(more))


def _scores(scores: list) -> tuple[TokenScore, ...]:
    """JSON has no bytes: they come as characters with their numbers (Latin-1)."""
    return tuple(
        TokenScore(piece.encode("latin-1"), start, logprob, tuple((t.encode("latin-1"), p) for t, p in top))
        for piece, start, logprob, top in scores
    )


def _tokens(blob: bytes, pieces: list) -> Tokens:
    ids = struct.unpack(f"<{len(blob) // 4}i", blob)
    return Tokens(ids, {token: piece.encode("latin-1") for token, piece in pieces})
