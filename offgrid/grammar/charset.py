"""Sets of characters as ranges of code points: join, take away, turn round. Surrogates are no characters."""

from offgrid.grammar.syntax import Ranges

EVERY: Ranges = ((1, 0xD7FF), (0xE000, 0x10FFFF))  # not 0: it ends llama.cpp's texts
ASCII: Ranges = ((1, 127),)


def join(*sets: Ranges) -> Ranges:
    joined: list[tuple[int, int]] = []
    for low, high in sorted(r for ranges in sets for r in ranges):
        if joined and low <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    return tuple(joined)


def common(a: Ranges, b: Ranges) -> Ranges:
    return join(tuple((max(x[0], y[0]), min(x[1], y[1])) for x in a for y in b if x[0] <= y[1] and y[0] <= x[1]))


def others(ranges: Ranges) -> Ranges:
    """Every character that is not in `ranges`."""
    gaps, start = [], 1
    for low, high in join(ranges):
        if start < low:
            gaps.append((start, low - 1))
        start = high + 1
    if start <= 0x10FFFF:
        gaps.append((start, 0x10FFFF))
    return common(tuple(gaps), EVERY)


def without(a: Ranges, b: Ranges) -> Ranges:
    return common(a, others(b))


def holds(ranges: Ranges, point: int) -> bool:
    return any(low <= point <= high for low, high in ranges)
