"""JSON numbers: free ones, whole ones, and those between two bounds, written digit by digit.

Free numbers have at most 15 digits before the point, 15 behind it and 2 in the exponent: no model writes zeros for
ever, and every value is a finite float. Numbers with a bound have no exponent.
"""

from decimal import Decimal
from math import ceil, floor

from offgrid.grammar.syntax import NEVER, Chars, Expr, Text, alt, chars, optional, seq, times

MOST_DIGITS = 15  # so many decimal digits are told apart by a float
MOST_VALUES = 1000  # multiples that are listed one by one
BEYOND = 10**MOST_DIGITS  # no number without exponent that is written here reaches it
DIGIT = chars("09")
MINUS = Text("-")
_WHOLE = alt(Text("0"), seq(chars("19"), times(DIGIT, 0, MOST_DIGITS - 1)))
INTEGER = seq(optional(MINUS), _WHOLE)
NUMBER = seq(
    INTEGER,
    optional(seq(Text("."), times(DIGIT, 1, MOST_DIGITS))),
    optional(seq(chars("e", "E"), optional(chars("+", "-")), times(DIGIT, 1, 2))),
)


def integers(low: int | None, high: int | None) -> Expr:
    """All whole numbers from `low` to `high`, both included; None: without that bound."""
    if low is None and high is None:
        return INTEGER
    low = -_far(high) if low is None else low
    high = _far(low) if high is None else high
    options = []
    if low < 0:
        options.append(seq(MINUS, _upwards(max(1, -high), -low)))
    if high >= 0:
        options.append(_upwards(max(0, low), high))
    return alt(*options) if low <= high else NEVER


