"""Exact sizes of a model's context, by llama.cpp's own dry run in a short-lived child (0.3 s, and no memory).

The formula of `memory.py` is right within some percent for ordinary models; where it is close to what there is, or for
an architecture that it does not know, this is. Both grow along straight lines with the context, so two contexts of each
KV type are measured. A model that kills the dry run (encoders do) stays with the formula.
"""

import logging
import os
import threading
from collections.abc import Callable
from itertools import pairwise

from offgrid.engine import memory
from offgrid.engine.catalog import ModelFile
from offgrid.engine.memory import Estimate, Estimator
from offgrid.procs.child import Child, ChildGone
from offgrid.procs.command import self_command, self_environment
from offgrid.procs.frames import BrokenFrame

log = logging.getLogger(__name__)

TIMEOUT_S = 60
KV_TYPES = ("f16", "q8_0", "q4_0")


def dry_run(
    model: ModelFile,
    *,
    n_ctx: int,
    n_seq_max: int,
    n_batch: int,
    flash_attention: str,
    on_start: Callable[[Child], None] = lambda child: None,
) -> Estimator | None:
    """An estimator for contexts up to about `n_ctx`; None when llama.cpp cannot tell. Blocks for the child's life.

    `on_start` is given the child, for somebody who cannot wait for its end.
    """
    contexts = sorted({memory.MIN_CELLS, max(n_ctx // 4, memory.MIN_CELLS), n_ctx})
    kinds = KV_TYPES if flash_attention != "off" else KV_TYPES[:1]
    variants = [[n, kind] for kind in kinds for n in contexts]
    asked = {"path": str(model.path), "n_seq_max": n_seq_max, "n_batch": n_batch, "variants": variants}
    sizes = _ask({**asked, "flash_attention": flash_attention}, model.id, on_start)
    if sizes is None:
        return None
    points = {(n, kind): size for (n, kind), size in zip(variants, sizes, strict=True)}
    process = memory.process_bytes(model.info)

    def estimate(n: int, kv_type: str) -> Estimate:
        kv, compute = (_on_line([(c, points[c, kv_type][i]) for c in contexts], n) for i in (0, 1))
        return Estimate(model.info.weight_bytes, kv, compute, process)

    return estimate


def _ask(message: dict, name: str, on_start: Callable[[Child], None]) -> list[list[int]] | None:
    try:
        command = self_command("_measure", str(os.getpid()))
        child = Child(command, name=f"measure:{name}", log=log.debug, env=self_environment())
    except OSError as error:
        log.warning("%s cannot be measured: %s", name, error)
        return None
    timer = threading.Timer(TIMEOUT_S, child.stop)
    timer.daemon = True
    timer.start()
    on_start(child)
    try:
        child.send(message)
        return next((frame["sizes"] for frame, _ in child.frames()), None)
    except (ChildGone, BrokenFrame):
        return None
    finally:
        timer.cancel()
        child.stop()


def _on_line(points: list[tuple[int, int]], x: int) -> int:
    """The value at `x` of the line through the two points around it, or through the last two."""
    if len(points) == 1:
        return points[0][1]
    (x0, y0), (x1, y1) = next((pair for pair in pairwise(points) if x <= pair[1][0]), (points[-2], points[-1]))
    return round(y0 + (y1 - y0) * (x - x0) / (x1 - x0))


class Measurements:
    """The dry runs of this server's life, each done once for a file and its settings."""

    def __init__(self, on_change: Callable[[], None]):
        """`on_change` is called, from a thread of the measuring, when a result is there."""
        self._on_change = on_change
        self._known: dict[tuple, Estimator | None] = {}
        self._running: dict[tuple, threading.Thread] = {}
        self._children: set[Child] = set()
        self._is_stopping = False
        self._lock = threading.Lock()

    def get(self, model: ModelFile, **settings) -> tuple[bool, Estimator | None]:
        """(is known, the estimator if there is one); what is not known is begun to be measured."""
        key = (model.path, model.size_bytes, model.created, *settings.values())
        with self._lock:
            if key in self._known:
                return True, self._known[key]
            if key not in self._running and not self._is_stopping:
                name, args = f"measure:{model.id}", (key, model, settings)
                self._running[key] = threading.Thread(target=self._measure, args=args, name=name, daemon=True)
                self._running[key].start()
            return False, None

    def stop(self) -> None:
        """End what is being measured; returns within some 8 s, usually at once."""
        with self._lock:
            self._is_stopping = True
            children, threads = list(self._children), list(self._running.values())
        for child in children:
            child.stop(grace_s=0)
        for thread in threads:
            thread.join()

    def _measure(self, key: tuple, model: ModelFile, settings: dict) -> None:
        result = None
        try:
            result = dry_run(model, **settings, on_start=self._add)
        except Exception:
            log.exception("the dry run of %s failed", model.id)
        with self._lock:
            self._known[key] = result
            self._running.pop(key)
            self._children = {child for child in self._children if child.is_running}
        self._on_change()

    def _add(self, child: Child) -> None:
        with self._lock:
            self._children.add(child)
            is_late = self._is_stopping
        if is_late:
            child.stop(grace_s=0)
