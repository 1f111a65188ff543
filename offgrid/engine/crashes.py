"""How often in a row a model's worker ended before it had answered anything, and when it may be started again."""

import time
from dataclasses import dataclass

from offgrid.engine.worker_client import WorkerClient
from offgrid.errors import Unavailable

FIRST_PAUSE_S, LONGEST_PAUSE_S = 2, 60  # after the second crash in a row, doubling


@dataclass
class _Record:
    n: int = 0
    not_before: float = 0.0  # monotonic seconds


class Crashes:
    def __init__(self):
        self._records: dict[str, _Record] = {}  # model id → since its last success

    def note(self, worker: WorkerClient) -> None:
        """Take the end of a worker into account; one that was asked to end is none."""
        if worker.failure is None:
            return
        record = self._records.setdefault(worker.model_id, _Record())
        record.n = 1 if worker.n_answered else record.n + 1
        pause_s = 0 if record.n < 2 else min(FIRST_PAUSE_S * 2 ** (record.n - 2), LONGEST_PAUSE_S)
        record.not_before = worker.ended_at + pause_s

    def check(self, model_id: str) -> None:
        """Raise Unavailable while the model may not be started again."""
        pause_s = self._records.get(model_id, _Record()).not_before - time.monotonic()
        if pause_s > 0:
            raise Unavailable(
                f"The engine for {model_id} keeps ending; it may be started again in {pause_s:.0f} s. See the log.",
                code="engine_crashed",
                retry_after_s=max(1, round(pause_s)),
            )
