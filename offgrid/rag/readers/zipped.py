"""Archive: the members of a zip file, within limits. Names of members are keys and nothing else, never paths.

What a member unpacks to is what the directory says: `zipfile` gives no byte beyond it, and we ask that first. Nothing
that is packed inside a member is unpacked in turn, so that a nested bomb is only a member that nobody reads.
"""

import posixpath
import zipfile
import zlib
from typing import BinaryIO

from offgrid.errors import BadRequest, TooLarge

MAX_MEMBERS = 20_000
MAX_MEMBER_BYTES = 200_000_000  # unpacked
MAX_TOTAL_BYTES = 400_000_000  # unpacked, of all that was read
MAX_RATIO = 300  # of a member over FREE_BYTES; XML packs 10 to 100 times, deflate at most 1032 times
FREE_BYTES = 10_000_000
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the only ones of documents; the others unpack without a bound
IS_ENCRYPTED = 0x1


class Archive:
    def __init__(self, file: BinaryIO):
        """Raises BadRequest, TooLarge."""
        try:
            self._zip = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, OSError, EOFError, ValueError, OverflowError, NotImplementedError) as error:
            raise BadRequest(
                "is damaged or incomplete: its zip directory cannot be read, or is not there; copy it again"
            ) from error
        infos = self._zip.infolist()
        if len(infos) > MAX_MEMBERS:
            raise TooLarge(f"is a zip archive of {len(infos):,} files; the limit is {MAX_MEMBERS:,}")
        self._infos = {info.filename.replace("\\", "/").lstrip("/"): info for info in infos}
        self._n_left = MAX_TOTAL_BYTES

    def __contains__(self, name: str) -> bool:
        return name in self._infos

    @property
    def names(self) -> list[str]:
        return list(self._infos)

    def read(self, name: str) -> bytes:
        """A member, unpacked. Raises BadRequest (missing, damaged, encrypted), TooLarge."""
        if (info := self._infos.get(name)) is None:
            raise BadRequest(f"is damaged: it has no part {name[:200]!r}")
        self._check(info, name[:200])
        try:
            return self._zip.read(info)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError) as error:
            raise BadRequest(f"is damaged: its part {name[:200]!r} cannot be unpacked; copy it again") from error

    def _check(self, info: zipfile.ZipInfo, name: str) -> None:
        if info.flag_bits & IS_ENCRYPTED:
            raise BadRequest("is protected by a password: save it without one")
        if info.compress_type not in METHODS:
            raise BadRequest(f"is packed in a way that documents are not (method {info.compress_type})")
        if info.file_size > MAX_MEMBER_BYTES:
            raise TooLarge(f"unpacks its part {name!r} to {info.file_size:,} bytes; the limit is {MAX_MEMBER_BYTES:,}")
        if info.file_size > max(FREE_BYTES, MAX_RATIO * info.compress_size):
            raise TooLarge(f"unpacks its part {name!r} to more than {MAX_RATIO} times its size, as bombs do")
        self._n_left -= info.file_size
        if self._n_left < 0:
            raise TooLarge(f"unpacks to more than {MAX_TOTAL_BYTES:,} bytes, which is the limit")


def resolve(target: str, part: str) -> str:
    """The member that `target` means where it stands in the member `part`: relative to its folder, or from the root."""
    target = target.partition("#")[0].replace("\\", "/")
    base = "" if target.startswith("/") else posixpath.dirname(part)
    return posixpath.normpath(posixpath.join(base, target.lstrip("/")))
