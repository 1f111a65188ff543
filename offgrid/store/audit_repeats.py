"""Floods of what costs its sender nothing (errors, and what nobody known asked for), made short: of one kind a few are
kept as they are, the rest of that minute is one row that says how many. Else anybody who can reach the port could
fill the disk. Pure: knows no clock and no threads.
"""

import ipaddress
import json
from dataclasses import dataclass, field

from offgrid.store.audit_chain import Entry, to_json

N_SINGLY = 10
WINDOW_S = 60
MAX_KINDS = 1024


@dataclass(slots=True)
class _Kind:
    ends_at: float
    n: int = 0
    last: Entry | None = None  # of those that were only counted
    actions: set[str] = field(default_factory=set)  # theirs

    @property
    def n_counted(self) -> int:
        return max(self.n - N_SINGLY, 0)


class Repeats:
    """A kind is one status and error code for one account, key and address, whatever the path."""

    def __init__(self):
        self._kinds: dict[tuple, _Kind] = {}

    def admit(self, entry: Entry, now: float) -> bool:
        """Whether to keep this event as it is; else it is counted, and `due` will tell. `now` is in seconds."""
        key = (entry.status, entry.code, entry.user_id, entry.key_id, _network(entry.address))
        kind = self._kinds.get(key)
        if kind is None:
            if len(self._kinds) >= MAX_KINDS:
                return True
            kind = self._kinds[key] = _Kind(now + WINDOW_S)
        kind.n += 1
        if kind.n <= N_SINGLY:
            return True
        kind.last = entry
        kind.actions.add(entry.action)
        return False

    def due(self, now: float, *, everything: bool = False) -> list[Entry]:
        """An entry for each kind whose minute is over and which had more than was kept."""
        over = [key for key, kind in self._kinds.items() if everything or kind.ends_at <= now]
        return [_summary(kind) for kind in map(self._kinds.pop, over) if kind.n_counted]

    def wait_s(self, now: float) -> float | None:
        """How long until `due` wants to be asked; None when there is nothing to wait for."""
        return max(min(kind.ends_at for kind in self._kinds.values()) - now, 0) if self._kinds else None


def _summary(kind: _Kind) -> Entry:
    detail = {**json.loads(kind.last.detail), "times": kind.n_counted}
    action = kind.last.action if len(kind.actions) == 1 else "several"
    return kind.last._replace(action=action, target="", detail=to_json(detail))


def _network(address: str) -> str:
    """An IPv6 client has 2^64 addresses of its own."""
    if ":" not in address:
        return address
    try:
        return str(ipaddress.ip_network((address.partition("%")[0], 64), strict=False))
    except ValueError:
        return address
