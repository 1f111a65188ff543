"""Documents from the web, fetched to the disk; what may be fetched at all, `net/` decides."""

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from offgrid.errors import BadGateway
from offgrid.net.addresses import AddressRules
from offgrid.net.connection import Cancelled
from offgrid.net.fetch import fetch
from offgrid.rag.embedding import Check

TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class FetchedDocument:
    name: str
    content_type: str


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def fetch_document(url: str, path: Path, max_bytes: int, check: Check) -> FetchedDocument:
    """Fetch a document into the new file `path`. Raises what `net.fetch` does, BadGateway, and what `check` does."""
    stopped: list[BaseException] = []

    def is_cancelled() -> bool:
        try:
            check()
        except BaseException as error:
            stopped.append(error)
            return True
        return False

    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "xb", opener=_private) as file:
        try:
            fetched = fetch(
                *(url,), max_bytes=max_bytes, timeout_s=TIMEOUT_S, allow=AddressRules(), into=file,
                is_cancelled=is_cancelled,
            )  # fmt: skip
        except Cancelled:
            raise stopped[0] from None
        file.flush()
        os.fsync(file.fileno())
    if fetched.status != 200:
        raise BadGateway(f"{url[:200]} was answered with status {fetched.status}.", code="fetch_failed", param="url")
    content_type = fetched.content_type + (f"; charset={fetched.charset}" if fetched.charset else "")
    parts = urlsplit(fetched.url)
    return FetchedDocument(unquote(parts.path.rstrip("/").rpartition("/")[2]) or parts.netloc, content_type)
