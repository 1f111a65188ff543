"""What the models' processes did since the server started, in numbers: starts, crashes, loadings, steps.

Kept by the router, so that they go on when a process ends. Knows no HTTP; `api/metrics.py` shows them.
"""

from offgrid.errors import ApiError, EngineCrashed, InternalError
from offgrid.metrics import Counter, Family, Histogram, Reading

STARTS = Family("offgrid_worker_starts_total", "counter", "Processes started for a model.", ("model",))
RESTARTS = Family("offgrid_worker_restarts_total", "counter", "Of these, starts after a crash.", ("model",))
CRASHES = Family("offgrid_worker_crashes_total", "counter", "Processes that ended unasked.", ("model",))
LOAD_FAILURES = Family(
    "offgrid_model_load_failures_total", "counter", "Loadings refused by llama.cpp or given up.", ("model",)
)
LOAD_SECONDS = Family(
    "offgrid_model_load_seconds",
    "histogram",
    "From the start of a process until its model was ready.",
    ("model",),
    (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300),
)
BATCH = Family(
    "offgrid_batch_sequences",
    "histogram",
    "Texts computed together in one step, a value for each step.",
    ("model",),
    (1, 2, 4, 8, 16, 32, 64, 128),
)
COMPUTING = Family("offgrid_computing_seconds_total", "counter", "Time spent in steps.", ("model",))
FAMILIES = (STARTS, RESTARTS, CRASHES, LOAD_FAILURES, LOAD_SECONDS, BATCH, COMPUTING)


class Meters:
    """Every method may be called from any thread."""

    def __init__(self):
        self._starts, self._restarts, self._crashes = Counter(STARTS), Counter(RESTARTS), Counter(CRASHES)
        self._load_failures, self._load_seconds = Counter(LOAD_FAILURES), Histogram(LOAD_SECONDS)
        self._batch, self._computing = Histogram(BATCH), Counter(COMPUTING)
        self._crashed: set[str] = set()  # models whose last process crashed

    def started(self, model_id: str) -> None:
        self._starts.add(1, model_id)
        self._crashes.add(0, model_id)  # a rate needs a first value to rise from
        self._restarts.add(model_id in self._crashed, model_id)
        self._crashed.discard(model_id)

    def loaded(self, model_id: str, seconds: float) -> None:
        self._load_seconds.observe(seconds, model_id)

    def stepped(self, model_id: str, steps: list[tuple[int, int]], computing_s: float) -> None:
        """`steps`: (texts in the step, number of such steps) since the last report."""
        for n_texts, n_steps in steps:
            self._batch.observe(n_texts, model_id, n=n_steps)
        self._computing.add(computing_s, model_id)

    def ended(self, model_id: str, error: ApiError | None) -> None:
        """A process has ended; `error` is what its open requests are told."""
        if isinstance(error, EngineCrashed):
            self._crashes.add(1, model_id)
            self._crashed.add(model_id)
        elif isinstance(error, InternalError):
            self._load_failures.add(1, model_id)

    def read(self) -> list[Reading]:
        instruments = (self._starts, self._restarts, self._crashes, self._load_failures, self._load_seconds)
        return [instrument.read() for instrument in (*instruments, self._batch, self._computing)]