def multiples(step: int, low: int | None, high: int | None) -> Expr | None:
    """Whole multiples of `step` from `low` to `high`; None where they cannot be written."""
    if step == 1:
        return integers(low, high)
    if low is not None and high is not None and (high // step) - -(-low // step) < MOST_VALUES:
        return alt(*(Text(str(n * step)) for n in range(-(-low // step), high // step + 1)))
    n_zeros = len(str(step)) - 1
    if step == 10**n_zeros:  # any multiplier but 0, then zeros
        first = None if low is None else -(-low // step)
        last = None if high is None else high // step
        negative = integers(first, -1 if last is None else min(last, -1))
        positive = integers(1 if first is None else max(first, 1), last)
        tens = [seq(part, Text("0" * n_zeros)) for part in (negative, positive) if part != NEVER]
        return alt(*tens, *_zero(low, high))
    n_last = next((n for n in range(1, 5) if 10**n % step == 0), None)
    if n_last is None or low is not None or high is not None or 10**n_last // step > MOST_VALUES:
        return None
    ends = alt(*(Text(f"{n:0{n_last}d}") for n in range(0, 10**n_last, step)))
    few = alt(*(Text(str(n)) for n in range(0, 10**n_last, step)))
    many = seq(chars("19"), times(DIGIT, 0, MOST_DIGITS - n_last - 1), ends)
    return seq(optional(MINUS), alt(few, many))


def fractions_of(step: float, low: Decimal | None, high: Decimal | None) -> Expr | None:
    """Multiples of a step such as 0.5 or 0.125, which floats hold exactly; None where they cannot be written."""
    exact = Decimal(step)
    if low is not None and high is not None:
        first, last = ceil(low / exact), floor(high / exact)
        if last - first < MOST_VALUES:
            return alt(*(Text(_plain(n * exact)) for n in range(first, last + 1)))
    if low is not None or high is not None or 1 % exact:
        return None
    ends = [_plain(n * exact)[1:] for n in range(1, int(1 / exact))]
    return seq(INTEGER, optional(alt(Text(".0"), *map(Text, ends))))


def between(low: Decimal | None, low_open: bool, high: Decimal | None, high_open: bool) -> Expr | None:
    """Numbers between the bounds; `…_open`: the bound itself is not one. None where it cannot be written.

    A bound beyond what is written here needs no writing.
    """
    low = None if low is not None and low <= -BEYOND else low
    high = None if high is not None and high >= BEYOND else high
    if low is None and high is None:
        return NUMBER
    if (low is not None and low >= BEYOND) or (high is not None and high <= -BEYOND):
        return None
    bounds = [b for b in (low, high) if b is not None]
    n_digits = MOST_DIGITS - max(len(str(abs(int(b)))) for b in bounds)
    if any(len(_fraction(b)) >= n_digits and _fraction(b) for b in bounds):
        return None
    options = []
    if low is None or low < 0:
        end = None if low is None else -low
        start, start_open = (-high, high_open) if high is not None and high < 0 else (Decimal(0), True)
        options.append(_prefixed(_positive(start, start_open, end, low_open, n_digits)))
    if high is None or high >= 0:
        start, start_open = (low, low_open) if low is not None and low >= 0 else (Decimal(0), False)
        options.append(_positive(start, start_open, high, high_open, n_digits))
    return alt(*options)


def _prefixed(expr: Expr) -> Expr:
    return NEVER if expr == NEVER else seq(MINUS, expr)


def _far(bound: int) -> int:
    """A number that is far beyond `bound`: what an open end means here."""
    return 10 ** max(MOST_DIGITS, len(str(abs(bound))) + 1) - 1


def _zero(low: int | None, high: int | None) -> list[Expr]:
    return [Text("0")] if (low is None or low <= 0) and (high is None or high >= 0) else []


def _upwards(low: int, high: int) -> Expr:
    """0 <= low <= high, without leading zeros."""
    options: list[Expr] = []
    if low == 0:
        options.append(Text("0"))
        low = 1
    full: list[int] = []  # lengths of which every number fits
    for n in range(len(str(low)), len(str(high)) + 1):
        first, last = max(low, 10 ** (n - 1)), min(high, 10**n - 1)
        if first > last:
            continue
        if (first, last) == (10 ** (n - 1), 10**n - 1):
            full.append(n)
        else:
            options.append(_same_length(str(first), str(last)))
    if full:
        options.append(seq(chars("19"), times(DIGIT, full[0] - 1, full[-1] - 1)))
    return alt(*options)


def _same_length(low: str, high: str) -> Expr:
    """Digit strings from `low` to `high`, which have one length."""
    n = len(low)
    if set(low) <= {"0"} and set(high) <= {"9"}:
        return times(DIGIT, n, n)
    if low[0] == high[0]:
        return seq(Text(low[0]), _same_length(low[1:], high[1:]))
    options: list[Expr] = []
    first, last = int(low[0]), int(high[0])
    if n > 1 and set(low[1:]) != {"0"}:
        options.append(seq(Text(low[0]), _same_length(low[1:], "9" * (n - 1))))
        first += 1
    if n > 1 and set(high[1:]) != {"9"}:
        options.append(seq(Text(high[0]), _same_length("0" * (n - 1), high[1:])))
        last -= 1
    if first <= last:
        options.append(seq(_digits(first, last), times(DIGIT, n - 1, n - 1)))
    return alt(*options)


def _digits(first: int, last: int) -> Expr:
    return Text(str(first)) if first == last else Chars(((48 + first, 48 + last),))


def _positive(low: Decimal, low_open: bool, high: Decimal | None, high_open: bool, n: int) -> Expr:
    """Decimals from `low` >= 0 to `high`, with up to `n` digits behind the point."""
    if high is not None and (low > high or (low == high and (low_open or high_open))):
        return NEVER
    first, last = int(low), None if high is None else int(high)
    below = (_fraction(low), low_open)
    above = None if high is None else (_fraction(high), high_open)
    if first == last:
        return _with_fraction(Text(str(first)), below, above, n)
    options = [_with_fraction(Text(str(first)), below, None, n)]
    if last is None or last - first > 1:
        options.append(_with_fraction(integers(first + 1, None if last is None else last - 1), ("", False), None, n))
    if last is not None:
        options.append(_with_fraction(Text(str(last)), ("", False), above, n))
    return alt(*options)


def _with_fraction(whole: Expr, below: tuple[str, bool], above: tuple[str, bool] | None, n: int) -> Expr:
    behind = _behind_point(below, above, n)
    options = [whole] if _may_end(below, above) else []
    if behind != NEVER:
        options.append(seq(whole, Text("."), behind))
    if len(options) == 2:
        return seq(whole, optional(seq(Text("."), behind)))
    return alt(*options)


def _may_end(below: tuple[str, bool] | None, above: tuple[str, bool] | None) -> bool:
    """Whether no more digits, that is zero from here on, lies within."""
    return (below is None or below == ("", False)) and (above is None or above != ("", True))


def _behind_point(below: tuple[str, bool] | None, above: tuple[str, bool] | None, n: int) -> Expr:
    """1 to `n` digits within the bounds: (the digits of a bound that are left, whether it is open), None: no bound."""
    if below == ("", False):
        below = None
    if above == ("", False):
        return Text("0") if below is None else NEVER  # only zeros are left, and one says it
    if n == 0 or above == ("", True):
        return NEVER
    if below is None and above is None:
        return times(DIGIT, 1, n)
    options: list[Expr] = []
    free: list[int] = []
    low = -1 if below is None else int(below[0][:1] or "0")
    high = 10 if above is None else int(above[0][:1])
    for digit in range(max(low, 0), min(high, 9) + 1):
        next_below = (below[0][1:], below[1]) if below is not None and digit == low else None
        next_above = (above[0][1:], above[1]) if above is not None and digit == high else None
        if next_below is None and next_above is None:
            free.append(digit)
            continue
        rest = _behind_point(next_below, next_above, n - 1)
        here = Text(str(digit))
        if _may_end(next_below, next_above):
            options.append(here)
        if rest != NEVER:
            options.append(seq(here, rest))
    if free:
        options.append(seq(_digits(free[0], free[-1]), times(DIGIT, 0, n - 1)))
    return alt(*options)


def _fraction(value: Decimal) -> str:
    """The digits behind the point, without zeros at the end."""
    return _plain(abs(value)).partition(".")[2].rstrip("0")


def _plain(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
