"""The tool shell: a program gets what it was given and no more, and leaves nothing behind, whatever it tries."""

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from running import wait_until
from tool_bench import context

from offgrid.agents.tools.files import LIST_FILES, READ_FILE, WRITE_FILE
from offgrid.agents.tools.shell import SHELL
from offgrid.agents.tools.tool import ToolError
from offgrid.procs import confined
from offgrid.procs.confined import Limits, run_confined

pytestmark = pytest.mark.model  # many seconds: each test starts processes of its own

HAS_LANDLOCK = ctypes.CDLL(None).syscall(444, None, 0, 1) >= 1
REPO = Path(__file__).resolve().parent.parent


def run(folder, *argv, **more) -> str:
    return SHELL.run({"argv": list(argv)}, context(folder, **{"tool_timeout_s": 10.0, **more}))


def sh(folder, script, **more) -> str:
    return run(folder, "sh", "-c", script, **more)


def left_of(mark: str) -> list[str]:
    """The command lines of processes that hold a mark, this test's own aside."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            state = (place / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if mark in words and state != "Z" and int(place.name) != os.getpid():
            found.append(words)
    return found


def test_a_program_runs_in_the_workspace_and_says_what_it_says(tmp_path):
    here = context(tmp_path)
    WRITE_FILE.run({"path": "a b.txt", "content": "one\ntwo\n"}, here)
    assert run(tmp_path, "wc", "-l", "a b.txt") == "2 a b.txt"
    assert sh(tmp_path, "echo made > made.txt; mkdir sub; cat 'a b.txt' > sub/copy") == "(no output)"
    assert READ_FILE.run({"path": "made.txt"}, here) == "made\n"
    assert READ_FILE.run({"path": "sub/copy"}, here) == "one\ntwo\n"
    WRITE_FILE.run({"path": "sub/more", "content": "x"}, here)
    assert sh(tmp_path, "echo y >> sub/more; cat sub/more") == "xy"


def test_what_a_program_says_of_its_end_is_told(tmp_path):
    assert sh(tmp_path, "echo out; echo err >&2; exit 3") == "out\nerr\n[it ended with status 3]"
    assert sh(tmp_path, "kill -9 $$") == "[it ended with status 137]"
    assert "No such file" in run(tmp_path, "no-such-program") and "127" in run(tmp_path, "no-such-program")
    assert "Permission denied" in run(tmp_path, "/etc/passwd")


@pytest.mark.parametrize(
    "argument",
    ["; rm -rf .", "&& id", "| cat", "$(id)", "`id`", "> file", "< /etc/passwd", "*", "~", "$HOME", "\n id", "{a,b}"],
)
def test_what_a_shell_would_read_is_a_text_like_any_other(tmp_path, argument):
    assert run(tmp_path, "echo", argument) == f"{argument}".rstrip("\n")
    assert LIST_FILES.run({}, context(tmp_path)) == "(no files)"


def test_a_program_gets_nothing_of_our_environment_and_no_stdin(tmp_path, monkeypatch):
    monkeypatch.setenv("OFFGRID_API_KEY", "canary-key")
    monkeypatch.setenv("AWS_SECRET", "canary-aws")
    monkeypatch.setenv("LD_PRELOAD", "")
    names = {line.partition("=")[0] for line in run(tmp_path, "env").splitlines()}
    assert names == {"PATH", "HOME", "TMPDIR", "LANG", "TERM"}
    assert sh(tmp_path, "cat; echo $?") == "0"
    assert sh(tmp_path, "ls /proc/self/fd | wc -l") == "4"  # 0, 1, 2 and the listing's own
    assert "canary" not in sh(tmp_path, "cat /proc/$PPID/environ")


def test_modules_that_lie_in_the_workspace_are_not_the_wardens(tmp_path):
    here = context(tmp_path)
    for name in ("offgrid.py", "json.py", "os.py", "resource.py", "sitecustomize.py", "offgrid/__init__.py"):
        WRITE_FILE.run(
            {"path": name, "content": "open('/tmp/pwned-by-a-module', 'w')\nraise SystemExit('pwned')"}, here
        )
    assert run(tmp_path, "echo", "fine") == "fine"


def test_a_program_gains_no_privileges(tmp_path):
    status = sh(tmp_path, "cat /proc/self/status; ulimit -c; ulimit -n")
    assert "NoNewPrivs:\t1" in status and "CapEff:\t0000000000000000" in status
    uid = 65534 if os.geteuid() == 0 else os.getuid()
    assert f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}" in status and status.endswith("\n0\n256")


def test_a_program_reads_nothing_of_root_and_ends_nobody_elses_processes(tmp_path):
    (tmp_path / "secret").write_text("canary")
    (tmp_path / "secret").chmod(0o600)
    said = sh(tmp_path, f"cat /etc/shadow; touch /root/x /etc/x; kill -9 1; cat {tmp_path}/secret")
    assert said.count("denied") >= 3 and "root:" not in said
    if os.geteuid() == 0 or HAS_LANDLOCK:
        assert "canary" not in said


def test_behind_the_fence_there_is_the_system_and_the_workspace(tmp_path):
    """Where the kernel has no Landlock only the first half holds, and docs/agents.md says so."""
    (tmp_path / "secret").write_text("canary")
    (tmp_path / "secret").chmod(0o644)
    tmp_path.chmod(0o755)
    system = "set -e; ls /usr/bin >/dev/null; cat /etc/hostname >/dev/null; head -c 8 /dev/urandom >/dev/null"
    own = "mkdir -p d/e; echo x > d/e/f; mv d/e/f g; ln -s g h; mktemp >/dev/null; cat h"
    assert sh(tmp_path, f"{system}; {own}") == "x"
    if HAS_LANDLOCK:
        said = sh(tmp_path, f"cat {tmp_path}/secret; ls {REPO}; echo x > /tmp/x-{os.getpid()}; ls /; cat < h")
        assert said.count("denied") >= 4 and "canary" not in said and said.endswith("x")


def test_a_program_cannot_end_its_warden(tmp_path):
    said = sh(tmp_path, "kill -9 $PPID && echo killed; setsid sleep 987661 & sleep 0.1; echo alive")
    if HAS_LANDLOCK:
        assert "killed" not in said and said.endswith("alive")
    wait_until(lambda: left_of("987661") == [])


def test_limits_cannot_be_lifted(tmp_path):
    said = sh(tmp_path, "ulimit -n 100000; ulimit -v unlimited; ulimit -f unlimited; ulimit -u 100000; echo end")
    assert said.count("ulimit") >= 3 and said.endswith("end")


def test_a_program_that_sleeps_for_ever_is_ended(tmp_path):
    assert run(tmp_path, "sleep", "987651", tool_timeout_s=0.5) == "[it was ended after 0.5 s]"
    assert left_of("987651") == []


def test_a_program_that_computes_for_ever_is_ended(tmp_path):
    assert sh(tmp_path, "echo begun; while :; do :; done # 987652", tool_timeout_s=0.5).startswith(
        "begun\n[it was ended"
    )
    assert left_of("987652") == []


def test_a_program_that_ignores_every_signal_is_ended(tmp_path):
    script = "trap '' TERM INT HUP QUIT PIPE XCPU; while :; do sleep 987653; done"
    assert "was ended" in sh(tmp_path, script, tool_timeout_s=0.5)
    assert left_of("987653") == []


@pytest.mark.parametrize(
    "script",
    [
        "sleep 987654 & echo left",
        "(sleep 987654 &) ; echo left",
        "nohup sleep 987654 >/dev/null 2>&1 & echo left",
        "setsid sleep 987654 & echo left",
        "setsid sh -c 'setsid sleep 987654 & setsid sleep 987654 & exit' & sleep 0.2; echo left",
        "setsid nohup sh -c 'trap \"\" TERM HUP; sleep 987654; sleep 987654' </dev/null >/dev/null 2>&1 & echo left",
        "(while :; do sleep 987654 & sleep 0.01; done) & echo left",
    ],
)
def test_what_a_program_leaves_behind_ends_with_it_and_nobody_waits(tmp_path, script):
    assert sh(tmp_path, script) == "left"  # its pipe is held open for days, and it was not ended for the time
    assert left_of("987654") == []


def test_a_fork_bomb_meets_a_wall_and_is_ended(tmp_path):
    said = sh(tmp_path, "b() { b | b & }; b; sleep 1; echo 987655", tool_timeout_s=2.0)
    assert left_of("b() {") == []
    assert len(said) < 20_000


def test_a_bomb_of_processes_that_stay_is_ended(tmp_path):
    script = "while :; do setsid sleep 987656 & done"
    said = sh(tmp_path, script, tool_timeout_s=2.0)
    assert "ork" in said or "esource" in said or "was ended" in said  # "Cannot fork"
    assert left_of("987656") == []


def test_output_without_end_is_cut_and_ended(tmp_path):
    said = run(tmp_path, "cat", "/dev/zero")
    assert "[cut here: 8000 of" in said and said.endswith("[it wrote without end, and was ended]")
    assert "\0" not in said and len(said) < 10_000
    said = run(tmp_path, "yes", "987657")
    assert said.endswith("and was ended]") and left_of("987657") == []


def test_long_output_that_ends_is_cut_and_says_so(tmp_path):
    said = run(tmp_path, "seq", "100000")
    assert said.startswith("1\n2\n") and said.endswith("[cut here: 8000 of 588895 bytes]")


def test_memory_and_files_have_a_limit(tmp_path):
    assert "status 1]" in run(tmp_path, "dd", "if=/dev/zero", "of=/dev/null", "bs=2000000000", "count=1")
    assert "status 153" in run(tmp_path, "dd", "if=/dev/zero", "of=big", "bs=1000000", "count=50", max_bytes=2_000_000)
    assert (tmp_path / "workspaces/local/big").stat().st_size == 2_000_000


def test_many_files_are_too_much_as_well(tmp_path):
    script = "i=0; while :; do head -c 900000 /dev/zero > f$i; i=$((i+1)); sleep 0.05; done"
    assert sh(tmp_path, script, max_bytes=2_000_000).endswith(
        "[its files took more room than there is here, and it was ended]"
    )
    with pytest.raises(ToolError, match="does not fit"):
        WRITE_FILE.run({"path": "more", "content": "x"}, context(tmp_path, max_bytes=2_000_000))


def test_files_that_come_and_go_while_they_are_counted_are_no_trouble(tmp_path):
    once = "mkdir -p d/$i; echo x > d/$i/f; rm -r d/$i; i=$((i+1))"
    script = f"mkdir d; i=0; while [ $i -lt 400 ]; do {once}; done; echo end"
    assert sh(tmp_path, script, is_cancelled=lambda: context(tmp_path).workspaces.of("local").n_bytes > 10**6) == "end"


def test_a_program_that_nobody_wants_any_more_is_ended(tmp_path):
    begun = tmp_path / "workspaces" / "local" / "begun"
    said = sh(tmp_path, "touch begun; sleep 987658", is_cancelled=begun.exists)
    assert said == "[it was cancelled]" and left_of("987658") == []


def test_only_the_named_programs_may_be_started(tmp_path):
    only = {"shell_programs": ("echo", "ls")}
    assert run(tmp_path, "echo", "x", **only) == "x"
    for argv in (["sh", "-c", "id"], ["/bin/echo", "x"], ["./echo"], ["ECHO"], ["echo "], ["../echo"], ["env", "echo"]):
        with pytest.raises(ToolError, match="is not allowed here; there are echo, ls"):
            run(tmp_path, *argv, **only)


def test_arguments_that_no_program_can_be_given_are_refused(tmp_path):
    for argv in ([""], ["echo", "a\0b"], ["echo\0"], ["echo", "\ud800"]):
        with pytest.raises(ToolError, match="no program can be given"):
            run(tmp_path, *argv)
    with pytest.raises(ToolError, match="Nothing can be started"):
        run(tmp_path, "echo", *["x" * 100_000] * 30)


def test_a_link_to_another_place_made_by_a_program_is_not_followed_by_the_tools(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a").write_text("canary")
    sh(tmp_path, f"ln -s {tmp_path}/outside out; ln -s /etc/passwd passwd; mkfifo pipe")
    for path in ("out/a", "passwd", "pipe"):
        with pytest.raises(ToolError):
            READ_FILE.run({"path": path}, context(tmp_path))


def test_the_end_of_the_router_is_the_end_of_the_program(tmp_path):
    code = (
        "import sys; sys.path[:0] = sys.argv[2:]; from pathlib import Path; from tool_bench import context;"
        "from offgrid.agents.tools.shell import SHELL;"
        "argv = ['sh', '-c', 'setsid sleep 987659 & touch begun; sleep 987659'];"
        "SHELL.run({'argv': argv}, context(Path(sys.argv[1])))"
    )
    router = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(REPO), str(REPO / "tests")])
    try:
        wait_until((tmp_path / "workspaces" / "local" / "begun").exists)
        assert len(left_of("sleep 987659")) >= 2
    finally:
        router.send_signal(signal.SIGKILL)
        router.wait()
    wait_until(lambda: left_of("987659") == [])


def test_a_warden_that_is_gone_leaves_no_waiting_router(tmp_path, monkeypatch):
    """Where a program can end its warden, which it cannot under root: the run ends all the same."""
    monkeypatch.setattr(confined, "END_S", 0.5)
    limits = Limits(wall_s=0.5, file_bytes=1000)

    def kill_the_warden():
        (warden,) = (p for p in Path("/proc").glob("[0-9]*") if _is_warden(p))
        os.kill(int(warden.name), signal.SIGSTOP)
        return "stopped"

    outcome = run_confined(["sleep", "987660"], tmp_path, limits, 100, kill_the_warden)
    assert outcome.ended_by == "stopped"
    wait_until(lambda: left_of("987660") == [])


def _is_warden(place: Path) -> bool:
    try:
        return b"_confine" in (place / "cmdline").read_bytes() and b"987660" in (place / "cmdline").read_bytes()
    except OSError:
        return False


def test_threads_and_descriptors_are_given_back(tmp_path):
    run(tmp_path, "true")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        run(tmp_path, "true")
    assert len(os.listdir("/proc/self/fd")) == before
