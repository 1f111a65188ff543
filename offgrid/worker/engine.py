"""The loop of a chat worker: one thread owns the model and computes one step after another.

`step` is the whole flow. Other threads only put work into the inbox; while there is none, nothing runs at all.
"""

import queue
import time
from collections.abc import Callable

from offgrid.dialects.reply import Part
from offgrid.types import Drafted, Finish
from offgrid.worker.channel import Channel
from offgrid.worker.meter import Meter
from offgrid.worker.refused import Refused
from offgrid.worker.reply import Reply
from offgrid.worker.scheduler import Chunk, Scheduler
from offgrid.worker.sequence import Sequence


class Engine:
    def __init__(self, model, scheduler: Scheduler, channel: Channel):
        """`model` is a `model.Model`, or anything that answers the same calls (`fake.FakeModel`)."""
        self.model = model
        self.scheduler = scheduler
        self.channel = channel
        self.meter = Meter(channel)
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._computing: frozenset[int] = frozenset()  # ids in the step that runs now

    # --- from any thread ---

    def submit(self, sequence: Sequence) -> None:
        self._inbox.put(lambda: self.scheduler.add(sequence))

    def cancel(self, id: int) -> None:
        """Drop a request. A step that computes nothing but this request is cut short: nobody else waits for it."""
        self._inbox.put(lambda: self._drop(id))
        if self._computing == {id}:
            self.model.abort()

    def set_threads(self, n: int) -> None:
        self._inbox.put(lambda: self.model.set_threads(n))

    # --- the model's thread ---

    def run(self) -> None:
        while True:
            self._await_work()
            self.step()

    def step(self) -> None:
        self._take_inbox()
        if self.scheduler.is_idle:
            return
        chunks = self.scheduler.plan()
        rows = self._compute(chunks)
        if rows is not None:
            self._advance(chunks, rows)
        self.channel.flush()
        if self.meter.is_due:
            self.meter.report(self.scheduler.figures())

    def _await_work(self) -> None:
        """While no sequence is left, sleep until another thread asks for something."""
        if self.scheduler.is_idle and self._inbox.empty():
            self.scheduler.rest()
            self.meter.report(self.scheduler.figures())
            self._inbox.get()()

    def _take_inbox(self) -> None:
        while not self._inbox.empty():
            self._inbox.get()()

    def _compute(self, chunks: list[Chunk]) -> list[int] | None:
        started = time.monotonic()
        for chunk in chunks:
            sequence = chunk.sequence
            if not sequence.first_step:
                sequence.first_step = started
                self.channel.begin(sequence.id, sequence.n_prompt, sequence.n_cached)
        self._computing = frozenset(c.sequence.id for c in chunks)
        rows = self.model.decode(chunks)
        self._computing = frozenset()
        if rows is not None:
            seconds = time.monotonic() - started
            self.meter.note_step(len(chunks), seconds)
            self._observe(chunks, 1e3 * seconds)
        return rows

    def _observe(self, chunks: list[Chunk], ms: float) -> None:
        pace, n_drafted = self.scheduler.pace, sum(len(c.draft) for c in chunks)
        if n_drafted:
            self.scheduler.speculation.observe(len(chunks), n_drafted, ms)
            return
        n_decoding = sum(c.sequence.is_decoding for c in chunks)
        pace.observe(n_decoding, sum(c.n for c in chunks) - n_decoding, ms)

    def _advance(self, chunks: list[Chunk], rows: list[int]) -> None:
        """Take the step into the books, and choose the next token of every sequence that is complete so far."""
        for chunk, row in zip(chunks, rows, strict=True):
            sequence = chunk.sequence
            wants_token = chunk.needs_logits
            self.scheduler.computed(chunk)
            if wants_token:
                self._next_token(sequence, row)
            if chunk.draft:
                self._check_draft(chunk, row)

    def _check_draft(self, chunk: Chunk, row: int) -> None:
        """Sample one token more for every drafted token that the sampler chose anyway, in the order of the text.

        Nothing is accepted ahead: the sampler, with whatever it remembers (penalties, its dice, a grammar), is
        asked for each token of the text once, and never about a draft.
        """
        sequence = chunk.sequence
        for drafted in chunk.draft:
            if sequence.slot is None:  # it has ended, and all its cells are free
                return
            if sequence.tokens[-1] != drafted:
                self.scheduler.forget_rejected(sequence)
                return
            self.scheduler.accepted(sequence)
            row += 1
            self._next_token(sequence, row)

    def _next_token(self, sequence: Sequence, row: int) -> None:
        try:
            token = self._choose(sequence, row)
            sequence.tokens.append(token)
            if sequence.drafter is not None:
                sequence.drafter.advance()
            sequence.first_token = sequence.first_token or time.monotonic()
            is_end = self.model.is_eog(token)
            if not is_end:
                self._show(sequence, token, row)
            if is_end or sequence.text.is_stopped:
                self._finish(sequence, "stop")
            elif len(sequence.tokens) >= sequence.n_limit or sequence.is_out_of_time:
                self._finish(sequence, "length")
        except Refused as refusal:
            self.channel.error(sequence.id, refusal.error)
            self._remove(sequence)

    def _choose(self, sequence: Sequence, row: int) -> int:
        """The token that follows. Raises Refused."""
        reply = sequence.text
        if not isinstance(reply, Reply):
            return self.model.sample(sequence.sampler, row)
        if not reply.forced:
            token = self.model.sample(sequence.sampler, row)
            if not reply.owes_answer or not self.model.is_eog(token):
                return token
            reply.end_thinking()
        token = reply.forced.popleft()
        sequence.sampler.tell(token)
        return token

    def _show(self, sequence: Sequence, token: int, row: int) -> None:
        """Give out what is complete with this token. Raises Refused."""
        text, piece = sequence.text, self.model.piece(token)
        is_reply = isinstance(text, Reply)
        if is_reply:
            piece = text.spelled.get(token, piece)
        if sequence.scores is not None:
            sequence.scores.add(piece, self.model.score(row, token, sequence.scores.n_top))
        if is_reply:
            self._show_parts(sequence, text.push(piece))
        else:
            self._show_text(sequence, text.push(piece))

    def _show_parts(self, sequence: Sequence, parts: list[Part]) -> None:
        for kind, text, n_chars in parts:
            if kind == "content":
                self._show_text(sequence, text)
                continue
            if sequence.scores is not None:
                sequence.scores.skip(n_chars)
            if kind == "call":
                sequence.text.n_calls += 1
            if kind != "markup":
                self.channel.part(sequence.id, text, kind, sequence.text.n_calls - 1)

    def _show_text(self, sequence: Sequence, text: str, *, is_last: bool = False) -> None:
        if sequence.scores is not None:
            scores = sequence.scores.release(len(text), is_last=is_last)
            if text or scores:
                self.channel.scored_delta(sequence.id, text, scores)
        elif text:
            self.channel.delta(sequence.id, text)

    def _finish(self, sequence: Sequence, reason: str) -> None:
        """Give out what was held back, and the end. Raises Refused, before the end is given out."""
        rest = sequence.text.flush()
        if isinstance(sequence.text, Reply):
            self._show_parts(sequence, rest)
            rest = ""
            if reason == "stop" and sequence.text.n_calls:
                reason = "tool_calls"
        self._show_text(sequence, rest, is_last=True)
        now = time.monotonic()
        prompt_ms = 1e3 * (sequence.first_token - sequence.first_step)
        predicted_ms = 1e3 * (now - sequence.first_token)
        drafted = Drafted(sequence.n_drafted, sequence.n_accepted)
        queued_ms = 1e3 * (sequence.first_step - sequence.arrived)
        end = Finish(reason, sequence.usage, prompt_ms, predicted_ms, drafted, queued_ms, sequence.text.stopped_by)
        self.channel.finish(sequence.id, end)
        self._remove(sequence)

    def _drop(self, id: int) -> None:
        sequence = self.scheduler.find(id)
        if sequence is not None:  # else it has ended in the meantime
            self._remove(sequence)

    def _remove(self, sequence: Sequence) -> None:
        self.scheduler.remove(sequence)
        sequence.sampler.close()
