"""How much a document may be, and what reading it may cost."""

from dataclasses import dataclass

MAX_TEXT_CHARS = 20_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    max_file_bytes: int = 100 * 1024 * 1024
    max_text_chars: int = MAX_TEXT_CHARS  # of what is read out of the file
    max_blocks: int = 200_000  # beyond it small neighbours become one; the router holds each as an object
    max_memory_bytes: int = 1_000_000_000  # address space of the child, over what it has at its start
    max_idle_bytes: int = 128_000_000  # resident, after a file: a larger child ends, and the next file starts another
    # Of computing, for one file. A PDF of 1 MB may be a book of 400 pages, which takes a small board a minute.
    min_cpu_s: int = 60
    cpu_s_per_mb: int = 60
    max_cpu_s: int = 900
    patience: float = 4.0  # by the clock, times the computing: the machine may be busy with answers, which come first

    def cpu_s(self, n_bytes: int) -> int:
        """Of computing that a file of this size may take."""
        return min(self.min_cpu_s + n_bytes // 1_000_000 * self.cpu_s_per_mb, self.max_cpu_s)

    def timeout_s(self, n_bytes: int) -> float:
        return self.patience * self.cpu_s(n_bytes)
