"""Running generations for a handler: as a stream that the engine's thread writes, or collected into one answer.

The handler thread submits, then waits once for the end while it watches its client; leaving, for whatever reason,
cancels what still runs. Several choices of one request are several generations with one waiter.
"""

import time
from collections.abc import Callable

from offgrid.api.wire import Format, StreamEncoder, total_usage, whole_answer
from offgrid.engine.catalog import ModelFile
from offgrid.errors import ApiError
from offgrid.types import Asked, Begun, Delta, End, Event, Finish, GenerateRequest, Sink, Tally, Usage, Vectors
from offgrid.web import sse
from offgrid.web.message import Request, Response
from offgrid.web.stream import StreamWriter, Wakeup


class Answer:
    """The sinks of one request's choices. The engine's thread calls them; read `error` and `ends` after the wakeup."""

    def __init__(self, wakeup: Wakeup, n: int, n_choices: int = 1):
        """`n` generations, `n_choices` for each prompt."""
        self.error: ApiError | None = None
        self.ends: list[End | None] = [None] * n
        self.begun = [Begun(0)] * n
        self.n_deltas = [0] * n
        self.first_delta_at: float | None = None  # time.perf_counter
        self._n_open = n
        self._n_choices = n_choices
        self._wakeup = wakeup

    def sink(self, index: int) -> Sink:
        """The sink of choice `index`."""
        return lambda event: self._take(index, event)

    def on_delta(self, index: int, delta: Delta) -> None:
        """New text of a choice."""

    def on_finish(self, index: int, end: End, *, is_last: bool) -> None:
        """A choice is complete."""

    def _take(self, index: int, event: Event) -> None:
        if self.error is not None:
            return  # the request has failed; its other choices are being cancelled
        if isinstance(event, Delta):
            if self.first_delta_at is None:
                self.first_delta_at = time.perf_counter()
            self.n_deltas[index] += 1
            self.on_delta(index, event)
        elif isinstance(event, Begun):
            self.begun[index] = event
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
        if self.first_delta_at is not None:
            tally.first_token_s = self.first_delta_at - submitted_at
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
        # At least: a delta may hold several tokens.
        return Usage(begun.prompt_tokens, self.n_deltas[index], begun.cached_tokens)


class CollectedAnswer(Answer):
    def __init__(self, wakeup: Wakeup, n: int, n_choices: int):
        super().__init__(wakeup, n, n_choices)
        self.deltas: list[list[Delta]] = [[] for _ in range(n)]

    def on_delta(self, index: int, delta: Delta) -> None:
        self.deltas[index].append(delta)


class StreamedAnswer(Answer):
    def __init__(self, wakeup: Wakeup, n: int, encoder: StreamEncoder, writer: StreamWriter):
        super().__init__(wakeup, n, encoder.form.n_choices)
        self._encoder = encoder
        self._writer = writer

    def on_delta(self, index: int, delta: Delta) -> None:
        self._writer.write(self._encoder.delta(index, delta))

    def on_finish(self, index: int, end: Finish, *, is_last: bool) -> None:
        self._writer.write(self._encoder.finish(index, end, self.ends if is_last else []))


def generate(
    request: Request,
    app,
    model: ModelFile,
    asked: list[GenerateRequest],
    form: Format,
    *,
    stream: bool,
    include_usage: bool,
    keep_alive_s: float | None,
) -> Response | None:
    """Answer a chat or text completion; one choice for each of `asked`. Raises ApiError, ClientGone."""
    if stream:
        encoder = StreamEncoder(form, model.id, include_usage=include_usage)
        return _stream(request, app, model, asked, encoder, keep_alive_s)
    with Wakeup() as wakeup:
        answer = CollectedAnswer(wakeup, len(asked), form.n_choices)
        _run(request, app, model, asked, answer, wakeup, keep_alive_s)
    if answer.error is not None:
        raise answer.error
    return Response.json(whole_answer(form, model.id, answer.deltas, answer.ends))


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
    encoder: StreamEncoder,
    keep_alive_s: float | None,
) -> None:
    writer = request.open_stream(sse.CONTENT_TYPE, app.guard.cors_headers(request))
    with Wakeup() as wakeup:
        answer = StreamedAnswer(wakeup, len(asked), encoder, writer)
        try:
            _run(request, app, model, asked, answer, wakeup, keep_alive_s, lambda: writer.write(sse.comment()))
        except ApiError as error:  # there was no room for one of several choices, when others may have begun
            answer.error = answer.error or error
    if answer.error is not None:
        request.error = answer.error
        if not writer.started:
            raise answer.error  # nothing is sent yet, so it can still be a status
        writer.write(encoder.error(answer.error))
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
