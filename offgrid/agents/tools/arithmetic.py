"""Arithmetic that always ends: numbers with limits, the operations on them, and how a result is written.

Pure. Numbers are exact as long as they can be: whole numbers and fractions, so that 0.1 + 0.2 is 0.3 and 2^200 has all
its digits; roots, angles and logarithms are floating-point numbers. Must stay true: no operation is begun whose result
could have more than twice MAX_BITS, and none with more than MAX_BITS is handed on.
"""

import math
from collections.abc import Callable
from fractions import Fraction

from offgrid.agents.tools.tool import ToolError

MAX_BITS = 4096  # of a whole number, and of both parts of a fraction: some 1200 digits
MAX_FACTORIAL = 500
MAX_EXPONENT = 1000  # in a number such as 1e300
MAX_PLACES = 100

Number = int | Fraction | float


def literal(text: str) -> Number:
    """A number as it is written, exactly: 12, 0.5, 1e-3."""
    mantissa, _, exponent = text.lower().partition("e")
    if exponent and (len(exponent) > 6 or abs(int(exponent)) > MAX_EXPONENT):
        raise _too_large()
    return bounded(Fraction(mantissa) * Fraction(10) ** int(exponent or 0))


def bounded(value: Number | complex) -> Number:
    """The value in its simplest form. Raises ToolError for one that is too large or no real number."""
    if isinstance(value, complex) or (isinstance(value, float) and math.isnan(value)):
        raise ToolError("The result is not a real number.")
    if isinstance(value, float):
        if math.isinf(value):
            raise _too_large()
        return value
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise _too_large()
    return int(value) if value.denominator == 1 else value


def quotient(value: Number, divisor: Number) -> Number:
    is_exact = not isinstance(value, float) and not isinstance(divisor, float)
    return Fraction(value) / Fraction(divisor) if is_exact else value / divisor


def raised(base: Number, exponent: Number) -> Number:
    """base to the power of exponent."""
    if isinstance(base, float) or isinstance(exponent, float) or exponent.denominator != 1:
        return bounded(float(base) ** float(exponent))
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if bits > 1 and abs(exponent) * (bits - 1) > MAX_BITS:
        raise _too_large()
    return bounded(Fraction(base) ** int(exponent))


def factorial(value: Number) -> int:
    n = whole(value, "factorial")
    if n < 0:
        raise ToolError("factorial needs a number that is not negative.")
    if n > MAX_FACTORIAL:
        raise ToolError(f"factorial is for numbers up to {MAX_FACTORIAL} here.")
    return math.factorial(n)


def whole(value: Number, function: str) -> int:
    if value != math.floor(value):
        raise ToolError(f"{function} needs whole numbers.")
    return int(value)


def written(value: Number) -> str:
    """The value as a person writes it: all digits where it is exact, 15 of them where it is not."""
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Fraction):
        exact = _decimal(value)
        if exact:
            return exact
        value = float(value)
    text = format(value, ".15g")
    return "0" if text == "-0" else text


def _decimal(value: Fraction) -> str:
    """A fraction whose decimals end soon, with all of them; "" for others."""
    for n_places in range(1, 16):
        scaled = value * 10**n_places
        if scaled.denominator == 1:
            digits = str(abs(scaled.numerator)).rjust(n_places + 1, "0")
            return f"{'-' if value < 0 else ''}{digits[:-n_places]}.{digits[-n_places:]}"
    return ""


def _rounded(value: Number, places: Number = 0) -> Number:
    """Half away from zero, as people round."""
    n = whole(places, "round")
    if abs(n) > MAX_PLACES:
        raise ToolError(f"round takes at most {MAX_PLACES} places.")
    scale = Fraction(10) ** n
    magnitude = math.floor(abs(Fraction(value)) * scale + Fraction(1, 2)) / scale
    return -magnitude if value < 0 else magnitude


def _logarithm(value: Number, base: Number = 10) -> float:
    if value <= 0 or base <= 0 or base == 1:
        raise ToolError("log needs a number above 0, and a base above 0 that is not 1.")
    return math.log10(value) if base == 10 else math.log(value) / math.log(base)


def _real(function: Callable[[float], float], name: str) -> Callable[[Number], float]:
    def call(value: Number) -> float:
        try:
            return function(value)
        except ValueError:
            raise ToolError(f"{name} has no value for that number.") from None

    return call


def _gcd(*values: Number) -> int:
    return math.gcd(*(whole(value, "gcd") for value in values))


# name → what computes it, how many values it takes at least and at most
FUNCTIONS: dict[str, tuple[Callable[..., Number], int, int]] = {
    "sqrt": (_real(math.sqrt, "sqrt"), 1, 1),
    "sin": (_real(math.sin, "sin"), 1, 1),
    "cos": (_real(math.cos, "cos"), 1, 1),
    "tan": (_real(math.tan, "tan"), 1, 1),
    "asin": (_real(math.asin, "asin"), 1, 1),
    "acos": (_real(math.acos, "acos"), 1, 1),
    "atan": (_real(math.atan, "atan"), 1, 1),
    "log": (_logarithm, 1, 2),
    "ln": (_real(math.log, "ln"), 1, 1),
    "exp": (_real(math.exp, "exp"), 1, 1),
    "abs": (abs, 1, 1),
    "round": (_rounded, 1, 2),
    "floor": (math.floor, 1, 1),
    "ceil": (math.ceil, 1, 1),
    "min": (min, 1, 100),
    "max": (max, 1, 100),
    "factorial": (factorial, 1, 1),
    "gcd": (_gcd, 1, 100),
}
CONSTANTS = {"pi": math.pi, "e": math.e}


def called(name: str, values: list[Number]) -> Number:
    function, fewest, most = FUNCTIONS[name]
    if not fewest <= len(values) <= most:
        wanted = str(fewest) if fewest == most else f"{fewest} to {most}"
        raise ToolError(f"{name} takes {wanted} value{'' if wanted == '1' else 's'}; it was given {len(values)}.")
    return bounded(function(*values))


def _too_large() -> ToolError:
    return ToolError(f"A number is too large: at most {MAX_BITS * 3 // 10} digits are computed here.")
