"""A child process for test_prefix_files.py: saves one prefix after the other until it is killed."""

import itertools
import sys
from pathlib import Path

from offgrid.worker.prefix_files import PrefixFiles

FINGERPRINT = b"f" * 32
N_STATE_BYTES = 1_500_000


def tokens_of(number: int) -> list[int]:
    return [number, *range(300)]


def state_of(tokens: list[int]) -> bytes:
    """A state that only these tokens have."""
    return (bytes([tokens[0] % 251, tokens[-1] % 251]) * N_STATE_BYTES)[:N_STATE_BYTES]


def open_files(folder: Path, *, max_bytes: int = 12_000_000) -> PrefixFiles:
    return PrefixFiles(
        folder,
        FINGERPRINT,
        max_bytes=max_bytes,
        max_state_bytes=10_000_000,
        max_tokens=4096,
        shortest_cut=lambda n: 0,
    )


if __name__ == "__main__":
    files = open_files(Path(sys.argv[1]))
    for number in itertools.count(int(sys.argv[2])):
        tokens = tokens_of(number)
        while (stored := files.save(tokens, state_of(tokens))) is None:
            pass  # until an earlier one is written
