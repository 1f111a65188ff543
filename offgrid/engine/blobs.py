"""Blobs: files that clients send, by their SHA-256, until a model is made of them.

Must stay true: what has a blob's name is whole, and its hash is that name.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from offgrid.engine.model_files import PART, require_room, sync_folder, written_to
from offgrid.engine.verify import CHUNK_BYTES
from offgrid.errors import BadRequest


class Blobs:
    """Files that a client has sent, by their hash, until a model is made of them: `data_dir/blobs`."""

    def __init__(self, folder: Path):
        self.folder = folder

    def path(self, sha256: str) -> Path:
        return self.folder / f"sha256-{sha256}"

    def put(self, sha256: str, n_bytes: int, pieces: Iterator[bytes]) -> None:
        """Keep a file whose hash this is. Raises BadRequest when it is another, StorageFull, and what `pieces` do."""
        part = self.folder / f"sha256-{sha256}-{os.urandom(4).hex()}{PART}"
        digest, n_written = hashlib.sha256(), 0
        try:
            with written_to(self.folder), open(part, "wb") as file:
                require_room(self.folder, n_bytes)
                for piece in pieces:
                    file.write(piece)
                    digest.update(piece)
                    if n_written // CHUNK_BYTES != (n_written := n_written + len(piece)) // CHUNK_BYTES:
                        require_room(self.folder, 0)
                file.flush()
                os.fsync(file.fileno())
            if digest.hexdigest() != sha256:
                raise BadRequest(f"digest mismatch, expected {sha256!r}, got {digest.hexdigest()!r}", param="digest")
            os.replace(part, self.path(sha256))
            sync_folder(self.folder)
        finally:
            part.unlink(missing_ok=True)

    def sweep(self, older_than_s: float, now: float) -> None:
        """Remove what was left half-sent, and what no model was made of for so long."""
        for path in self.folder.glob("sha256-*"):
            if path.name.endswith(PART) or path.stat().st_mtime < now - older_than_s:
                path.unlink(missing_ok=True)
