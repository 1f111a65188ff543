"""What a loop tells the router about itself: how wide its steps were, and how it stands.

At most once a second while it computes and once when it comes to rest, so that nobody ever has to ask. The steps are
those since the last report, the rest is as of now. Used by the model's thread only.
"""

import time

from offgrid.worker.channel import Channel

INTERVAL_S = 1.0


class Meter:
    def __init__(self, channel: Channel):
        self._channel = channel
        self._steps: dict[int, int] = {}  # sequences in a step → number of such steps since the last report
        self._computing_s = 0.0
        self._state: dict = {}  # as last reported
        self._next = 0.0  # monotonic seconds

    def note_step(self, n_sequences: int, seconds: float) -> None:
        self._steps[n_sequences] = self._steps.get(n_sequences, 0) + 1
        self._computing_s += seconds

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self._next

    def report(self, state: dict) -> None:
        """Tell the router, unless it knows all that already."""
        if self._steps or state != self._state:
            self._channel.report({"steps": list(self._steps.items()), "computing_s": self._computing_s, **state})
            self._steps, self._computing_s, self._state = {}, 0.0, state
        self._next = time.monotonic() + INTERVAL_S
