"""The process that reads documents, as the router sees it: one child, ended by what it must not survive."""

import os
import threading

import pytest

from offgrid.errors import BadRequest
from offgrid.rag.reader import Reader, ReadingStopped


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
    while reader._child.is_running:
        pass
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


@pytest.mark.parametrize("make", [lambda p: p.mkdir(), os.mkfifo, lambda p: p.symlink_to("/etc/hostname")])
def test_what_is_no_regular_file_is_refused_without_waiting(reader, tmp_path, make):
    make(tmp_path / "a.txt")
    with pytest.raises(BadRequest, match=r"'a\.txt' is (not a regular file|a symbolic link)"):
        reader.read(tmp_path / "a.txt", "a.txt")
