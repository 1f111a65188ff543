"""The worker process: loads one model, then reads requests from its stdin until that closes.

Three threads: `frames` reads the pipe, from the first moment on, so that requests for a model that still loads never
fill it, and ends the process when it closes; the main thread loads, renders templates and tokenizes; the `model` thread
computes. An exception in any ends the process, and the router answers whoever was waiting; one while a request is
prepared ends that request only (`service.Service.take`).
"""

import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import BinaryIO

from offgrid.procs import frames, lifeline
from offgrid.worker.channel import Channel

CRASHED = 70  # EX_SOFTWARE


def main(parent_pid: int) -> int:
    frames_in, frames_out = lifeline.take_pipes()
    lifeline.die_with_parent(parent_pid)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the router decides when a worker ends
    sys.setswitchinterval(0.0005)  # the model's thread must not wait 5 ms for the GIL behind a long template
    channel = Channel(frames_out)
    if (first := frames.read(frames_in)) is None:
        return 0
    inbox: queue.SimpleQueue[dict] = queue.SimpleQueue()
    threading.Thread(target=_end_on_failure, args=(_read_frames, frames_in, inbox), name="frames", daemon=True).start()
    # Here and not above: it loads llama.cpp, whose first prints must find descriptor 1 moved away.
    from offgrid.worker import service

    try:
        served = service.load(first[0], channel)
    except service.LoadFailed as failure:
        channel.send({"op": "failed", "message": str(failure)})
        return 1
    channel.send({"op": "ready", **served.facts})
    threading.Thread(target=_end_on_failure, args=(served.loop.run,), name="model", daemon=True).start()
    while True:
        served.take(inbox.get())


def _read_frames(pipe: BinaryIO, inbox: queue.SimpleQueue[dict]) -> None:
    while (frame := frames.read(pipe)) is not None:
        inbox.put(frame[0])
    # Not sys.exit: the model's thread may be inside a decode, and the kernel frees everything faster.
    os._exit(0)


def _end_on_failure(run: Callable, *args) -> None:
    try:
        run(*args)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(CRASHED)
