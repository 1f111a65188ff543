"""Two grammars as one: a text follows the one or the other."""

from functools import lru_cache

from offgrid.errors import BadRequest
from offgrid.grammar import gbnf
from offgrid.grammar.builder import MAX_BYTES
from offgrid.grammar.soundness import check
from offgrid.grammar.syntax import Alt, Expr, Ref, Repeat, Seq, alt, to_text


@lru_cache(maxsize=16)
def either(first: str, second: str, param: str) -> str:
    """The GBNF of what follows `first` or `second`, both sound. Raises BadRequest: together they are too large."""
    rules = {"root": alt(Ref("first-root"), Ref("second-root"))}
    for prefix, text in (("first", first), ("second", second)):
        read = gbnf.read(text, param, max_bytes=MAX_BYTES)
        rules |= {f"{prefix}-{name}": _renamed(rule, prefix) for name, rule in read.items()}
    check(rules, lambda message, _: BadRequest(f"{param}: {message}.", param=param))
    text = to_text(rules)
    if len(text.encode()) > MAX_BYTES:
        message = f"{param} and the tools together make a grammar of more than {MAX_BYTES} bytes. Shorten them."
        raise BadRequest(message, param=param)
    return text


def _renamed(expr: Expr, prefix: str) -> Expr:
    match expr:
        case Ref(name):
            return Ref(f"{prefix}-{name}")
        case Seq(parts):
            return Seq(tuple(_renamed(part, prefix) for part in parts))
        case Alt(options):
            return Alt(tuple(_renamed(option, prefix) for option in options))
        case Repeat(item, low, high):
            return Repeat(_renamed(item, prefix), low, high)
    return expr
