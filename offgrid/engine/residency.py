"""Who must leave so that another model fits: pure policy over plain values, without processes, clocks or locks.

Must stay true: a busy or pinned model is never told to leave.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Resident:
    """One loaded (or loading) model."""

    id: str
    n_bytes: int
    last_used: float  # seconds, of any clock
    is_busy: bool = False
    is_pinned: bool = False
    is_leaving: bool = False  # its end has begun; its bytes come free by themselves


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a newcomer gets its room. `leave`: end these now. `wait_for`: these busy ones stand in the way."""

    can_fit: bool
    leave: tuple[str, ...] = ()
    wait_for: tuple[str, ...] = ()


def make_room(residents: list[Resident], missing: int) -> Verdict:
    """What to do for a newcomer that lacks `missing` bytes of room; with 0 or less it fits already.

    Idle models leave, the one unused for longest first, and none that need not. Where they are not enough, nobody
    leaves for nothing: the newcomer waits for busy ones. Where even those are not enough, it cannot fit.
    """
    missing -= sum(resident.n_bytes for resident in residents if resident.is_leaving)
    if missing <= 0:
        return Verdict(True)
    movable = [r for r in residents if not r.is_pinned and not r.is_leaving]
    idle = _enough([r for r in movable if not r.is_busy], missing)
    if idle is not None:
        return Verdict(True, leave=tuple(r.id for r in idle))
    chosen = _enough(movable, missing)
    if chosen is None:
        return Verdict(False)
    return Verdict(True, wait_for=tuple(r.id for r in chosen if r.is_busy))


def _enough(candidates: list[Resident], missing: int) -> list[Resident] | None:
    """The ones unused for longest that together have `missing` bytes, idle before busy; None when all are too few."""
    chosen: list[Resident] = []
    for resident in sorted(candidates, key=lambda r: (r.is_busy, r.last_used)):
        if sum(r.n_bytes for r in chosen) >= missing:
            break
        chosen.append(resident)
    if sum(r.n_bytes for r in chosen) < missing:
        return None
    for resident in reversed(chosen):  # a small old one is spared when a large one had to go as well
        if sum(r.n_bytes for r in chosen) - resident.n_bytes >= missing:
            chosen.remove(resident)
    return chosen
