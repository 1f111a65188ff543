"""Names: the addresses of a host, asked for within a bound.

The system's resolver may take half a minute on a machine without internet, and nothing can interrupt it. So it is asked
on a thread of its own, `net:resolve`, at most N_AT_ONCE of them; who waits goes on when the time is over.
"""

import contextlib
import queue
import socket
import threading
from collections.abc import Callable

from offgrid.errors import BadGateway, Unavailable

N_AT_ONCE = 8
MAX_ADDRESSES = 16

# host, port → addresses; raises OSError. It may block.
Resolver = Callable[[str, int], list[str]]

_slots = threading.BoundedSemaphore(N_AT_ONCE)


def ask_system(host: str, port: int) -> list[str]:
    """What the system's resolver says. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(sockaddr[0] for *_, sockaddr in found))


def addresses_of(host: str, port: int, ask: Resolver, wait: Callable[[Callable[[float], bool]], None]) -> list[str]:
    """The addresses of a host, in the order to try them.

    `wait` is given a function that waits so many seconds and says whether it is over; it raises when time is up.
    Raises BadGateway, Unavailable, and what `wait` raises.
    """
    if not _slots.acquire(blocking=False):
        raise Unavailable("Too many host names are being looked up at the moment.", code="fetch_busy")
    answers: queue.SimpleQueue[list[str] | Exception] = queue.SimpleQueue()
    thread = threading.Thread(target=_ask, args=(host, port, ask, answers), name="net:resolve", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the machine has no thread left
        _slots.release()
        raise Unavailable("This machine has no thread left to look a host name up.", code="fetch_busy") from None
    answer: list[list[str] | Exception] = []

    def is_answered(timeout_s: float) -> bool:
        with contextlib.suppress(queue.Empty):
            answer.append(answers.get(timeout=timeout_s))
        return bool(answer)

    wait(is_answered)
    found = answer[0]
    if isinstance(found, Exception) or not found:
        why = f" ({found.strerror or found})" if isinstance(found, OSError) else ""
        raise BadGateway(f"The host {host} is not known here{why}.", code="host_not_found", param="url")
    return found[:MAX_ADDRESSES]


def _ask(host: str, port: int, ask: Resolver, answers: queue.SimpleQueue) -> None:
    try:
        answers.put(ask(host, port))
    except Exception as error:  # a name that the system's resolver cannot even spell, say
        answers.put(error)
    finally:
        _slots.release()
