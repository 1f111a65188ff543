"""The command that starts another process of this same program, from a checkout, an installed package or the zipapp."""

import os
import sys
from pathlib import Path

import offgrid


def self_command(*words: str) -> list[str]:
    """The argv that runs `offgrid WORDS…` with this interpreter and this very copy of the code."""
    archive = getattr(offgrid.__spec__.loader, "archive", None)  # only a zipimporter has one
    program = [os.path.abspath(archive)] if archive else ["-m", "offgrid"]
    return [sys.executable, *program, *words]


def self_environment() -> dict[str, str]:
    """What `self_command` needs in its environment: this copy of the package first on the path."""
    package_parent = str(Path(offgrid.__file__).resolve().parent.parent)
    path = [package_parent, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(path)}
