"""How much a document may be, and what reading it may cost."""

from dataclasses import dataclass

MAX_TEXT_CHARS = 20_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    max_file_bytes: int = 100_000_000
    max_text_chars: int = MAX_TEXT_CHARS  # of what is read out of the file
    max_blocks: int = 200_000  # beyond it small neighbours become one; the router holds each as an object
    max_memory_bytes: int = 1_000_000_000  # address space of the child, over what it has at its start
    timeout_s: float = 120.0  # for one file, by the clock
    max_cpu_s: int = 90  # for one file, of computing

    @classmethod
    def from_dict(cls, values: dict) -> "Limits":
        return cls(**values)
