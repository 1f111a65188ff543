"""Reading a model's file ahead: the system keeps it in the memory that is free, so that loading it takes no disk."""

import os

from offgrid.engine.catalog import ModelFile
from offgrid.errors import NotSupported


def read_ahead(model: ModelFile) -> None:
    """Ask the system to read all files of a model in the background; returns at once. Raises NotSupported."""
    if not hasattr(os, "posix_fadvise"):
        raise NotSupported("Reading ahead is not possible on this system; POST /v1/models/load loads the model.")
    for path in model.paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(descriptor)
