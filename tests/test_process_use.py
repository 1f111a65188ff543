"""What processes take of the machine, from a /proc made by hand and from the real one."""

import os

import pytest

from offgrid.procs import usage
from offgrid.procs.machine import PAGE_BYTES
from offgrid.procs.usage import TICK_S, Usage, process_use


class Proc:
    """A /proc with two processes: ours and a child with a name that could confuse a reader."""

    def __init__(self, folder, child: int):
        self.folder, self.child = folder, child
        self.machine(user=100, idle=900)
        self.process(os.getpid(), "offgrid", 10)
        self.process(child, "a) S 1 2 (b", 5)

    def machine(self, *, user: int, idle: int, iowait: int = 0) -> None:
        text = f"cpu  {user} 0 0 {idle} {iowait} 0 0 0 7 0\ncpu0 1 1 1 1\nbtime 1000\n"
        (self.folder / "stat").write_text(text)

    def process(self, pid: int, name: str, ticks: int, reaped: int = 0) -> None:
        folder = self.folder / str(pid)
        (folder / "fd").mkdir(parents=True, exist_ok=True)
        (folder / "fd" / "0").touch()
        numbers = ["S", *["0"] * 10, ticks, 1, reaped, 0, "20", "0", "3", "0", 200, 4096_000, 77, *["0"] * 28]
        (folder / "stat").write_text(f"{pid} ({name}) {' '.join(map(str, numbers))}\n")
        (folder / "statm").write_text("1000 77 30 1 0 500 0\n")
        (folder / "smaps_rollup").write_text("1-2 ---p 00000000 00:00 0 [rollup]\nRss: 308 kB\nPss:  99 kB\n")


@pytest.fixture
def proc(tmp_path) -> Proc:
    return Proc(tmp_path, child=os.getpid() + 1)


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(usage.time, "monotonic", lambda: now[0])
    return now


def test_a_process_is_read_whatever_its_name(proc):
    use = process_use(proc.child, proc.folder)
    assert use.cpu_s == 6 * TICK_S
    assert use.n_threads == 3
    assert use.started_at == 1000 + 200 * TICK_S
    assert (use.resident_bytes, use.private_bytes) == (77 * PAGE_BYTES, 47 * PAGE_BYTES)
    assert (use.virtual_bytes, use.data_bytes) == (4096_000, 500 * PAGE_BYTES)
    assert (use.proportional_bytes, use.n_fds) == (99 * 1024, 1)


def test_what_the_system_does_not_tell_is_none(proc):
    (proc.folder / str(proc.child) / "smaps_rollup").unlink()
    assert process_use(proc.child, proc.folder).proportional_bytes is None
    assert process_use(2**22, proc.folder) is None
    nothing = Usage(lambda: {"gone": 2**22}, proc.folder / "nowhere")
    assert nothing.own() is nothing.cpu_seconds() is nothing.cpu_shares() is None
    assert nothing.children() == {}


def test_shares_are_of_the_time_since_the_last_look(proc, clock):
    meter = Usage(lambda: {"child": proc.child}, proc.folder)
    proc.machine(user=150, idle=1000, iowait=50)  # 50 of 200 ticks
    proc.process(os.getpid(), "offgrid", 30)
    assert meter.cpu_shares() == usage.CpuShares(25.0, 10.0)

    proc.machine(user=250, idle=1000, iowait=50)
    assert meter.cpu_shares() == usage.CpuShares(25.0, 10.0)  # too soon after: as it was
    clock[0] += 2
    assert meter.cpu_shares() == usage.CpuShares(100.0, 0.0)


def test_the_time_of_a_child_that_ends_is_not_counted_twice(proc, clock):
    children = {"child": proc.child}
    meter = Usage(lambda: children, proc.folder)
    meter.cpu_shares()
    clock[0] += 2
    proc.machine(user=200, idle=1000)
    children.clear()
    proc.process(os.getpid(), "offgrid", 10, reaped=6)  # the kernel moves its time to us
    assert meter.cpu_shares().ours == 0.0


def test_without_a_tick_between_two_looks_nothing_is_made_up(proc, clock):
    meter = Usage(dict, proc.folder)
    assert meter.cpu_shares() is None


def test_our_own_process_is_known_to_the_real_proc():
    use = process_use(os.getpid())
    assert use.private_bytes <= use.resident_bytes < use.virtual_bytes
    assert use.n_threads >= 1 and use.n_fds >= 3 and use.cpu_s > 0
    total, available = Usage(dict).memory()
    assert 0 < available <= total
