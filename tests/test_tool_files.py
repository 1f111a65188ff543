"""The tools for files: they read and write in one's own workspace, and nowhere else, whatever is tried."""

import ctypes
import os
import socket
import threading

import pytest
from tool_bench import context, somebody

from offgrid.agents.tools import workspace as workspaces
from offgrid.agents.tools.files import LIST_FILES, MAX_SHOWN_CHARS, READ_FILE, WRITE_FILE
from offgrid.agents.tools.tool import ToolError
from offgrid.agents.tools.workspace import Workspaces

SECRET = "canary-outside"
AT_FDCWD, RENAME_EXCHANGE = -100, 2


@pytest.fixture
def place(tmp_path):
    """A context, its workspace's folder with one file, and secrets beside it."""
    here = context(tmp_path)
    (tmp_path / "secret.txt").write_text(SECRET)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "inner.txt").write_text(SECRET)
    other = tmp_path / "workspaces" / "local-2"
    other.mkdir(parents=True)
    (other / "theirs.txt").write_text(SECRET)
    WRITE_FILE.run({"path": "mine.txt", "content": "mine"}, here)
    return here, tmp_path / "workspaces" / "local", tmp_path


def test_a_file_is_written_read_and_listed(place):
    here, folder, _ = place
    said = WRITE_FILE.run({"path": "notes/2026/today.txt", "content": "grün\n"}, here)
    assert said == "notes/2026/today.txt is written (6 bytes)."
    assert READ_FILE.run({"path": "./notes//2026/today.txt"}, here) == "grün\n"
    assert LIST_FILES.run({}, here) == "mine.txt (4 bytes)\nnotes/"
    assert LIST_FILES.run({"path": "notes/2026/"}, here) == "today.txt (6 bytes)"
    assert (folder / "notes").stat().st_mode & 0o777 == 0o700
    assert (folder / "notes/2026/today.txt").stat().st_mode & 0o777 == 0o600


def test_a_file_is_replaced_as_a_whole(place):
    here, folder, _ = place
    WRITE_FILE.run({"path": "mine.txt", "content": ""}, here)
    assert READ_FILE.run({"path": "mine.txt"}, here) == "(mine.txt is empty)"
    assert os.listdir(folder) == ["mine.txt"]


def test_a_long_file_is_read_page_by_page_and_says_so(place):
    here, _, _ = place
    lines = [f"line {i}\n" for i in range(1, 3001)]
    WRITE_FILE.run({"path": "long.txt", "content": "".join(lines)}, here)
    got, start = "", 1
    while start:
        page = READ_FILE.run({"path": "long.txt", "start_line": start}, here)
        assert len(page) < MAX_SHOWN_CHARS + 200
        text, _, note = page.partition("[lines ")
        got += text
        start = int(note.rpartition("start_line ")[2].rstrip("]")) if note else 0
    assert got == "".join(lines)
    with pytest.raises(ToolError, match="has 3000 lines"):
        READ_FILE.run({"path": "long.txt", "start_line": 3001}, here)


def test_a_long_line_is_cut_and_says_so(place):
    here, _, _ = place
    WRITE_FILE.run({"path": "long.txt", "content": "x" * 20_000 + "\nend\n"}, here)
    page = READ_FILE.run({"path": "long.txt"}, here)
    assert "[line 1 is cut here: 8000 of 20001 characters]" in page and page.endswith("go on with start_line 2]")
    assert READ_FILE.run({"path": "long.txt", "start_line": 2}, here) == "end\n"


PATHS = [
    "/etc/passwd",
    "//etc/passwd",
    "/proc/self/environ",
    "..",
    "../secret.txt",
    "../../secret.txt",
    "notes/../../secret.txt",
    "./../secret.txt",
    "mine.txt/../../secret.txt",
    "../local-2/theirs.txt",
    "../workspaces/local-2/theirs.txt",
    "../../../../../../../../etc/passwd",
    "..\\secret.txt",
    "..\\..\\secret.txt",
    "C:\\Windows\\win.ini",
    "c:secret.txt",
    "\\\\server\\share",
    "~/secret.txt",
    "~root/.ssh/id_rsa",
    "$HOME/secret.txt",
    "file:///etc/passwd",
    "%2e%2e/secret.txt",
    "..%2fsecret.txt",
    "．．/secret.txt",
    "‥/secret.txt",
    "..∕secret.txt",
    "..⁄secret.txt",
    "\u202e../secret.txt",
    "secret.txt\x00",
    "mine.txt\x00../secret.txt",
    "\x00",
    "mine\n.txt",
    "a\x7fb",
    "\ud800.txt",
    "",
    ".",
    "./",
    "x" * 300,
    "x/" * 400 + "x",
    "a/" * 30 + "b",
    ".offgrid-0123456789abcdef",
]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: ascii(path)[:30])
def test_no_path_leads_outside(place, path):
    here, folder, root = place
    before = sorted(p for p in root.rglob("*") if folder not in p.parents)
    with pytest.raises(ToolError):
        READ_FILE.run({"path": path}, here)
    try:
        said = WRITE_FILE.run({"path": path, "content": "overwritten"}, here)
        assert "is written" in said and READ_FILE.run({"path": path}, here) == "overwritten"  # a name like any other
    except ToolError:
        pass
    if path not in ("", ".", "./"):
        try:
            assert SECRET not in LIST_FILES.run({"path": path}, here)
        except ToolError:
            pass
    assert sorted(p for p in root.rglob("*") if folder not in p.parents) == before
    assert (root / "secret.txt").read_text() == SECRET and (root / "outside" / "inner.txt").read_text() == SECRET


