"""Saved prefixes on disk: what is read is what was written, whatever happened to the folder meanwhile."""

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from prefix_killed import FINGERPRINT, open_files, state_of, tokens_of
from running import REPO, wait_until

from offgrid.worker import prefix_files, prefix_format
from offgrid.worker.prefix_files import PrefixFiles, StoredPrefix

TOKENS = list(range(100, 180))
PROMPT = [*TOKENS, 1, 2, 3]
STATE = bytes(range(256)) * 2


def fresh(folder: Path, **kw) -> PrefixFiles:
    fields = {"max_bytes": 10**9, "max_state_bytes": 10**6, "max_tokens": 1000, "shortest_cut": lambda n: 0}
    return PrefixFiles(folder, kw.pop("fingerprint", FINGERPRINT), **fields | kw)


def read(files: PrefixFiles, stored: StoredPrefix) -> bytes | None:
    answer = queue.Queue()
    files.read(stored, answer.put)
    return answer.get(timeout=5)


def known(folder: Path, prompt: list[int] = PROMPT, **kw) -> bytes | None:
    """What a fresh start makes of the folder for a prompt: the state, or None when it must be computed."""
    files = fresh(folder, **kw)
    stored = files.find(prompt)
    return None if stored is None else read(files, stored)


def saved(folder: Path, tokens: list[int] = TOKENS, state: bytes = STATE, **kw) -> Path:
    """The path of a prefix that was just written."""
    stored = fresh(folder, **kw).save(tokens, state)
    wait_until(stored.path.exists)
    return stored.path


def test_a_saved_prefix_is_there_after_a_restart(tmp_path):
    path = saved(tmp_path)
    assert known(tmp_path) == STATE
    assert known(tmp_path, [7, *PROMPT]) is None
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert path.stat().st_size == prefix_format.size_of(len(TOKENS), len(STATE))


def test_the_folder_is_made_for_the_owner_alone(tmp_path):
    fresh(tmp_path / "data" / "cache")
    assert os.stat(tmp_path / "data" / "cache").st_mode & 0o777 == 0o700


def test_a_file_is_read_for_a_prompt_that_has_enough_of_it(tmp_path):
    saved(tmp_path, list(range(400)))
    assert known(tmp_path, [*range(110), 9]) == STATE
    assert known(tmp_path, [*range(90), 9]) is None  # less than a quarter: computing may be quicker
    assert known(tmp_path, [*range(110), 9], shortest_cut=lambda n: n) is None
    assert known(tmp_path, [*range(400), 9], shortest_cut=lambda n: n) == STATE
    assert known(tmp_path, list(range(400)), shortest_cut=lambda n: n) is None  # one token is left to compute


def test_a_state_in_memory_is_not_read_again_until_it_leaves(tmp_path):
    files = fresh(tmp_path)
    stored = files.save(TOKENS, STATE)
    wait_until(stored.path.exists)
    assert files.find(PROMPT) is None
    stored.is_loaded = False
    assert files.find(PROMPT) is stored
    assert read(files, stored) == STATE
    assert files.find(PROMPT) is None
    assert read(files, stored) is None  # a second prompt that waited for the same file


def test_a_file_cut_off_anywhere_is_ignored_and_removed(tmp_path):
    path = saved(tmp_path)
    whole = path.read_bytes()
    for n in range(len(whole)):
        path.write_bytes(whole[:n])
        assert known(tmp_path) is None
        assert path.exists() == (n < len(prefix_format.MAGIC))  # without our mark it may be anybody's
    path.write_bytes(whole + b"x")
    assert known(tmp_path) is None
    path.write_bytes(whole)
    assert known(tmp_path) == STATE


def test_no_flipped_bit_is_believed(tmp_path):
    path = saved(tmp_path)
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        assert known(tmp_path) is None, f"bit {bit}"


def test_a_file_damaged_after_the_start_is_ignored_and_removed(tmp_path):
    path = saved(tmp_path)
    for damage in (lambda b: b[:-100], lambda b: b[:-1] + b"\x01", lambda b: b"", lambda b: os.urandom(len(b))):
        files = fresh(tmp_path)
        stored = files.find(PROMPT)
        whole = path.read_bytes()
        path.write_bytes(damage(whole))
        assert read(files, stored) is None
        assert files.find(PROMPT) is None  # nobody waits for it a second time
        path.write_bytes(whole)


