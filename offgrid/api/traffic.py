"""What requests came to, counted as they end: how many, how long, how many tokens, with which errors.

Must stay true: no label holds what a client made up (paths are counted by their template, methods by a fixed list).
"""

import time
from dataclasses import dataclass

from offgrid.errors import ApiError
from offgrid.metrics import OTHER, Counter, Family, Histogram, Reading
from offgrid.types import Tally
from offgrid.web.message import Request

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
UNKNOWN_ROUTE = "none"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
TOKEN_SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5)

REQUESTS = Family(
    "offgrid_requests_total",
    "counter",
    "Requests that have ended; status 499 is a client that hung up, route none a path that does not exist.",
    ("method", "route", "status"),
)
DURATION = Family(
    "offgrid_request_duration_seconds",
    "histogram",
    "From the whole request to the whole answer, of a stream to its end.",
    ("method", "route"),
    SECONDS,
)
IN_FLIGHT = Family("offgrid_requests_in_flight", "gauge", "Requests being answered now.")
ERRORS = Family(
    "offgrid_errors_total",
    "counter",
    "Errors told to clients, also within a stream that began with status 200.",
    ("status", "code"),
)
MODEL_DURATION = Family(
    "offgrid_model_request_duration_seconds",
    "histogram",
    "The same as offgrid_request_duration_seconds for requests to a model.",
    ("model", "service"),
    SECONDS,
)
TOKENS_INPUT = Family("offgrid_tokens_input_total", "counter", "Tokens of prompts and embedded texts.", ("model",))
TOKENS_CACHED = Family("offgrid_tokens_cached_total", "counter", "Of these, tokens that were shared.", ("model",))
TOKENS_OUTPUT = Family("offgrid_tokens_output_total", "counter", "Tokens of answers.", ("model",))
TOKENS_DRAFTED = Family("offgrid_tokens_drafted_total", "counter", "Tokens computed on a guess.", ("model",))
TOKENS_ACCEPTED = Family("offgrid_tokens_accepted_total", "counter", "Of these, tokens that became text.", ("model",))
FIRST_TOKEN = Family(
    "offgrid_time_to_first_token_seconds",
    "histogram",
    "From the request's submission, with waiting and loading, to its first text.",
    ("model",),
    SECONDS,
)
PER_TOKEN = Family(
    "offgrid_time_per_output_token_seconds",
    "histogram",
    "Mean time between the tokens of a finished answer.",
    ("model",),
    TOKEN_SECONDS,
)
QUEUE = Family(
    "offgrid_queue_seconds",
    "histogram",
    "From a request's arrival at the loaded model to its first step.",
    ("model",),
    (0.001, *SECONDS),
)
TOKENS = (TOKENS_INPUT, TOKENS_CACHED, TOKENS_OUTPUT, TOKENS_DRAFTED, TOKENS_ACCEPTED)
FAMILIES = (REQUESTS, DURATION, IN_FLIGHT, ERRORS, MODEL_DURATION, *TOKENS, FIRST_TOKEN, PER_TOKEN, QUEUE)


@dataclass(frozen=True, slots=True)
class ModelTotals:
    """What was asked of one model since the server started; times in seconds, `last_used_at` since 1970."""

    n_requests: int
    n_tokens: int  # prompts and answers
    seconds: float
    last_used_at: float


class Traffic:
    """Every method may be called from any thread."""

    def __init__(self):
        self.requests, self.errors = Counter(REQUESTS), Counter(ERRORS)
        self.in_flight = Counter(IN_FLIGHT)
        self.input, self.cached, self.output, self.drafted, self.accepted = map(Counter, TOKENS)
        self._duration, self._model_duration = Histogram(DURATION), Histogram(MODEL_DURATION)
        self._first_token, self._per_token, self._queue = map(Histogram, (FIRST_TOKEN, PER_TOKEN, QUEUE))
        self._last_used: dict[str, float] = {}  # model → unix seconds

    def begin(self) -> None:
        self.in_flight.add(1)

    def end(self, request: Request, status: int, seconds: float) -> None:
        """Count a request; once for each `begin`."""
        self.in_flight.add(-1)
        method = request.method if request.method in METHODS else OTHER
        route = request.route or UNKNOWN_ROUTE
        self.requests.add(1, method, route, str(status))
        self._duration.observe(seconds, method, route)
        if request.error is not None:
            self.count_error(request.error)
        if request.tally.model and request.tally.service:  # else a model was loaded at most, not asked
            self.count_model(request.tally, seconds)

    def count_error(self, error: ApiError) -> None:
        self.errors.add(1, str(error.status), error.code or error.type)

    def count_model(self, tally: Tally, seconds: float) -> None:
        """What a model was asked; `end` does it for what belongs to a request."""
        model = tally.model
        self._last_used[model] = time.time()
        self._model_duration.observe(seconds, model, tally.service)
        self.input.add(tally.prompt_tokens, model)
        self.cached.add(tally.cached_tokens, model)
        self.output.add(tally.completion_tokens, model)
        self.drafted.add(tally.drafted_tokens, model)
        self.accepted.add(tally.accepted_tokens, model)
        times = ((self._first_token, tally.first_token_s), (self._per_token, tally.token_s))
        for histogram, value in (*times, (self._queue, tally.queue_s)):
            if value is not None:
                histogram.observe(value, model)

    def of_models(self) -> dict[str, ModelTotals]:
        """The totals of each model that was asked, by id."""
        found: dict[str, ModelTotals] = {}
        for (model, _service), seen in self._model_duration.read()[1].items():
            n, seconds = (found[model].n_requests, found[model].seconds) if model in found else (0, 0.0)
            n_tokens = int(self.input.sum("model", model) + self.output.sum("model", model))
            last_used_at = self._last_used.get(model, 0.0)
            found[model] = ModelTotals(n + seen.count, n_tokens, seconds + seen.sum, last_used_at)
        return found

    def read(self) -> list[Reading]:
        counted = (self.requests, self._duration, self.in_flight, self.errors, self._model_duration)
        tokens = (self.input, self.cached, self.output, self.drafted, self.accepted)
        times = (self._first_token, self._per_token, self._queue)
        return [instrument.read() for instrument in (*counted, *tokens, *times)]
