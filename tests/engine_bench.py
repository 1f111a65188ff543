"""A work bench for the engine's loop: a fake model, a channel that collects, and requests by hand."""

import random
from dataclasses import replace

from running import wait_until

from offgrid.types import Finish, Sampling
from offgrid.worker.draft import Drafter
from offgrid.worker.engine import Engine
from offgrid.worker.fake import FakeModel
from offgrid.worker.intake import Intake
from offgrid.worker.kv_cache import KvCache
from offgrid.worker.pace import Pace
from offgrid.worker.prefix_cache import PrefixCache
from offgrid.worker.prefix_files import PrefixFiles
from offgrid.worker.scheduler import Scheduler
from offgrid.worker.sequence import Sequence
from offgrid.worker.speculation import Speculation
from offgrid.worker.text import TextAssembler


class CollectingChannel:
    """Stands where `worker.channel.Channel` stands, and keeps what would have been sent."""

    def __init__(self):
        self.texts: dict[int, str] = {}
        self.begun: dict[int, tuple[int, int]] = {}
        self.ends: dict[int, Finish | dict] = {}
        self.n_terminal: dict[int, int] = {}
        self.reports: list[dict] = []

    def begin(self, id: int, n_prompt: int, n_cached: int = 0) -> None:
        assert id not in self.begun, "begun twice"
        self.begun[id] = (n_prompt, n_cached)

    def delta(self, id: int, text: str) -> None:
        assert id not in self.ends, "text after the end"
        self.texts[id] = self.texts.get(id, "") + text

    def finish(self, id: int, end: Finish) -> None:
        self._end(id, end)

    def error(self, id: int, error: dict) -> None:
        self._end(id, error)

    def _end(self, id: int, end: Finish | dict) -> None:
        self.ends[id] = end
        self.n_terminal[id] = self.n_terminal.get(id, 0) + 1

    def flush(self) -> None:
        pass

    def report(self, figures: dict) -> None:
        self.reports.append(figures)


class EagerSpeculation(Speculation):
    """Drafts for whoever has a guess, as many tokens as a dice says: what pays depends on the machine's clock."""

    def __init__(self, max_rows: int, seed: int = 0):
        super().__init__(max_rows, Pace(120, max_rows))
        self._dice = random.Random(seed)

    def lengths(self, chances, most, room) -> list[int]:
        found = []
        for chance, n_most in zip(chances, most, strict=True):
            found.append(self._dice.randint(0, min(n_most, room)) if chance else 0)
            room -= found[-1]
        return found


class Bench:
    sampling = Sampling()

    def __init__(
        self,
        *,
        n_slots: int = 4,
        model: FakeModel | None = None,
        hot_cells: int = 1024,
        warm_bytes: int = 1_000_000,
        files: PrefixFiles | None = None,
        speculation: Speculation | None = None,
    ):
        self.model = model or FakeModel()
        self.channel = CollectingChannel()
        self.kv = KvCache(self.model, n_slots, self.model.n_ctx)
        self.cache = PrefixCache(self.kv, hot_cells=hot_cells, warm_bytes=warm_bytes, files=files)
        self.scheduler = Scheduler(n_slots, self.kv, self.cache, Pace(120, self.model.n_batch), speculation)
        self.engine = Engine(self.model, self.scheduler, self.channel)
        self.intake = Intake(files, self.cache, self.engine) if files else self.engine
        self.n_submitted = 0

    def submit(
        self,
        prompt: str,
        max_tokens: int = 20,
        *,
        stop: tuple[str, ...] = (),
        client: str = "",
        seed: int | None = None,
    ) -> int:
        """Hand in a request; returns its id."""
        self.n_submitted += 1
        tokens = self.tokens(prompt)
        sequence = Sequence(
            id=self.n_submitted,
            tokens=tokens,
            n_prompt=len(tokens),
            n_limit=min(len(tokens) + max_tokens, self.model.n_ctx),
            sampler=self.model.sampler(replace(self.sampling, seed=seed), tokens, max_tokens),
            text=TextAssembler(stop),
            client=client,
            drafter=Drafter(tokens) if self.scheduler.speculation else None,
        )
        self.intake.submit(sequence)
        return self.n_submitted

    def tokens(self, prompt: str) -> list[int]:
        return list(prompt.encode())

    def step(self) -> None:
        """One step of the loop."""
        self.engine.step()
        self.check()

    def check(self) -> None:
        """The books balance, and the device agrees with them."""
        self.scheduler.check_integrity()
        assert self.model.n_used == self.kv.n_used, f"{self.model.n_used} cells, {self.kv.n_used} in the books"

    def run(self, most_steps: int = 10_000) -> None:
        """Step until nothing is left to do."""
        for _ in range(most_steps):
            if self.is_idle:
                return
            if isinstance(self.intake, Intake) and self.scheduler.is_idle:
                wait_until(lambda: self.intake.is_idle)
            self.step()
        raise AssertionError(f"not idle after {most_steps} steps")

    @property
    def is_idle(self) -> bool:
        is_reading = isinstance(self.intake, Intake) and not self.intake.is_idle
        return not is_reading and self.scheduler.is_idle and self.engine._inbox.empty()

    def cancel(self, id: int) -> None:
        self.intake.cancel(id)
