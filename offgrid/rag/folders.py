"""Files and folders of this machine that an administrator may take documents from."""

import os
from collections.abc import Sequence
from pathlib import Path

from offgrid.errors import BadRequest, NotFound, PermissionDenied
from offgrid.rag.readers.formats import is_readable


def allowed_path(path: Path, roots: Sequence[Path]) -> Path:
    """The file or folder that is meant, links resolved. Raises PermissionDenied outside of `roots`, NotFound."""
    if not roots:
        raise PermissionDenied(
            "Documents are not taken in by path here: no folder is allowed (rag.roots).", param="path"
        )
    try:
        real = Path(os.path.realpath(path))
        is_there = real.exists()
    except (ValueError, OSError) as error:  # NUL, a name that is too long, a folder that may not be entered
        raise BadRequest(
            f"The path cannot be used: {getattr(error, 'strerror', None) or error}.", param="path"
        ) from None
    if not path.is_absolute() or not any(real.is_relative_to(os.path.realpath(root)) for root in roots):
        allowed = ", ".join(map(str, roots))
        raise PermissionDenied(f"{path} is not below one of the allowed folders: {allowed} (rag.roots).", param="path")
    if not is_there:
        raise NotFound(f"There is no {path}.", param="path")
    return real


def files_below(folder: Path, most: int) -> list[Path]:
    """The files that can be read, hidden ones and links left out. Raises BadRequest: more than `most`, no UTF-8."""
    found: list[Path] = []
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = [Path(here, name) for name in sorted(names) if not name.startswith(".") and is_readable(name)]
        found += [path for path in paths if path.is_file() and not path.is_symlink()]
        if strange := next((path for path in found if not _is_utf8(path)), None):
            shown = os.fsencode(strange).decode("utf-8", "replace")
            raise BadRequest(f"The name of {shown} is not UTF-8: rename it.", param="path")
        if len(found) > most:
            raise BadRequest(f"There are more than {most} documents in {folder}: add its folders one by one.")
    return found


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True
