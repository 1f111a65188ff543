"""The house keeps its order: imports point down, third-party packages stay in their rooms, modules stay small.

Tests and benchmarks are held to the length of modules only.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "offgrid"
MODULES = sorted(PACKAGE.rglob("*.py"))
OUTSIDE = sorted(path for folder in ("tests", "bench") for path in (PACKAGE.parent / folder).glob("*.py"))

# room → the rooms it may import from; everybody may use the lowest ones
LOWEST = {"config", "kinds", "metrics", "sections", "settings", "types", "errors", "offgrid"}
BELOW = {
    "client": set(),
    "web": set(),
    "store": set(),
    "procs": set(),
    "net": set(),
    "grammar": set(),
    "dialects": {"grammar"},
    "engine": {"procs", "net"},
    "images": {"procs"},
    "worker": {"procs", "grammar", "dialects"},
    "carry": {"procs", "net"},
    "rag": {"engine", "procs", "store", "net"},
    "agents": {"engine", "rag", "store", "procs", "net", "grammar"},
    "api": {"web", "net", "grammar", "dialects", "engine", "images", "rag", "agents", "store"},
}
TOP = {
    "app",
    "cli",
    "cli_audit",
    "cli_mcp",
    "cli_users",
    "logs",
    "banner",
    "__main__",
    "__init__",
}  # these may import anything
HOMES = {
    "llama_cpp": {"worker"},
    "jinja2": {"worker"},
    "numpy": {"rag", "worker", "carry"},
    "bcrypt": {"store"},
    "pypdf": {"rag"},
    "yaml": {"config"},
    "stable_diffusion_cpp": {"images"},
    "PIL": {"images"},
}
MOST_LINES, MOST_FUNCTION_LINES = 400, 50


def room_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else path.stem


def imported(path: Path) -> set[str]:
    """Dotted names of all modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            room = f"offgrid.{room_of(path)}." if node.level else ""  # client/ alone imports so: a copy of it must work
            assert node.level == 0 or (node.level == 1 and room_of(path) == "client"), f"{path}: relative import"
            names |= {f"{room}{node.module or ''}.{alias.name}" for alias in node.names}
    return names


def test_every_room_is_known():
    assert {room_of(path) for path in MODULES} - set(BELOW) - LOWEST - TOP - {"ui"} == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    room = room_of(path)
    if room in TOP:
        return
    rooms = {name.split(".")[1] for name in imported(path) if name.startswith("offgrid.")}
    allowed = {room, *LOWEST, *BELOW.get(room, set())}
    if room == "client":
        allowed = {"client", "offgrid"}  # a copy of this folder alone must work
    assert {r for r in rooms if (PACKAGE / r).exists() or (PACKAGE / f"{r}.py").exists()} <= allowed


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_third_party_packages_stay_in_their_rooms(path):
    for name in imported(path):
        root = name.partition(".")[0]
        if root not in sys.stdlib_module_names and root != "offgrid":
            assert room_of(path) in HOMES[root], f"{root} is not for {path.name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_and_functions_are_small(path):
    text = path.read_text()
    assert len(text.splitlines()) <= MOST_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < MOST_FUNCTION_LINES, node.name


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda p: str(p.relative_to(PACKAGE.parent)))
def test_modules_of_tests_and_benchmarks_are_short(path):
    assert len(path.read_text().splitlines()) <= MOST_LINES


def test_importing_the_package_loads_neither_numpy_nor_the_server():
    code = (
        "import sys, offgrid; offgrid.Client; print([m for m in sys.modules if m in ('numpy', 'yaml', 'offgrid.app')])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_router_never_loads_the_library_of_the_models():
    code = "import sys, offgrid.app; print([m for m in sys.modules if m in ('numpy', 'llama_cpp', 'jinja2')])"
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
