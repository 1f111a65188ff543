#!/bin/sh
# Makes .venv hold the packages of one requirements file: scripts/setup.sh requirements.txt
#
# Quick when there is nothing to do. A stamp in .venv, written last, says for which requirements the environment is
# complete; without a matching one the packages are installed, and an environment that does not work is made anew.
# PYTHON names the interpreter to begin with (default python3).
set -eu
cd "$(dirname "$0")/.."

requirements=$1
python=${PYTHON:-python3}
venv_python=.venv/bin/python
stamp=.venv/$requirements.stamp

fail() {
    echo "$1" >&2
    exit 1
}

# requirements-dev.txt includes requirements.txt, so every stamp covers all of them.
fingerprint() {
    cat requirements*.txt | cksum
}

compiler_flags() {
    grep -v '^#' scripts/compiler_flags.txt
}

# Looks for the two large packages without loading them: this runs at every `make run`.
packages_work() {
    "$venv_python" -c '
import importlib.util, sys
import bcrypt, yaml
sys.exit(not all(map(importlib.util.find_spec, ("llama_cpp", "numpy"))))
' 2>/dev/null
}

is_complete() {
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(fingerprint)" ] && packages_work
}

check_python() {
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        fail "OffGrid needs Python 3.11 or newer, and '$python' is not: sudo apt install python3 (or name another one: make PYTHON=python3.12 …)."
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
        fail "Python's venv module is missing: sudo apt install python3-venv"
}

check_compiler() {
    c=${CC:-cc} cxx=${CXX:-c++}  # may be several words: "ccache gcc"
    command -v "${c%% *}" >/dev/null && command -v "${cxx%% *}" >/dev/null ||
        fail "A C and C++ compiler is needed to build llama.cpp: sudo apt install build-essential"
}

# About 1.5 GiB of free memory a compiler: more of them at once end in swapping or the out-of-memory killer.
build_jobs() {
    n_cpus=$(getconf _NPROCESSORS_ONLN)
    n_fit=$(awk '/^MemAvailable:/ { print int($2 / (1.5 * 1024 * 1024)) }' /proc/meminfo 2>/dev/null || true)
    n_jobs=${n_fit:-1}
    [ "$n_jobs" -le "$n_cpus" ] || n_jobs=$n_cpus
    [ "$n_jobs" -ge 1 ] || n_jobs=1
    echo "$n_jobs"
}

# A python in .venv is not enough: without pyvenv.cfg it is the system's own, and pip would install there.
is_environment() {
    "$venv_python" -c 'import sys, pip; sys.exit(sys.prefix == sys.base_prefix)' 2>/dev/null
}

make_environment() {
    if ! is_environment; then
        echo "Making the Python environment .venv."
        rm -rf .venv
        "$python" -m venv .venv
    fi
}

install_packages() {
    if ! "$venv_python" -c 'import llama_cpp' 2>/dev/null; then
        check_compiler
        CMAKE_BUILD_PARALLEL_LEVEL=${CMAKE_BUILD_PARALLEL_LEVEL:-$(build_jobs)}
        CFLAGS="${CFLAGS:-} $(compiler_flags)" CXXFLAGS="${CXXFLAGS:-} $(compiler_flags)"
        export CMAKE_BUILD_PARALLEL_LEVEL CFLAGS CXXFLAGS
        echo "Installing; llama.cpp is built once, with $CMAKE_BUILD_PARALLEL_LEVEL parallel jobs:" \
            "about 6 minutes on a laptop, 20 to 40 on a Raspberry Pi."
    fi
    make_environment
    rm -f "$stamp"
    "$venv_python" -m pip install --require-virtualenv --disable-pip-version-check --no-input -r "$requirements" ||
        fail "pip could not install $requirements (its reason stands above). Run make again to go on where it stopped."
}

if is_complete; then exit 0; fi
check_python
install_packages
if ! packages_work || ! "$venv_python" -c 'import llama_cpp'; then
    echo "The environment is damaged; making it anew."
    rm -rf .venv
    install_packages
    packages_work || fail "The packages in .venv do not work even in a new environment."
fi
fingerprint >"$stamp"
