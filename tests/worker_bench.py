"""A chat worker without its process: real tiny models in the real loop, and requests by hand."""

from dataclasses import asdict
from pathlib import Path

from engine_bench import CollectingChannel

from offgrid.types import GenerateRequest, Sampling, TokenScore
from offgrid.worker import library
from offgrid.worker.model import Model, ModelSettings
from offgrid.worker.refused import Refused
from offgrid.worker.service import ChatService

PROMPT = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


class ScoringChannel(CollectingChannel):
    def __init__(self):
        super().__init__()
        self.deltas: dict[int, list[tuple[str, list[TokenScore]]]] = {}  # of scored requests
        self.parts: dict[int, list[tuple[str, str, int]]] = {}  # (kind, text, call) of what is no content

    def scored_delta(self, id: int, text: str, scores: list[TokenScore]) -> None:
        self.delta(id, text)
        self.deltas.setdefault(id, []).append((text, scores))

    def part(self, id: int, text: str, kind: str, call: int) -> None:
        assert id not in self.ends, "a part after the end"
        self.parts.setdefault(id, []).append((kind, text, call))

    def thought(self, id: int) -> str:
        return "".join(text for kind, text, _ in self.parts.get(id, ()) if kind == "thought")

    def calls(self, id: int) -> list[tuple[str, str]]:
        """(name, arguments) of each."""
        found: list[list[str]] = []
        for kind, text, call in self.parts.get(id, ()):
            if kind == "call":
                assert call == len(found)
                found.append([text, ""])
            elif kind == "arguments":
                found[call][1] += text
        return [(name, arguments) for name, arguments in found]

    def scores(self, id: int) -> list[TokenScore]:
        return [score for _, scores in self.deltas[id] for score in scores]

    def refuse(self, id: int, error: dict) -> None:
        self.error(id, error)


class WorkerBench:
    def __init__(self, path: Path, *, n_ctx: int = 2048, n_slots: int = 4, **settings):
        library.set_up()
        settings = ModelSettings(str(path), "chat", n_ctx, n_slots, n_threads=1, n_batch=64, **settings)
        self.model = Model(settings, n_seq_max=n_slots + 1)
        self.channel = ScoringChannel()
        self.service = ChatService(self.model, self.channel)
        self.engine = self.service.loop
        self.n_submitted = 0

    def submit(self, prompt: str = PROMPT, *, max_tokens: int = 60, sampling: Sampling | None = None, **fields) -> int:
        """Hand in a request, greedy unless told otherwise; returns its id. Raises Refused."""
        self.n_submitted += 1
        asked = GenerateRequest(
            "tiny",
            prompt=None if "messages" in fields else prompt,
            max_tokens=max_tokens,
            sampling=sampling or Sampling(temperature=0),
            **fields,
        )
        message = {"op": "generate", "id": self.n_submitted, **asdict(asked)}
        self.service.submit(self.service.prepare(message))
        return self.n_submitted

    def refusal(self, **fields) -> dict:
        """The error of a request that must not become a sequence."""
        try:
            self.submit(**fields)
        except Refused as refusal:
            return refusal.error
        raise AssertionError(f"{fields} was not refused")

    def run(self) -> None:
        """Step until nothing is left to do."""
        while not (self.engine.scheduler.is_idle and self.engine._inbox.empty()):
            self.engine.step()
            self.engine.scheduler.check_integrity()

    def text(self, *args, **fields) -> str:
        """The whole text of a request that runs alone."""
        id = self.submit(*args, **fields)
        self.run()
        assert not isinstance(self.channel.ends[id], dict), self.channel.ends[id]
        return self.channel.texts.get(id, "")
