"""Running generations for a handler: as a stream that the engine's thread writes, or collected into one answer.

The handler thread submits, then waits once for the end while it watches its client; leaving, for whatever reason,
cancels what still runs. Several choices of one request are several generations with one waiter.
"""

import time
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from offgrid.api.wire import total_usage
from offgrid.engine.catalog import ModelFile
from offgrid.errors import ApiError
from offgrid.types import Asked, Begun, End, Event, Finish, GenerateRequest, Part, Sink, Tally, Usage, Vectors
from offgrid.web.message import Request, Response
from offgrid.web.stream import StreamWriter, Wakeup


class Encoder(Protocol):
    """How a family spells one answer, whole or as a stream; the engine's thread calls what belongs to streams."""

    n_choices: int  # for each prompt
    content_type: str  # of a stream
    silence: bytes  # what is sent now and then while nothing comes, so that nobody takes the stream for dead

    def whole(self, parts: list[list[Part]], ends: list[Finish]) -> dict:
        """The body of an answer without stream; for each choice all its parts and its end."""

    def part(self, index: int, part: Part) -> bytes:
        """New text of choice `index`."""

    def finish(self, index: int, end: Finish, ends: list[Finish]) -> bytes:
        """The end of a choice; `ends` are those of all choices when this was the last one, else empty."""

    def error(self, error: ApiError) -> bytes:
        """The end of a stream that has begun and cannot go on."""


@runtime_checkable
class BegunEncoder(Protocol):
    """An Encoder whose stream begins with what is known of the prompt."""

    def begin(self, begun: Begun) -> None:
        """Called once, before the first `part`; nothing is sent."""


class Answer:
    """The sinks of one request's choices. The engine's thread calls them; read `error` and `ends` after the wakeup."""

    def __init__(self, wakeup: Wakeup, n: int, n_choices: int = 1):
        """`n` generations, `n_choices` for each prompt."""
        self.error: ApiError | None = None
        self.ends: list[End | None] = [None] * n
        self.begun = [Begun(0)] * n
        self.n_parts = [0] * n
        self.first_part_at: float | None = None  # time.perf_counter
        self._n_open = n
        self._n_choices = n_choices
        self._wakeup = wakeup

    def sink(self, index: int) -> Sink:
        """The sink of choice `index`."""
        return lambda event: self._take(index, event)

    def on_begun(self, begun: Begun) -> None:
        """A choice is about to be computed."""

    def on_part(self, index: int, part: Part) -> None:
        """New text of a choice."""

    def on_finish(self, index: int, end: End, *, is_last: bool) -> None:
        """A choice is complete."""

    def _take(self, index: int, event: Event) -> None:
        if self.error is not None:
            return  # the request has failed; its other choices are being cancelled
        if isinstance(event, Part):
            if self.first_part_at is None:
                self.first_part_at = time.perf_counter()
            self.n_parts[index] += 1
            self.on_part(index, event)
        elif isinstance(event, Begun):
            self.begun[index] = event
            self.on_begun(event)
        elif isinstance(event, ApiError):
            self.error = event
            self._wakeup.set()
        else:
            self._n_open -= 1
            self.ends[index] = event
            self.on_finish(index, event, is_last=self._n_open == 0)
            if self._n_open == 0:
                self._wakeup.set()

    def note(self, tally: Tally, submitted_at: float) -> None:
        """Note what was computed, also for choices that were left before their end: of these the whole prompt."""
        if self.first_part_at is not None:
            tally.first_token_s = self.first_part_at - submitted_at
        finishes = [end for end in self.ends if isinstance(end, Finish)]
        if finishes:
            tally.queue_s = max(end.queued_ms for end in finishes) / 1e3
        if n_after_first := sum(end.usage.completion_tokens - 1 for end in finishes):
            tally.token_s = sum(end.predicted_ms for end in finishes) / 1e3 / n_after_first
        total = total_usage([self._usage(index) for index in range(len(self.ends))], self._n_choices)
        tally.prompt_tokens, tally.cached_tokens = total.prompt_tokens, total.cached_tokens
        tally.completion_tokens = total.completion_tokens
        tally.drafted_tokens = sum(end.drafted.n for end in finishes)
        tally.accepted_tokens = sum(end.drafted.n_accepted for end in finishes)

    def _usage(self, index: int) -> Usage:
        end, begun = self.ends[index], self.begun[index]
        if isinstance(end, Finish):
            return end.usage
        if isinstance(end, Vectors):
            return Usage(end.n_tokens)
        # At least: a part may hold several tokens.
        return Usage(begun.prompt_tokens, self.n_parts[index], begun.cached_tokens)