def test_a_file_removed_by_another_worker_is_computed_instead(tmp_path):
    path = saved(tmp_path)
    files = fresh(tmp_path)
    stored = files.find(PROMPT)
    path.unlink()
    assert read(files, stored) is None
    assert files.find(PROMPT) is None


def test_files_of_another_version_are_removed_and_of_another_model_left(tmp_path, monkeypatch):
    path = saved(tmp_path)
    assert known(tmp_path, fingerprint=b"g" * 32) is None
    assert path.exists()
    monkeypatch.setattr(prefix_format, "VERSION", prefix_format.VERSION + 1)
    assert known(tmp_path) is None
    assert not path.exists()


def test_a_file_under_the_name_of_another_prefix_is_not_taken_for_it(tmp_path):
    path = saved(tmp_path)
    other = saved(tmp_path, [5, *TOKENS], b"other")
    files = fresh(tmp_path)
    stored = files.find(PROMPT)
    path.write_bytes(other.read_bytes())
    assert read(files, stored) is None
    assert known(tmp_path) is None


def test_what_is_not_ours_is_neither_read_nor_removed(tmp_path):
    name = saved(tmp_path).name
    real = tmp_path / name
    aside = tmp_path / "aside"
    real.rename(aside)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / ".hidden.part").write_text("mine")
    os.mkfifo(tmp_path / ("a" * 16 + "-" + "b" * 32 + ".prefix"))
    (tmp_path / ("c" * 16 + "-" + "d" * 32 + ".prefix")).mkdir()
    (tmp_path / ("e" * 16 + "-" + "f" * 32 + ".prefix")).write_bytes(b"garbage of somebody else")
    real.symlink_to(aside)
    before = sorted(tmp_path.iterdir())
    assert known(tmp_path) is None  # the link leads to a good file, but it is a link
    assert known(tmp_path, max_bytes=1) is None
    saved(tmp_path, [9, *TOKENS], fingerprint=b"h" * 32)
    assert set(before) < set(tmp_path.iterdir())
    assert aside.read_bytes().startswith(prefix_format.MAGIC)


def test_the_folder_stays_within_its_bytes_and_the_last_used_stay(tmp_path):
    size = prefix_format.size_of(len(TOKENS) + 1, 1000)
    for number in range(6):
        path = saved(tmp_path, [number, *TOKENS], bytes(1000), max_bytes=3 * size)
        os.utime(path, (1000 + number, 1000 + number))
        if number == 3:
            assert known(tmp_path, [1, *PROMPT]) == bytes(1000)  # used: now the newest
        assert sum(p.stat().st_size for p in tmp_path.iterdir()) <= 3 * size
    assert [number for number in range(6) if known(tmp_path, [number, *PROMPT])] == [1, 4, 5]


def test_files_of_other_models_count_and_give_way_too(tmp_path):
    size = prefix_format.size_of(len(TOKENS), 1000)
    old = saved(tmp_path, TOKENS, bytes(1000), fingerprint=b"g" * 32)
    os.utime(old, (1000, 1000))
    saved(tmp_path, TOKENS, bytes(1000), max_bytes=size)
    assert not old.exists()


def test_a_prefix_that_exceeds_a_bound_is_not_written(tmp_path):
    files = fresh(tmp_path, max_bytes=100)
    stored = files.save(TOKENS, STATE)
    wait_until(lambda: stored.path.name not in files._stored)
    assert fresh(tmp_path, max_tokens=10).save(TOKENS, STATE) is None
    assert fresh(tmp_path, max_state_bytes=10).save(TOKENS, STATE) is None
    assert not list(tmp_path.iterdir())


