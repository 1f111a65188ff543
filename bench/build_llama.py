"""Build llama-server and llama-batched-bench once, from the very llama.cpp that the installed llama-cpp-python carries.

    python bench/build_llama.py

Same source, compiler and options as OffGrid's engine (release, shared libraries, this machine's instructions, OpenMP,
scripts/compiler_flags.txt; CMAKE_ARGS and CFLAGS count here as they did there), so that a comparison compares programs
and not builds. What is left out (web
page, https, downloads) does not run in a benchmark. Everything lies in bench/build, which git ignores.
"""

import importlib.metadata
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

BUILD = Path(__file__).resolve().parent / "build"
PROGRAMS = BUILD / "cmake" / "bin"
TARGETS = ("llama-server", "llama-batched-bench")
PACKAGE = "llama-cpp-python"
FLAGS_FILE = Path(__file__).resolve().parent.parent / "scripts" / "compiler_flags.txt"
CMAKE_FLAGS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=ON",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_CURL=OFF",
)


class BuildFailed(Exception):
    """One sentence for the person who ran it."""


def build() -> None:
    """Make both programs unless those of the installed version are there. Raises BuildFailed."""
    version = importlib.metadata.version(PACKAGE)
    flags = " ".join(line for line in FLAGS_FILE.read_text().splitlines() if not line.startswith("#"))
    wanted = f"{version} {flags}"
    stamp = BUILD / "built"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    for tool, package in (("cmake", "cmake"), ("make", "build-essential"), ("c++", "build-essential")):
        if shutil.which(tool) is None:
            raise BuildFailed(f"{tool} is needed to build llama-server: sudo apt install {package}")
    print(f"Building llama-server and llama-batched-bench of {PACKAGE} {version}: once, some ten minutes.", flush=True)
    source = _fetch_source(version)
    tree = PROGRAMS.parent
    if stamp.exists():  # another version's, or of other flags: its tree remembers both
        shutil.rmtree(tree, ignore_errors=True)
    _run("cmake", "-S", source, "-B", tree, *shlex.split(os.environ.get("CMAKE_ARGS", "")), *CMAKE_FLAGS, flags=flags)
    # Two compilers at once need some 3 GB; a small machine may ask for fewer.
    n_jobs = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", "2")
    _run("cmake", "--build", tree, "--parallel", n_jobs, "--target", *TARGETS)
    stamp.write_text(wanted)


def _fetch_source(version: str) -> Path:
    """The folder of llama.cpp's source, through the user's own pip configuration."""
    name = f"{PACKAGE.replace('-', '_')}-{version}"
    archive = BUILD / "sdist" / f"{name}.tar.gz"
    if not archive.exists():
        # Only this package as source: pip asks its build system for metadata, whose packages may come ready-made.
        pip = (sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", PACKAGE, "--dest", archive.parent)
        _run(*pip, f"{PACKAGE}=={version}")
    if not (BUILD / name).exists():
        unpacked = BUILD / "unpacking"
        shutil.rmtree(unpacked, ignore_errors=True)
        with tarfile.open(archive) as tar:
            tar.extractall(unpacked, filter="data")
        (unpacked / name).rename(BUILD / name)
        unpacked.rmdir()
    return BUILD / name / "vendor" / "llama.cpp"


def _run(*command: object, flags: str = "") -> None:
    """Run a command; `flags` are for the compilers that it finds. Raises BuildFailed."""
    env = os.environ | {name: f"{os.environ.get(name, '')} {flags}" for name in ("CFLAGS", "CXXFLAGS")}
    words = [str(word) for word in command]
    BUILD.mkdir(exist_ok=True)
    log = BUILD / "build.log"
    with log.open("ab") as out:
        out.write(f"$ {shlex.join(words)}\n".encode())
        out.flush()
        if subprocess.run(words, env=env, stdout=out, stderr=subprocess.STDOUT).returncode:
            raise BuildFailed(f"`{shlex.join(words)}` failed; its output is at the end of {log}.")


def main() -> int:
    try:
        build()
    except BuildFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
