"""Calls that wait until a person has agreed to them. One `Approvals` belongs to one run."""

import threading
from collections.abc import Callable
from fnmatch import fnmatchcase

from offgrid.agents.steps import Call
from offgrid.errors import Conflict, NotFound

CHECK_INTERVAL_S = 0.1
REFUSED = "A person was asked and did not agree to this call."
NOBODY = "A person was asked about this call and did not answer within {:g} s, so it was not made."


def needs_approval(tool: str, patterns: tuple[str, ...]) -> bool:
    """Whether a person is asked before this tool is called. A pattern is a name, in which * is any text."""
    return any(fnmatchcase(tool, pattern) for pattern in patterns)


class Approvals:
    """For any thread."""

    def __init__(self):
        self._changed = threading.Condition()
        self._waiting: dict[str, Call] = {}
        self._said: dict[str, bool] = {}

    @property
    def waiting(self) -> list[Call]:
        with self._changed:
            return list(self._waiting.values())

    def wait(self, call: Call, timeout_s: float, on_asked: Callable[[], None], check: Callable[[], None]) -> str:
        """Wait for a person's word; "" is yes, else why not. `on_asked`: it waits now. Raises what `check` does."""
        with self._changed:
            self._waiting[call.id] = call
        try:
            on_asked()
            with self._changed:
                left_s = timeout_s
                while not self._changed.wait_for(lambda: call.id in self._said, min(CHECK_INTERVAL_S, max(left_s, 0))):
                    check()
                    left_s -= CHECK_INTERVAL_S
                    if left_s <= 0:
                        return NOBODY.format(timeout_s)
                return "" if self._said[call.id] else REFUSED
        finally:
            with self._changed:
                self._waiting.pop(call.id, None)

    def decide(self, call_id: str | None, *, is_agreed: bool) -> list[Call]:
        """A person's word about a call, or about all that wait; those it was about. Raises NotFound, Conflict."""
        with self._changed:
            open_calls = [call for id, call in self._waiting.items() if id not in self._said]
            if not open_calls:
                raise Conflict("No call of this task waits for approval.", code="nothing_to_approve")
            chosen = [call for call in open_calls if call_id in (None, call.id)]
            if not chosen:
                there = ", ".join(call.id for call in open_calls)
                raise NotFound(f"No call {call_id!r} waits; there are {there}.", param="call", code="call_not_found")
            for call in chosen:
                self._said[call.id] = is_agreed
            self._changed.notify_all()
            return chosen