def test_a_nearly_full_disk_is_left_alone(tmp_path, monkeypatch):
    usage = prefix_files.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(prefix_files.shutil, "disk_usage", lambda _: usage._replace(free=20 * len(STATE)))
    files = fresh(tmp_path)
    stored = files.save(TOKENS, STATE)
    wait_until(lambda: stored.path.name not in files._stored)
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fails_is_named_once_and_leaves_nothing_behind(tmp_path, monkeypatch, capfd):
    def fail(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(prefix_files.os, "fsync", fail)
    monkeypatch.setattr(prefix_files, "RETRY_S", -1)
    files = fresh(tmp_path)
    for number in range(3):
        stored = files.save([number, *TOKENS], STATE)
        wait_until(lambda name=stored.path.name: name not in files._stored)
    assert capfd.readouterr().err.count("No space left on device") == 1
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    assert read_back(files)


def read_back(files: PrefixFiles) -> bool:
    """Whether saving works (again)."""
    stored = files.save(TOKENS, STATE)
    wait_until(stored.path.exists)
    stored.is_loaded = False
    return read(files, stored) == STATE


def test_after_the_disk_refused_a_file_no_other_is_tried_for_a_while(tmp_path):
    files = fresh(tmp_path)
    tmp_path.rmdir()
    stored = files.save(TOKENS, STATE)
    wait_until(lambda: stored.path.name not in files._stored)
    assert files.save([1, *TOKENS], STATE) is None


def test_a_real_limit_of_the_file_size_is_survived(tmp_path):
    code = (
        "import resource, sys; from pathlib import Path; from prefix_killed import *; from running import wait_until\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "files = open_files(Path(sys.argv[1])); stored = files.save(tokens_of(1), state_of(tokens_of(1)))\n"
        "wait_until(lambda: not files._stored); print(list(files.folder.iterdir()))"
    )
    done = run_child("-c", code, str(tmp_path), capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "[]"
    assert "File too large" in done.stderr


def test_a_folder_that_can_only_be_read_is_read(capfd):
    with tempfile.TemporaryDirectory() as name:  # not below pytest's own, which others may not enter
        folder = Path(name)
        saved(folder).chmod(0o444)
        folder.chmod(0o555)
        as_root = os.geteuid() == 0
        if as_root:
            os.seteuid(65534)  # root may write everywhere
        try:
            files = fresh(folder)
            new = files.save([1, *TOKENS], STATE)
            wait_until(lambda: new.path.name not in files._stored)
            assert known(folder) == STATE
        finally:
            if as_root:
                os.seteuid(0)
            folder.chmod(0o700)
        assert len(list(folder.iterdir())) == 1
    assert capfd.readouterr().err.count("Permission denied") == 1


def test_two_workers_on_one_folder_do_not_disturb_each_other(tmp_path):
    def work(numbers: range) -> None:
        files = fresh(tmp_path, max_bytes=8 * prefix_format.size_of(81, 512))
        for number in numbers:
            if (stored := files.save([number, *TOKENS], STATE)) is not None:
                stored.is_loaded = False
                assert read(files, stored) in (STATE, None)

    threads = [threading.Thread(target=work, args=[range(i, 200, 2)]) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    files = fresh(tmp_path)
    assert all(read(files, stored) == STATE for stored in list(files._stored.values()))


# --- killed while writing ---


def run_child(*words: str, **kw) -> subprocess.CompletedProcess:
    path = f"{REPO}{os.pathsep}{REPO / 'tests'}"
    return subprocess.run([sys.executable, *words], env={**os.environ, "PYTHONPATH": path}, check=kw.pop("check"), **kw)


def kill_while_saving(folder: Path, n_times: int) -> None:
    n_cut_off = 0
    for turn in range(n_times):
        words = [sys.executable, str(REPO / "tests" / "prefix_killed.py"), str(folder), str(1000 * turn)]
        child = subprocess.Popen(words, env={**os.environ, "PYTHONPATH": str(REPO)})
        try:
            wait_until(lambda child=child: child.poll() is None and list(folder.glob(".*.part")), 20)
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
        n_cut_off += bool(list(folder.glob(".*.part")))
        files = open_files(folder)
        assert not list(folder.glob(".*.part")), "what a killed worker left is still there"
        assert sum(p.stat().st_size for p in folder.iterdir()) <= 12_000_000
        for stored in list(files._stored.values()):
            assert read(files, stored) == state_of(stored.tokens)
            assert stored.tokens == tokens_of(stored.tokens[0])
    assert n_cut_off > n_times // 4, "hardly any was killed while it wrote"


def test_a_worker_killed_while_it_saves_leaves_only_whole_files(tmp_path):
    kill_while_saving(tmp_path, 8)


@pytest.mark.full
@pytest.mark.timeout(600)
def test_a_hundred_workers_killed_while_they_save_leave_only_whole_files(tmp_path):
    kill_while_saving(tmp_path, 100)
