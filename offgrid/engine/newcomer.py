"""A model that is asked for and not started yet, and who asked. Changed only under the pool's lock."""

from offgrid.engine.catalog import ModelFile
from offgrid.engine.job import Job
from offgrid.engine.worker_client import WorkerClient
from offgrid.errors import ApiError, Unavailable


class Newcomer:
    def __init__(self, model: ModelFile):
        self.model = model
        self.jobs: list[Job] = []
        self.in_the_way: tuple[str, ...] = ()  # busy models whose room it waits for
        self.is_announced = False  # on the board of loadings

    @property
    def asked_at(self) -> float:
        return min(job.asked_at for job in self.jobs)

    def add(self, job: Job, n_most: int) -> None:
        """Raises Unavailable when `n_most` wait already."""
        self.drop_cancelled()
        if len(self.jobs) >= n_most:
            raise Unavailable(f"{len(self.jobs)} requests wait for {self.model.id}, which is the limit. Try again.")
        self.jobs.append(job)

    def drop_cancelled(self) -> None:
        self.jobs = [job for job in self.jobs if not job.is_cancelled]

    def drop_late(self, asked_before: float) -> None:
        """Tell those who have waited for busy models since then to come back."""
        late = [job for job in self.jobs if self.in_the_way and job.asked_at <= asked_before]
        message = (
            f"{', '.join(self.in_the_way)} must end first, and is busy, before {self.model.id} has room. Try again."
        )
        for job in late:
            self.jobs.remove(job)
            job.fail(Unavailable(message, code="model_loading", retry_after_s=10))

    def hand_to(self, worker: WorkerClient) -> None:
        """Give the worker all jobs; what is left over came too late for it."""
        while self.jobs:
            try:
                if not self.jobs[0].hand_to(worker):
                    return
                self.jobs.pop(0)
            except Unavailable as error:
                self.jobs.pop(0).fail(error)

    def fail(self, error: ApiError) -> None:
        jobs, self.jobs = self.jobs, []
        for job in jobs:
            job.fail(error)
