"""Reading a model's file ahead: the system keeps it in the memory that is free, so that loading it takes no disk."""

import os

from offgrid.engine.catalog import PART, SUFFIX, ModelFile
from offgrid.errors import NotSupported


def read_ahead(model: ModelFile) -> None:
    """Ask the system to read all files of a model in the background; returns at once. Raises NotSupported."""
    if not hasattr(os, "posix_fadvise"):
        raise NotSupported("Reading ahead is not possible on this system; POST /v1/models/load loads the model.")
    for path in _files(model):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(descriptor)


def _files(model: ModelFile) -> list:
    """The file, or all parts of a split one."""
    part = PART.fullmatch(model.path.name.removesuffix(SUFFIX))
    if part is None:
        return [model.path]
    count = part["count"]
    return [
        model.path.with_name(f"{part['stem']}-{number:05}-of-{count}{SUFFIX}") for number in range(1, int(count) + 1)
    ]