def test_links_are_not_followed_wherever_they_stand(place):
    here, folder, root = place
    (folder / "file").symlink_to(root / "secret.txt")
    (folder / "relative").symlink_to("../../secret.txt")
    (folder / "folder").symlink_to(root / "outside")
    (folder / "self").symlink_to("self")
    (folder / "root").symlink_to("/")
    (folder / "proc").symlink_to("/proc/self")
    (folder / "inside").symlink_to("mine.txt")
    for path in ("file", "relative", "folder/inner.txt", "self", "self/x", "root/etc/passwd", "proc/environ", "inside"):
        with pytest.raises(ToolError, match="link"):
            READ_FILE.run({"path": path}, here)
    for path in ("folder/new.txt", "root/tmp/new.txt", "self/new.txt", "folder/deep/new.txt"):
        with pytest.raises(ToolError, match="link"):
            WRITE_FILE.run({"path": path, "content": "x"}, here)
    for path in ("folder", "root", "proc", "self"):
        with pytest.raises(ToolError, match="link"):
            LIST_FILES.run({"path": path}, here)
    assert "file (cannot be opened)" in LIST_FILES.run({}, here)
    assert os.listdir(root / "outside") == ["inner.txt"]


def test_writing_over_a_link_replaces_the_link_and_not_what_it_leads_to(place):
    here, folder, root = place
    (folder / "file").symlink_to(root / "secret.txt")
    WRITE_FILE.run({"path": "file", "content": "mine now"}, here)
    assert (root / "secret.txt").read_text() == SECRET
    assert not (folder / "file").is_symlink() and READ_FILE.run({"path": "file"}, here) == "mine now"


def test_a_second_name_of_a_file_outside_is_not_read_and_not_written_through(place):
    here, folder, root = place
    os.link(root / "secret.txt", folder / "hard")
    with pytest.raises(ToolError, match="not a plain file"):
        READ_FILE.run({"path": "hard"}, here)
    WRITE_FILE.run({"path": "hard", "content": "x"}, here)
    assert (root / "secret.txt").read_text() == SECRET


def test_what_is_no_file_is_not_opened_and_nobody_waits(place, monkeypatch):
    here, folder, _ = place
    os.mkfifo(folder / "pipe")
    monkeypatch.chdir(folder)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")  # the path of a socket may not be long
        for name in ("pipe", "socket"):
            with pytest.raises(ToolError, match=r"not a plain file|cannot be opened"):
                READ_FILE.run({"path": name}, here)
    WRITE_FILE.run({"path": "sub/x.txt", "content": "x"}, here)
    with pytest.raises(ToolError, match="is a folder"):
        READ_FILE.run({"path": "sub"}, here)
    with pytest.raises(ToolError, match="is not a folder"):
        READ_FILE.run({"path": "mine.txt/x"}, here)
    with pytest.raises(ToolError, match="is a folder"):
        WRITE_FILE.run({"path": "sub", "content": "x"}, here)


def test_a_workspace_that_is_itself_a_link_is_refused(tmp_path):
    (tmp_path / "workspaces").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "workspaces" / "local").symlink_to(tmp_path / "outside")
    for tool, arguments in ((WRITE_FILE, {"path": "a", "content": "x"}), (READ_FILE, {"path": "a"}), (LIST_FILES, {})):
        with pytest.raises(ToolError):
            tool.run(arguments, context(tmp_path))
    assert os.listdir(tmp_path / "outside") == []


def test_a_folder_that_is_swapped_for_a_link_meanwhile_leads_nowhere(place):
    """Somebody changes the two as fast as they can, without a gap; not one of the reads or writes goes outside."""
    here, folder, root = place
    WRITE_FILE.run({"path": "name/inner.txt", "content": "inside"}, here)
    (folder / "link").symlink_to(root / "outside")
    one, other = os.fsencode(folder / "name"), os.fsencode(folder / "link")
    libc = ctypes.CDLL(None, use_errno=True)
    over = threading.Event()

    def swap():
        while not over.is_set():
            assert libc.renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE) == 0, os.strerror(ctypes.get_errno())

    swapper = threading.Thread(target=swap)
    swapper.start()
    n_read = n_refused = 0
    try:
        while swapper.is_alive() and (n_read < 100 or n_refused < 100):
            try:
                assert READ_FILE.run({"path": "name/inner.txt"}, here) == "inside"
                n_read += 1
                WRITE_FILE.run({"path": "name/new.txt", "content": "x"}, here)
            except ToolError:
                n_refused += 1
    finally:
        over.set()
        swapper.join(10)
    assert n_read >= 100 and n_refused >= 100
    assert os.listdir(root / "outside") == ["inner.txt"] and (root / "outside/inner.txt").read_text() == SECRET


