"""What the machine can give, read from files as the kernel writes them."""

from pathlib import Path

from offgrid.procs import machine as procs_machine

MB = 1 << 20


def machine(folder: Path, files: dict[str, str]) -> int:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return procs_machine.available_bytes(folder / "proc", folder / "cgroup")


MEMINFO = {"proc/meminfo": "MemTotal:  16000000 kB\nMemFree:  1000 kB\nMemAvailable:  8000 kB\n"}


def test_without_limits_it_is_what_the_kernel_calls_available(tmp_path):
    assert machine(tmp_path, MEMINFO) == 8_192_000


def test_a_container_limit_counts_without_the_file_cache(tmp_path):
    cgroup = {"cgroup/memory.max": "5000000", "cgroup/memory.current": "4000000"}
    stat = {"cgroup/memory.stat": "anon 1000000\ninactive_file 3000000\n"}
    assert machine(tmp_path, MEMINFO | {"proc/self/cgroup": "0::/\n"} | cgroup | stat) == 4_000_000


def test_the_tightest_limit_of_all_groups_above_counts(tmp_path):
    files = {
        "proc/self/cgroup": "0::/system.slice/offgrid.service\n",
        "cgroup/system.slice/memory.max": "3000000",
        "cgroup/system.slice/memory.current": "1000000",
        "cgroup/system.slice/offgrid.service/memory.max": "max",
        "cgroup/system.slice/offgrid.service/memory.current": "500000",
    }
    assert machine(tmp_path, MEMINFO | files) == 2_000_000


def test_the_most_there_could_be_is_the_tightest_limit_or_the_whole_machine(tmp_path):
    machine(tmp_path, MEMINFO | {"proc/self/cgroup": "0::/\n", "cgroup/memory.current": "1000000"})
    folders = tmp_path / "proc", tmp_path / "cgroup"
    assert procs_machine.limit_bytes(*folders) == 16_384_000_000
    (tmp_path / "cgroup/memory.max").write_text("3000000")
    assert procs_machine.limit_bytes(*folders) == 3_000_000


def test_the_older_control_groups_are_understood(tmp_path):
    files = {
        "proc/self/cgroup": "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n",
        "cgroup/memory/memory.limit_in_bytes": "2000000",
        "cgroup/memory/memory.usage_in_bytes": "1500000",
        "cgroup/memory/memory.stat": "total_inactive_file 200000\n",
    }
    assert machine(tmp_path, MEMINFO | files) == 700_000


def test_a_group_over_its_limit_has_nothing_left(tmp_path):
    files = {"proc/self/cgroup": "0::/\n", "cgroup/memory.max": "10", "cgroup/memory.current": "99"}
    assert machine(tmp_path, MEMINFO | files) == 0


def test_elsewhere_the_system_is_asked(tmp_path):
    assert procs_machine.available_bytes(tmp_path, tmp_path) > 1 * MB
    assert procs_machine.available_bytes() > 1 * MB


def test_what_a_process_holds_is_told_with_and_without_its_files(tmp_path):
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "statm").write_text("1000 300 120 5 0 90 0\n")
    page = procs_machine.PAGE_BYTES
    assert procs_machine.resident_bytes(7, tmp_path) == 300 * page
    assert procs_machine.private_bytes(7, tmp_path) == 180 * page
    assert procs_machine.private_bytes(8, tmp_path) == 0


def test_the_whole_machine_is_told(tmp_path):
    machine(tmp_path, MEMINFO)
    assert procs_machine.total_bytes(tmp_path / "proc") == 16_384_000_000
    assert procs_machine.total_bytes(tmp_path / "nothing") > 1 * MB