class CollectedAnswer(Answer):
    def __init__(self, wakeup: Wakeup, n: int, n_choices: int):
        super().__init__(wakeup, n, n_choices)
        self.parts: list[list[Part]] = [[] for _ in range(n)]

    def on_part(self, index: int, part: Part) -> None:
        self.parts[index].append(part)


class StreamedAnswer(Answer):
    def __init__(self, wakeup: Wakeup, n: int, encoder: Encoder, writer: StreamWriter):
        super().__init__(wakeup, n, encoder.n_choices)
        self._encoder = encoder
        self._writer = writer

    def on_begun(self, begun: Begun) -> None:
        if isinstance(self._encoder, BegunEncoder):
            self._encoder.begin(begun)

    def on_part(self, index: int, part: Part) -> None:
        self._writer.write(self._encoder.part(index, part))

    def on_finish(self, index: int, end: Finish, *, is_last: bool) -> None:
        self._writer.write(self._encoder.finish(index, end, self.ends if is_last else []))


def generate(
    request: Request,
    app,
    model: ModelFile,
    asked: list[GenerateRequest],
    encoder: Encoder,
    *,
    stream: bool,
    keep_alive_s: float | None,
    ending: Callable[[], bytes] = lambda: b"",
) -> Response | None:
    """Answer with generated text; one choice for each of `asked`. Raises ApiError, ClientGone.

    `ending` is called by this thread when everything is computed, before the end of the answer is sent: it may wait for
    a disk; what it returns ends a stream, and an ApiError of it is the answer's.
    """
    if stream:
        return _stream(request, app, model, asked, encoder, keep_alive_s, ending)
    with Wakeup() as wakeup:
        answer = CollectedAnswer(wakeup, len(asked), encoder.n_choices)
        _run(request, app, model, asked, answer, wakeup, keep_alive_s)
    if answer.error is not None:
        raise answer.error
    whole = encoder.whole(answer.parts, answer.ends)
    ending()
    return Response.json(whole)


def ask_once(request: Request, app, model: ModelFile, asked: Asked, keep_alive_s: float | None) -> End:
    """What comes back of anything but a generation: the `End` that belongs to `asked`. Raises ApiError, ClientGone."""
    with Wakeup() as wakeup:
        answer = Answer(wakeup, 1)
        _run(request, app, model, [asked], answer, wakeup, keep_alive_s)
    if answer.error is not None:
        raise answer.error
    return answer.ends[0]


def _stream(
    request: Request,
    app,
    model: ModelFile,
    asked: list[GenerateRequest],
    encoder: Encoder,
    keep_alive_s: float | None,
    ending: Callable[[], bytes],
) -> None:
    writer = request.open_stream(encoder.content_type, app.guard.cors_headers(request))
    last = b""
    with Wakeup() as wakeup:
        answer = StreamedAnswer(wakeup, len(asked), encoder, writer)
        try:
            _run(request, app, model, asked, answer, wakeup, keep_alive_s, lambda: writer.write(encoder.silence))
            last = ending() if answer.error is None else b""
        except ApiError as error:  # of the ending, or no room for one of several choices when others may have begun
            answer.error = answer.error or error
    if answer.error is not None:
        request.error = answer.error
        if not writer.started:
            raise answer.error  # nothing is sent yet, so it can still be a status
        last = encoder.error(answer.error)
    writer.write(last)
    writer.close()


def _run(
    request: Request,
    app,
    model: ModelFile,
    asked: list[Asked],
    answer: Answer,
    wakeup: Wakeup,
    keep_alive_s: float | None,
    on_silence: Callable[[], None] = lambda: None,
) -> None:
    """Submit all, and wait until the answer is complete or has failed, calling `on_silence` now and then."""
    request.tally.model = model.id
    submitted_at = time.perf_counter()
    jobs = []
    try:
        for index, one in enumerate(asked):
            jobs.append(app.pool.submit(model, one, answer.sink(index), keep_alive_s))
        while not request.wait_for(wakeup, app.config.server.keep_alive_interval_s):
            on_silence()
    finally:
        for job in jobs:
            job.cancel()
        answer.note(request.tally, submitted_at)
