"""The worker process: loads one model, then reads requests from its stdin until that closes.

Two threads: the main thread reads frames, renders templates and tokenizes; the `model` thread computes. An exception
in either ends the process, and the router answers whoever was waiting.
"""

import os
import signal
import sys
import threading
import traceback

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
    # Here and not above: it loads llama.cpp, whose first prints must find descriptor 1 moved away.
    from offgrid.worker import service

    try:
        served = service.load(first[0], channel)
    except service.LoadFailed as failure:
        channel.send({"op": "failed", "message": str(failure)})
        return 1
    channel.send({"op": "ready", **served.facts})
    threading.Thread(target=_compute, args=(served.loop,), name="model", daemon=True).start()
    while (frame := frames.read(frames_in)) is not None:
        served.take(frame[0])
    # Not sys.exit: the model's thread may be inside a decode, and the kernel frees everything faster.
    os._exit(0)


def _compute(loop) -> None:
    try:
        loop.run()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(CRASHED)
