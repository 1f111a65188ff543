"""What the worker says to the router: one message per step for all sequences, not one per token.

Message kinds, worker → router (the router's reader is `engine/worker_client.py`; change both together):
  {"op": "loading", "fraction"}  how much of the model is loaded, 0 to 1
  {"op": "ready", …}       the model is loaded; facts about it
  {"op": "failed", "message"}  it cannot be loaded; the worker ends
  {"op": "step", "b": [[id, n_prompt, n_cached]…], "d": [[id, text]…, [id, text, scores]…, [id, text, kind, call]…],
   "f": [[id, reason, usage, prompt_ms, predicted_ms, drafted, queued_ms, stop]…], "e": [[id, error]…]}
  {"op": "figures", "steps": [[sequences, steps]…], "computing_s", …}  how the loop stands (`meter.py`)
  {"op": "vectors", "id", "n_dim", "n_tokens"} + blob of float32 rows
  {"op": "tokens", "id", "pieces": [[token, piece]…]} + blob of int32 tokens
  {"op": "text", "id", "text"}
  {"op": "count", "id", "n"}
  {"op": "lengths", "id", "n_tokens", "n_limit"}
The kinds of text are "thought", "call" (the text is a tool's name) and "arguments"; `call` counts the calls from 0.
Scores are [[piece, start, logprob, [[piece, logprob]…]]…]; a piece is the characters that have its bytes' numbers.
An error is {"kind", "message", …}: kinds are the keys of `engine/worker_client.ERRORS`.
"""

import struct
import threading
from typing import BinaryIO

from offgrid.procs import frames
from offgrid.types import Finish, TokenScore


class Channel:
    """Collects the events of a step and sends them as one frame. What says so may be called from any thread."""

    def __init__(self, pipe: BinaryIO):
        self._pipe = pipe
        self._lock = threading.Lock()
        self._clear()

    def _clear(self) -> None:
        self._begun: list = []
        self._deltas: list = []
        self._finished: list = []
        self._errors: list = []

    def begin(self, id: int, n_prompt: int, n_cached: int = 0) -> None:
        """The first step of a request is about to be computed."""
        self._begun.append((id, n_prompt, n_cached))

    def delta(self, id: int, text: str) -> None:
        # Several tokens of one sequence in a step are one text.
        if self._deltas and self._deltas[-1][0] == id and len(self._deltas[-1]) == 2:
            text = self._deltas.pop()[1] + text
        self._deltas.append((id, text))

    def part(self, id: int, text: str, kind: str, call: int) -> None:
        """New text of an answer that is not its content."""
        self._deltas.append((id, text, kind, call))

    def scored_delta(self, id: int, text: str, scores: list[TokenScore]) -> None:
        """The same for a sequence whose tokens are scored."""
        rows = [(_text(s.piece), s.start, s.logprob, [(_text(t), p) for t, p in s.top]) for s in scores]
        if self._deltas and self._deltas[-1][0] == id and len(self._deltas[-1]) == 3:
            _, earlier_text, earlier_rows = self._deltas.pop()
            text, rows = earlier_text + text, earlier_rows + rows
        self._deltas.append((id, text, rows))

    def finish(self, id: int, end: Finish) -> None:
        counts = end.usage
        usage = (counts.prompt_tokens, counts.completion_tokens, counts.cached_tokens, counts.thinking_tokens)
        drafted = (end.drafted.n, end.drafted.n_accepted)
        times = (end.prompt_ms, end.predicted_ms)
        self._finished.append((id, end.reason, usage, *times, drafted, end.queued_ms, end.stop))

    def error(self, id: int, error: dict) -> None:
        self._errors.append((id, error))

    def flush(self) -> None:
        """Send what the step brought; nothing when it brought nothing."""
        if self._begun or self._deltas or self._finished or self._errors:
            self.send({"op": "step", "b": self._begun, "d": self._deltas, "f": self._finished, "e": self._errors})
            self._clear()

    def report(self, figures: dict) -> None:
        self.send({"op": "figures", **figures})

    def refuse(self, id: int, error: dict) -> None:
        """End a request that never became a sequence. Any thread."""
        self.send({"op": "step", "b": [], "d": [], "f": [], "e": [(id, error)]})

    def tokens(self, id: int, tokens: list[int], pieces: dict[int, bytes]) -> None:
        """Any thread. The tokens go as bytes: of a long text their JSON would hold up the model's thread."""
        blob = struct.pack(f"<{len(tokens)}i", *tokens)
        self.send({"op": "tokens", "id": id, "pieces": [(t, _text(piece)) for t, piece in pieces.items()]}, blob)

    def text(self, id: int, text: str) -> None:
        """Any thread."""
        self.send({"op": "text", "id": id, "text": text})

    def count(self, id: int, n: int) -> None:
        """Any thread."""
        self.send({"op": "count", "id": id, "n": n})

    def lengths(self, id: int, n_tokens: list[int], n_limit: int) -> None:
        """Any thread."""
        self.send({"op": "lengths", "id": id, "n_tokens": n_tokens, "n_limit": n_limit})

    def send(self, message: dict, blob: bytes = b"") -> None:
        """Any thread."""
        frame = frames.encode(message, blob)
        with self._lock:
            self._pipe.write(frame)
            self._pipe.flush()


def _text(piece: bytes) -> str:
    return piece.decode("latin-1")
