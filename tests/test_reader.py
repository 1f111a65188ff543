"""The process that reads documents, as the router sees it: one child, ended by what it must not survive."""

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from running import REPO

from offgrid.errors import BadRequest, TooLarge
from offgrid.rag.reader import Reader, ReadingStopped
from offgrid.rag.readers.limits import Limits


def wait_until(is_so) -> None:
    deadline = time.monotonic() + 5
    while not is_so():
        assert time.monotonic() < deadline


@pytest.fixture
def reader():
    with Reader() as reader:
        yield reader


def test_one_child_reads_one_file_after_the_other(reader, tmp_path):
    path = tmp_path / "a.md"
    path.write_text("# Title\r\n\nText äöü\n")
    first = reader.read(path, "a.md")
    child = reader._child.pid
    assert first.text == "# Title\n\nText äöü\n"
    assert [(b.kind, b.level, first.text[b.start : b.end]) for b in first.blocks] == [
        ("heading", 1, "# Title"),
        ("paragraph", 0, "Text äöü"),
    ]
    assert (first.content_type, first.metadata, first.n_pages) == ("text/markdown", {"title": "Title"}, None)
    assert reader.read(path, "b.txt").content_type == "text/plain"
    assert reader._child.pid == child


def test_a_file_after_one_that_ended_the_child_is_read_by_another(reader, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("text")
    reader.read(path, "a.txt")
    os.kill(reader._child.pid, 9)
    wait_until(lambda: not reader._child.is_running)
    assert reader.read(path, "a.txt").text == "text"


def test_a_stopped_reader_reads_no_more_and_leaves_no_child(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("text")
    with Reader() as reader:
        reader.read(path, "a.txt")
        child = reader._child
    assert not child.is_running
    assert not [t for t in threading.enumerate() if t.name == "log:reader"]
    with pytest.raises(ReadingStopped):
        reader.read(path, "a.txt")


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.mkdir(),
        os.mkfifo,
        lambda path: path.symlink_to("/etc/hostname"),
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: socket.socket(socket.AF_UNIX).bind(str(path)),
        lambda path: None,
    ],
)
def test_what_is_no_regular_file_is_refused_without_waiting(reader, tmp_path, monkeypatch, make):
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    make(Path("a.txt"))
    with pytest.raises(
        BadRequest, match=r"'a\.txt' (is not a regular file|is a symbolic link|cannot be read: No such)"
    ):
        reader.read(Path("a.txt"), "a.txt")
    with pytest.raises(BadRequest, match="a device"):
        reader.read(Path("/dev/zero"), "zero")


def test_a_file_over_the_limit_is_refused_before_it_is_read(reader, tmp_path):
    with open(tmp_path / "a.txt", "wb") as file:
        file.truncate(200_000_000)
    with pytest.raises(TooLarge, match=r"'a\.txt' is 200,000,000 bytes long; the limit is 104,857,600\."):
        reader.read(tmp_path / "a.txt", "a.txt")
    with open(f"/proc/{reader._child.pid}/status") as status:
        peak_kb = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    assert peak_kb < 50_000


def test_a_name_is_shown_short_and_on_one_line(reader, tmp_path):
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(BadRequest) as caught:
        reader.read(tmp_path / "a", "x\n" + "y" * 500)
    assert caught.value.message == f"'x\\n{'y' * 97}…' is empty."


SLOW = "<ul><li>x" * 1_000_000  # some seconds of computing


@pytest.mark.parametrize(
    ("limits", "content", "words"),
    [
        (Limits(min_cpu_s=1, cpu_s_per_mb=0, patience=100), SLOW, "time of computing"),
        (Limits(min_cpu_s=30, cpu_s_per_mb=0, patience=0.1), SLOW, "within 3 s"),
        (Limits(max_memory_bytes=30_000_000), "x" * 31_000_000, "more than 30 MB of memory"),
    ],
)
def test_a_file_that_costs_too_much_takes_the_child_with_it_and_no_other_file(tmp_path, limits, content, words):
    (tmp_path / "a.html").write_text(content)
    (tmp_path / "a.txt").write_text("text")
    with Reader(limits) as reader:
        with pytest.raises(TooLarge, match=words):
            reader.read(tmp_path / "a.html", "a.html")
        assert reader.read(tmp_path / "a.txt", "a.txt").text == "text"


def test_a_child_that_has_grown_gives_its_memory_back(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    with Reader(Limits(max_idle_bytes=1_000_000)) as reader:  # any has
        reader.read(tmp_path / "a.txt", "a.txt")
        first = reader._child
        assert not first.is_running
        assert reader.read(tmp_path / "a.txt", "a.txt").text == "text"
        assert reader._child.pid != first.pid


def test_stopping_from_another_thread_ends_a_reading_at_once(tmp_path):
    (tmp_path / "a.html").write_text(SLOW)
    (tmp_path / "a.txt").write_text("text")
    outcomes = []

    def read(reader):
        try:
            reader.read(tmp_path / "a.html", "a.html")
        except Exception as error:
            outcomes.append(error)

    with Reader() as reader:
        reader.read(tmp_path / "a.txt", "a.txt")
        thread = threading.Thread(target=read, args=(reader,))
        thread.start()
        wait_until(reader._turn.locked)
        child = reader._child
        reader.stop()
        thread.join(10)
    assert [type(error) for error in outcomes] == [ReadingStopped]
    assert not child.is_running


def test_a_reading_that_nobody_wants_any_more_ends_its_child(reader, tmp_path):
    class Unwanted(Exception):
        pass

    def check() -> None:
        raise Unwanted

    path = tmp_path / "long.csv"
    path.write_text("one,two,three\n" * 4_000_000)
    with pytest.raises(Unwanted):
        reader.read(path, "long.csv", check=check)
    path.write_text("one,two\n")
    assert reader.read(path, "short.csv").text == "one | two"


def test_twenty_readers_leave_neither_children_nor_open_files(tmp_path):
    (tmp_path / "a.txt").write_text("text")

    def read_once() -> tuple[int, int]:
        with Reader() as reader:
            reader.read(tmp_path / "a.txt", "a.txt")
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    before = read_once()
    assert [read_once() for _ in range(20)] == [before] * 20


def test_the_child_loads_only_what_it_needs(tmp_path):
    code = "import sys, offgrid.rag.readers.child; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"numpy", "sqlite3", "ssl", "http.server", "yaml", "pypdf", "offgrid.app", "offgrid.config"}
    assert {m for m in loaded if m.startswith("offgrid.")} == {
        m for m in loaded if m.startswith(("offgrid.rag", "offgrid.procs", "offgrid.errors"))
    }
