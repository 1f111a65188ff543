"""What a grammar means, without llama.cpp: which texts it accepts, and random texts of it."""

import random

from offgrid.grammar import gbnf
from offgrid.grammar.charset import holds
from offgrid.grammar.syntax import EMPTY, Alt, Chars, Expr, Ref, Repeat, Rules, Seq, Text

END = None  # a stack is nested pairs (what comes next, the stack below); END is the empty one


class Acceptor:
    """Follows a text character by character, keeping every way that is still open, as llama.cpp does."""

    def __init__(self, grammar: str):
        self.rules: Rules = gbnf.read(grammar)

    def accepts(self, text: str) -> bool:
        stacks = self._settled([(Ref("root"), END)])
        for char in text:
            open_ = (stack for stack in stacks if stack is not END)
            stacks = self._settled([(rest, below) for top, below in open_ if (rest := _after(top, char)) is not None])
        return END in stacks

    def _settled(self, todo: list) -> set:
        """All stacks that begin with a character, or are empty, reached from those in `todo`."""
        settled, seen = set(), set(todo)
        while todo:
            stack = todo.pop()
            if stack is END:
                settled.add(END)
                continue
            top, below = stack
            nexts = self._steps(top, below)
            if nexts is None:
                settled.add(stack)
                continue
            for following in nexts:
                if following not in seen:
                    seen.add(following)
                    todo.append(following)
        return settled

    def _steps(self, top: Expr, below) -> list | None:
        """The stacks that `top` on `below` stands for; None where a character must come."""
        match top:
            case Ref(name):
                return [(self.rules[name], below)]
            case Seq(()) | Text(""):
                return [below]
            case Seq(parts):
                return [(parts[0], below if len(parts) == 1 else (Seq(parts[1:]), below))]
            case Alt(options):
                return [(option, below) for option in options]
            case Repeat(item, low, high):
                once = (item, (Repeat(item, max(low - 1, 0), None if high is None else high - 1), below))
                if high == 0:
                    return [below]
                return [once] if low else [once, below]
        return None


def _after(top: Expr, char: str) -> Expr | None:
    """What is left of a text or a class after `char`; None where it does not fit."""
    if isinstance(top, Text):
        return (Text(top.text[1:]) if len(top.text) > 1 else EMPTY) if top.text[0] == char else None
    return EMPTY if holds(top.ranges, ord(char)) else None


class Deriver:
    """Random texts of a grammar. The longer a text gets, the more it hurries to its end."""

    def __init__(self, grammar: str, seed: int):
        self.rules: Rules = gbnf.read(grammar)
        self._random = random.Random(seed)
        self._cost = dict.fromkeys(self.rules, 10**9)  # the depth at which a rule can end
        for _ in self.rules:
            new = {name: 1 + self._depth(rule) for name, rule in self.rules.items()}
            if new == self._cost:
                break
            self._cost = new

    def text(self, n_steps: int = 400) -> str:
        self._left = n_steps
        out: list[str] = []
        self._write(Ref("root"), out)
        return "".join(out)

    def _write(self, expr: Expr, out: list[str]) -> None:
        self._left -= 1
        match expr:
            case Ref(name):
                self._write(self.rules[name], out)
            case Text(text):
                out.append(text)
            case Chars(ranges):
                low, high = self._random.choice(ranges)
                # Mostly near the beginning of a range: ASCII, and now and then the far end of Unicode.
                out.append(chr(self._random.randint(low, high if self._random.random() < 0.1 else min(high, low + 40))))
            case Seq(parts):
                for part in parts:
                    self._write(part, out)
            case Alt(options):
                cheapest = min(options, key=self._depth)
                self._write(self._random.choice(options) if self._left > 0 else cheapest, out)
            case Repeat(item, low, high):
                most = low if self._left <= 0 else min(low + 4, high if high is not None else low + 4)
                if high is not None and self._left > 0 and self._random.random() < 0.1:
                    most = min(high, 40 + low)
                for _ in range(self._random.randint(low, most)):
                    self._write(item, out)

    def _depth(self, expr: Expr) -> int:
        match expr:
            case Ref(name):
                return self._cost[name]
            case Seq(parts):
                return max(map(self._depth, parts), default=0)
            case Alt(options):
                return min(map(self._depth, options))
            case Repeat(item, low):
                return self._depth(item) if low else 0
        return 0
