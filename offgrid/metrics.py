"""Numbers that are counted while the server runs, and the text in which Prometheus reads them (format 0.0.4).

Knows no requests, models or processes: rooms that have something to count declare a `Family` and keep a `Counter` or a
`Histogram` of it. Must stay true: no family holds more than MOST_SERIES sets of label values beside the rest, whatever
clients send.
Safe for any thread. Format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

import threading
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MOST_SERIES = 1000  # of one family; what comes after them is counted together, below OTHER
OTHER = "other"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: `kind` is counter, gauge or histogram; `bounds` are a histogram's upper bounds, ascending."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


@dataclass(slots=True)
class Distribution:
    """What a histogram saw below one set of label values."""

    counts: list[int]  # (n_bounds + 1,): the values up to each bound and above the one before; the last has no bound
    sum: float = 0.0

    @property
    def count(self) -> int:
        return sum(self.counts)


# Label values, in the order of the family's labels → what was counted below them.
Reading = tuple[Family, Mapping[tuple[str, ...], float | Distribution]]


class Counter:
    """A number for each set of label values. One of a gauge's family may be added negative amounts."""

    def __init__(self, family: Family):
        self.family = family
        self._values: dict[tuple[str, ...], float] = {} if family.labels else {(): 0}
        self._lock = threading.Lock()

    def add(self, amount: float, *labels: str) -> None:
        with self._lock:
            key = _key(labels, self._values)
            self._values[key] = self._values.get(key, 0) + amount

    def sum(self, label: str | None = None, value: str = "") -> float:
        """All of it together, or what was counted with `value` for `label`."""
        values = self.read()[1]
        if label is None:
            return sum(values.values())
        i = self.family.labels.index(label)
        return sum(amount for labels, amount in values.items() if labels[i] == value)

    def read(self) -> Reading:
        with self._lock:
            return self.family, dict(self._values)


class Histogram:
    """How values are distributed, for each set of label values."""

    def __init__(self, family: Family):
        self.family = family
        self._values: dict[tuple[str, ...], Distribution] = {}
        self._lock = threading.Lock()

    def observe(self, value: float, *labels: str, n: int = 1) -> None:
        """Take in one value, or the same one `n` times."""
        with self._lock:
            key = _key(labels, self._values)
            if (seen := self._values.get(key)) is None:
                seen = self._values[key] = Distribution([0] * (len(self.family.bounds) + 1))
            seen.counts[bisect_left(self.family.bounds, value)] += n
            seen.sum += n * value

    def read(self) -> Reading:
        with self._lock:
            return self.family, {key: Distribution(list(d.counts), d.sum) for key, d in self._values.items()}


def exposition(readings: Iterable[Reading]) -> bytes:
    """The readings as Prometheus wants them. A family without values is left out."""
    lines = []
    for family, values in readings:
        if not values:
            continue
        help = family.help.replace("\\", "\\\\").replace("\n", "\\n")
        lines += (f"# HELP {family.name} {help}", f"# TYPE {family.name} {family.kind}")
        for labels, value in values.items():
            pairs = [f'{name}="{_escaped(text)}"' for name, text in zip(family.labels, labels, strict=True)]
            if isinstance(value, Distribution):
                lines += _histogram_lines(family, pairs, value)
            else:
                lines.append(f"{family.name}{_braced(pairs)} {value}")
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def _histogram_lines(family: Family, pairs: list[str], seen: Distribution) -> list[str]:
    lines, n = [], 0
    for bound, count in zip((*family.bounds, "+Inf"), seen.counts, strict=True):
        n += count
        pair = f'le="{bound}"'
        lines.append(f"{family.name}_bucket{_braced([*pairs, pair])} {n}")
    return [*lines, f"{family.name}_sum{_braced(pairs)} {seen.sum}", f"{family.name}_count{_braced(pairs)} {n}"]


def _braced(pairs: list[str]) -> str:
    return "{" + ",".join(pairs) + "}" if pairs else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _key(labels: tuple[str, ...], known: Mapping) -> tuple[str, ...]:
    return labels if labels in known or len(known) < MOST_SERIES else (OTHER,) * len(labels)
