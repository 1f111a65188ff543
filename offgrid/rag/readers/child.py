"""The process that reads documents, one after the other: `python -m offgrid _read`.

First frame in: the Limits. Then for each file in {"path", "name", "content_type"}, one frame out: {"error": class,
"message"} or what `wire.py` makes of a Parsed; with "is_last" this process ends, as it has grown.
It imports nothing but the standard library and, for a PDF, pypdf.
Must stay true: whatever a file holds, this process answers, or the kernel ends it; it never holds up the server.

What a file may cost: memory by RLIMIT_AS and computing by RLIMIT_CPU, both the kernel's; time by the clock is the
router's (`reader.py`). Not covered: it runs as the server's user and may read what that may; a reader that could be
made to run code would be a fault of Python's own.
"""

import logging
import os
import resource
import stat
import sys
import traceback
from collections.abc import Callable
from typing import BinaryIO

from offgrid.errors import ApiError, BadRequest, TooLarge
from offgrid.procs import frames, lifeline
from offgrid.rag.parsed import Parsed
from offgrid.rag.readers import detect, wire
from offgrid.rag.readers.code import read_code
from offgrid.rag.readers.data import read_json, read_jsonl, read_xml
from offgrid.rag.readers.docx import read_docx
from offgrid.rag.readers.draft import Draft, Source
from offgrid.rag.readers.epub import read_epub
from offgrid.rag.readers.html import read_html
from offgrid.rag.readers.limits import Limits
from offgrid.rag.readers.odf import read_odf
from offgrid.rag.readers.pdf import read_pdf
from offgrid.rag.readers.pptx import read_pptx
from offgrid.rag.readers.rtf import read_rtf
from offgrid.rag.readers.tables import read_csv
from offgrid.rag.readers.text import read_markdown, read_rst, read_text
from offgrid.rag.readers.xlsx import read_xlsx

READERS: dict[str, Callable[[Source, Draft], None]] = {
    "text": read_text,
    "markdown": read_markdown,
    "rst": read_rst,
    "code": read_code,
    "html": read_html,
    "csv": read_csv,
    "json": read_json,
    "jsonl": read_jsonl,
    "xml": read_xml,
    "rtf": read_rtf,
    "docx": read_docx,
    "pptx": read_pptx,
    "xlsx": read_xlsx,
    "odt": read_odf,
    "ods": read_odf,
    "odp": read_odf,
    "epub": read_epub,
    "pdf": read_pdf,
}
IS_LINUX = sys.platform.startswith("linux")
NICENESS = 10  # answers to people come first


def main(parent_pid: int) -> int:
    frames_in, frames_out = lifeline.take_pipes()
    lifeline.die_with_parent(parent_pid)
    logging.disable()  # libraries tell of a broken file what is said in one sentence below, and quote from it
    if (first := frames.read(frames_in)) is None:
        return 0
    limits = Limits(**first[0])
    _limit_memory(limits)
    os.nice(NICENESS)
    while (asked := frames.read(frames_in)) is not None:
        message, blob = answer(asked[0], limits)
        is_last = _resident_bytes() > limits.max_idle_bytes
        frames_out.write(frames.encode({**message, "is_last": is_last}, blob))
        frames_out.flush()
        if is_last:
            break
    return 0


def answer(asked: dict, limits: Limits) -> tuple[dict, bytes]:
    """(message, blob) for one file."""
    try:
        return wire.pack(read(asked["path"], asked["name"], asked["content_type"], limits))
    except ApiError as error:
        return _refusal(type(error), error.message)
    except MemoryError:
        size = f"{limits.max_memory_bytes // 1_000_000:,} MB"
        return _refusal(TooLarge, f"takes more than {size} of memory to be read, which is the limit")
    except RecursionError:
        return _refusal(BadRequest, "is nested too deeply to be read")
    except Exception as error:  # what a broken file may do to a reader has no end
        # Where, but not the message: it may quote from the document, and logs hold no texts.
        print("".join(traceback.format_tb(error.__traceback__)) + type(error).__name__, file=sys.stderr)
        return _refusal(BadRequest, f"is damaged, or of a kind that cannot be read ({type(error).__name__})")


def _refusal(kind: type[ApiError], text: str) -> tuple[dict, bytes]:
    return {"error": kind.__name__, "message": text}, b""


def read(path: str, name: str, content_type: str, limits: Limits) -> Parsed:
    """What the file at `path` holds. Raises BadRequest, TooLarge, UnsupportedMediaType, and what broken files do."""
    with _open(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            raise BadRequest("is empty")
        if size > limits.max_file_bytes:
            raise TooLarge(f"is {size:,} bytes long; the limit is {limits.max_file_bytes:,}")
        _limit_computing(limits.cpu_s(size))
        source = Source(file, size, detect.find_format(file, name, content_type), content_type)
        draft = Draft(limits)
        READERS[source.format.reader](source, draft)
        return draft.finish(source.format.media_types[0])


def _open(path: str) -> BinaryIO:
    """Without waiting for the other end of a FIFO, and without following a link to somebody else's file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        what = "is a symbolic link, not a file" if os.path.islink(path) else f"cannot be read: {error.strerror}"
        raise BadRequest(what) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BadRequest("is not a regular file but a directory, a FIFO, a socket or a device")
    return os.fdopen(descriptor, "rb")


def _limit_memory(limits: Limits) -> None:
    if IS_LINUX:
        _set_limit(resource.RLIMIT_AS, _pages(0) + limits.max_memory_bytes)
    _set_limit(resource.RLIMIT_CORE, 0)


def _limit_computing(cpu_s: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    _set_limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + 1 + cpu_s)


def _resident_bytes() -> int:
    return _pages(1) if IS_LINUX else 0


def _pages(column: int) -> int:
    """Of the first columns of statm, all and resident, in bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[column]) * resource.getpagesize()


def _set_limit(kind: int, value: int) -> None:
    """The soft one alone: that of computing grows with each file."""
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