def test_binary_files_are_refused(place):
    here, folder, _ = place
    (folder / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")
    (folder / "nul.txt").write_bytes(b"a\x00b")
    (folder / "latin.txt").write_bytes(b"gr\xfcn")
    for name in ("image.png", "nul.txt", "latin.txt"):
        with pytest.raises(ToolError, match="is not a text file"):
            READ_FILE.run({"path": name}, here)


def test_files_have_a_size_and_so_has_the_workspace(place, tmp_path):
    here, folder, _ = place
    with pytest.raises(ToolError, match="a file has at most"):
        WRITE_FILE.run({"path": "big", "content": "x" * (workspaces.MAX_FILE_BYTES + 1)}, here)
    with open(folder / "sparse", "wb") as file:
        file.truncate(10**12)
    with pytest.raises(ToolError, match=r"at most .* are read"):
        READ_FILE.run({"path": "sparse"}, here)
    with pytest.raises(ToolError, match="does not fit"):  # what a program has made counts
        WRITE_FILE.run({"path": "small", "content": "x"}, here)
    (folder / "sparse").unlink()
    WRITE_FILE.run({"path": "a/half", "content": "x" * 600_000}, here)
    with pytest.raises(ToolError, match=r"does not fit: 600004 of 1000000 bytes are used"):
        WRITE_FILE.run({"path": "b/half", "content": "x" * 600_000}, here)
    WRITE_FILE.run({"path": "a/half", "content": "y" * 700_000}, here)  # in the place of the old one it does


def test_many_writers_together_keep_within_the_room(tmp_path):
    here = context(tmp_path, max_bytes=10_000)

    def write(n):
        for i in range(10):
            try:
                WRITE_FILE.run({"path": f"{n}/{i}", "content": "x" * 900}, here)
            except ToolError:
                pass

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert here.workspaces.of("local").n_bytes == 9900


def test_there_are_only_so_many_files(place, monkeypatch):
    here, _, _ = place
    monkeypatch.setattr(workspaces, "MAX_FILES", 5)
    for i in range(4):
        WRITE_FILE.run({"path": f"f{i}", "content": ""}, here)
    with pytest.raises(ToolError, match="no more are made"):
        WRITE_FILE.run({"path": "f9", "content": ""}, here)


def test_a_full_disk_leaves_nothing_behind(place, monkeypatch):
    here, folder, _ = place

    def full(*_args, **_kw):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(workspaces.os, "replace", full)
    with pytest.raises(ToolError, match="No space left"):
        WRITE_FILE.run({"path": "mine.txt", "content": "new"}, here)
    assert os.listdir(folder) == ["mine.txt"] and READ_FILE.run({"path": "mine.txt"}, here) == "mine"


def test_everybody_has_a_workspace_of_their_own(tmp_path):
    one, two = (context(tmp_path, who=somebody("user", owner)) for owner in ("u1", "u2"))
    WRITE_FILE.run({"path": "a.txt", "content": "of one"}, one)
    with pytest.raises(ToolError, match=r"There is no a\.txt"):
        READ_FILE.run({"path": "a.txt"}, two)
    for owner in ("lan", "guest", "", "..", "a/b", "x" * 65, "a\n"):
        with pytest.raises(ToolError, match="without an account"):
            LIST_FILES.run({}, context(tmp_path, who=somebody("user", owner)))
    one.workspaces.delete("u1")
    assert LIST_FILES.run({}, one) == "(no files)"


def test_a_workspace_is_handed_on_to_whoever_has_none(tmp_path):
    spaces = Workspaces(tmp_path, 1000)
    spaces.of("local").write("a", b"x")
    spaces.adopt("local", "u1")
    assert spaces.of("u1").read("a") == b"x" and spaces.of("local").entries("") == []
    spaces.of("local").write("b", b"y")
    spaces.adopt("local", "u1")
    assert spaces.of("local").read("b") == b"y"  # u1 keeps what they have
    spaces.adopt("nobody", "u2")
    spaces.delete("..")
    assert sorted(os.listdir(tmp_path)) == ["local", "u1"]


def test_descriptors_are_given_back(place):
    here, folder, root = place
    (folder / "link").symlink_to(root)
    before = len(os.listdir("/proc/self/fd"))
    for path in ("mine.txt", "a/b/c", "link/x", "nothing", "mine.txt/x", "../x"):
        for tool in (READ_FILE, LIST_FILES, WRITE_FILE):
            try:
                tool.run({"path": path, "content": "x"}, here)
            except ToolError:
                pass
    assert len(os.listdir("/proc/self/fd")) == before
