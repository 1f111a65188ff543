"""Which grammars llama.cpp can work with: each of these mistakes would cost it its process or its time.

- Left recursion, also behind what can be empty: llama.cpp overlooks the latter and takes all memory.
- Repeating what can be empty.
- A rule whose text never ends.
- Too many ways to begin: it keeps every way apart, and its own check walks all of them (16 rules that each name the
  next one twice: 12 s).
Known limit: a grammar that stays undecided through a recursion (`s ::= "a" s "b" | "a" s "c" | ""`) still doubles what
llama.cpp keeps with every level; nothing here can see that.
"""

from collections.abc import Callable, Iterator

from offgrid.grammar.syntax import EMPTY, NEVER, Alt, Chars, Expr, Ref, Repeat, Rules, Seq, Text, alt, children, seq

MAX_STARTS = 4000  # ways to begin one rule
MAX_WALK = 400_000  # the same over all rules, as often as they are repeated

Refusal = Callable[[str, str], Exception]  # (message, rule) → what to raise


def check(rules: Rules, refusal: Refusal) -> None:
    """Raise what `refusal` makes for the first mistake. Every name must be defined."""
    empty = nullable(rules)
    for name, rule in rules.items():
        for expr in walk(rule):
            if isinstance(expr, Repeat) and (expr.low, expr.high) != (0, 1) and can_be_empty(expr.item, empty):
                raise refusal(f"in the rule {name} something is repeated that can be empty; let it be something", name)
    ends = finite(rules)
    for name in rules:
        if name not in ends:
            raise refusal(f"the text of the rule {name} never ends; give it an alternative without itself", name)
    firsts = {name: list(_firsts(rule, empty)) for name, rule in rules.items()}
    n_walk = 0
    starts: dict[str, int] = {}
    for name in _innermost_first(firsts, refusal):
        starts[name] = 1 + sum(starts.get(first, 1) for first in firsts[name])
        n_walk += starts[name] + _n_walked_again(rules[name], starts, empty)
        if starts[name] > MAX_STARTS or n_walk > MAX_WALK:
            message = f"the rule {name} can begin in more than {MAX_STARTS} ways; put what they have in common first"
            raise refusal(message, name)


def _n_walked_again(rule: Expr, starts: dict[str, int], empty: set[str]) -> int:
    """A repetition that may be left out is a rule of its own in llama.cpp, for each time."""
    return sum(
        ((repeat.high or repeat.low + 1) - repeat.low)
        * sum(starts.get(first, 1) for first in _firsts(repeat.item, empty))
        for repeat in walk(rule)
        if isinstance(repeat, Repeat)
    )


def walk(expr: Expr) -> Iterator[Expr]:
    yield expr
    for child in children(expr):
        yield from walk(child)


def nullable(rules: Rules) -> set[str]:
    """The rules that can be the empty text."""
    return _grow(rules, can_be_empty)


def can_be_empty(expr: Expr, empty: set[str]) -> bool:
    match expr:
        case Ref(name):
            return name in empty
        case Seq(parts):
            return all(can_be_empty(part, empty) for part in parts)
        case Alt(options):
            return any(can_be_empty(option, empty) for option in options)
        case Repeat(item, low):
            return low == 0 or can_be_empty(item, empty)
        case Text(text):
            return not text
    return False


def finite(rules: Rules) -> set[str]:
    """The rules of which there is a text that ends."""
    return _grow(rules, _can_end)


def _can_end(expr: Expr, ends: set[str]) -> bool:
    match expr:
        case Ref(name):
            return name in ends
        case Seq(parts):
            return all(_can_end(part, ends) for part in parts)
        case Alt(options):
            return any(_can_end(option, ends) for option in options)
        case Repeat(item, low):
            return low == 0 or _can_end(item, ends)
        case Chars(ranges):
            return bool(ranges)
    return True


def _grow(rules: Rules, holds: Callable[[Expr, set[str]], bool]) -> set[str]:
    """The names of which something holds because of what it holds for in the rules they name."""
    users: dict[str, list[str]] = {name: [] for name in rules}
    for name, rule in rules.items():
        for used in {expr.name for expr in walk(rule) if isinstance(expr, Ref)}:
            users[used].append(name)
    found: set[str] = set()
    todo = list(rules)
    while todo:
        name = todo.pop()
        if name not in found and holds(rules[name], found):
            found.add(name)
            todo += users[name]
    return found


def prune(rules: Rules) -> Rules:
    """The same grammar without what can never come to an end, and without rules that nothing leads to."""
    ends = finite(rules)
    kept = {name: _pruned(rule, ends) for name, rule in rules.items() if name in ends}
    reached, todo = {"root"}, ["root"]
    while todo:
        for expr in walk(kept.get(todo.pop(), NEVER)):
            if isinstance(expr, Ref) and expr.name not in reached:
                reached.add(expr.name)
                todo.append(expr.name)
    return {name: rule for name, rule in kept.items() if name in reached}


def _pruned(expr: Expr, ends: set[str]) -> Expr:
    match expr:
        case Seq(parts):
            return seq(*(_pruned(part, ends) for part in parts))
        case Alt(options):
            return alt(*(_pruned(option, ends) for option in options if _can_end(option, ends)))
        case Repeat(item, low, high):
            return Repeat(_pruned(item, ends), low, high) if _can_end(item, ends) else EMPTY
    return expr


def _firsts(expr: Expr, empty: set[str]) -> Iterator[str]:
    """The rules that `expr` may begin with, each as often as it may; "" stands for a character."""
    match expr:
        case Ref(name):
            yield name
        case Text() | Chars():
            yield ""
        case Alt(options):
            for option in options:
                yield from _firsts(option, empty)
        case Seq(parts):
            for part in parts:
                yield from _firsts(part, empty)
                if not can_be_empty(part, empty):
                    return
        case Repeat(item):
            yield from _firsts(item, empty)


def _innermost_first(firsts: dict[str, list[str]], refusal: Refusal) -> Iterator[str]:
    """Every rule after those it may begin with. Raises for a rule that may begin with itself."""
    done: set[str] = set()
    for root in firsts:
        open_ = {} if root in done else {root: iter(firsts[root])}
        while open_:
            name = next(reversed(open_))
            for first in open_[name]:
                if first in open_:
                    raise refusal(f"the rule {first} may begin with itself; let something come before it", first)
                if first and first not in done:
                    open_[first] = iter(firsts[first])
                    break
            else:
                del open_[name]
                done.add(name)
                yield name
