"""Reading GBNF text as llama.cpp does, but strictly: line and column of the first mistake, and nothing guessed.

llama.cpp prints its reason to stderr and says only "no"; some texts it never comes back from. What it takes and means
otherwise than written is refused here as well: a rule defined twice (the last would win), `{1,5000}` (it drops a
limit above 2,000), `[z-a]` and `[]`. Tokens of a vocabulary (`<name>`, `<[id]>`) are refused: their text can be given.
"""

from dataclasses import dataclass

from offgrid.errors import BadRequest
from offgrid.grammar.charset import EVERY, join, others
from offgrid.grammar.soundness import check
from offgrid.grammar.syntax import EMPTY, Alt, Chars, Expr, Ref, Repeat, Rules, Text, seq

MAX_BYTES = 64 * 1024
MAX_REPEATS = 2000  # llama.cpp's own bound on what a repetition is written out to
MAX_NESTING = 64  # groups: llama.cpp reads them with its thread's stack
NAME_CHARS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")
ESCAPES = {"t": "\t", "r": "\r", "n": "\n", "\\": "\\", '"': '"', "[": "[", "]": "]", "-": "-"}
NO_ZERO = "the character 0 cannot be generated"
HEX_DIGITS = {"x": 2, "u": 4, "U": 8}


def check_grammar(text: str, param: str) -> None:
    """Refuse what llama.cpp would not read, or would not survive. Raises BadRequest with line and column."""
    check(read(text, param), lambda message, rule: BadRequest(f"{param}: {message}", param=param))


def read(text: str, param: str = "grammar", max_bytes: int = MAX_BYTES) -> Rules:
    """The rules of a GBNF text. Raises BadRequest."""
    try:
        n_bytes = len(text.encode())
    except UnicodeEncodeError:
        raise BadRequest(f"{param} holds half of a surrogate pair, which is no character.", param=param) from None
    if n_bytes > max_bytes:
        raise BadRequest(f"{param} may have {max_bytes} bytes; it has {n_bytes}.", param=param)
    return _Reader(text, param).rules()


@dataclass(slots=True)
class _Item:
    """The last item of a sequence: what a repetition after it repeats. `n_rules` as llama.cpp counts them."""

    expr: Expr
    n_rules: int = 1


class _Reader:
    def __init__(self, text: str, param: str):
        self._text = text
        self._param = param
        self._at = 0
        self._depth = 0
        self._symbols: set[str] = set()  # llama.cpp counts names when it meets them, for its bound on repetitions
        self._n_generated = 0

    def rules(self) -> Rules:
        rules: Rules = {}
        refs: dict[str, int] = {}
        self._refs = refs
        if (at := self._text.find("\0")) >= 0:  # llama.cpp would take it for the end, also in a comment
            raise self._wrong(NO_ZERO, at)
        self._space(newlines=True)
        while self._char():
            start = self._at
            name = self._name()
            if name in rules:
                raise self._wrong(f"the rule {name} is defined twice", start)
            self._space()
            if not self._text.startswith("::=", self._at):
                raise self._wrong(f"::= must follow the name {name}, and {self._found()} does")
            self._at += 3
            self._space(newlines=True)
            rules[name] = self._alternatives(in_group=False)
            if self._char() and self._char() not in "\r\n":
                raise self._wrong(f"the rule {name} ends here with a new line, and {self._found()} stands there")
            self._space(newlines=True)
        for name, at in refs.items():
            if name not in rules:
                raise self._wrong(f"there is no rule {name}", at)
        if "root" not in rules:
            raise self._wrong("there is no rule root, where a text begins", 0)
        return rules

    def _alternatives(self, *, in_group: bool) -> Expr:
        options = [self._sequence(in_group=in_group)]
        while self._char() == "|":
            self._at += 1
            self._space(newlines=True)
            options.append(self._sequence(in_group=in_group))
        return options[0] if len(options) == 1 else Alt(tuple(options))  # equal ones count: llama.cpp keeps them apart

    def _sequence(self, *, in_group: bool) -> Expr:
        items: list[_Item] = []
        while True:
            char = self._char()
            if char and char in "*+?{":
                self._repetition(items, in_group=in_group)
            elif item := self._item(char):
                items.append(item)
            else:
                return seq(*(item.expr for item in items))
            self._space(newlines=in_group)

    def _item(self, char: str) -> _Item | None:
        """The item that begins with `char`; None where a sequence ends."""
        if char == '"':
            return _Item(self._literal())
        if char == "[":
            return _Item(self._class())
        if char == "(":
            return self._group()
        if char == ".":
            self._at += 1
            return _Item(Chars(EVERY))
        if char and char in "<!":
            raise self._wrong("tokens of a vocabulary are not taken here; write the token's text in double quotes")
        if char in NAME_CHARS:
            start = self._at
            name = self._name()
            self._symbols.add(name)
            self._refs.setdefault(name, start)
            return _Item(Ref(name))
        return None

    def _literal(self) -> Expr:
        start, letters = self._at, []
        self._at += 1
        while self._char() != '"':
            if not self._char() or self._char() in "\r\n":
                raise self._wrong('a closing " is missing', start)
            letters.append(self._letter())
        self._at += 1
        return Text("".join(letters)) if letters else EMPTY

    def _class(self) -> Expr:
        start, ranges = self._at, []
        self._at += 1
        is_turned = self._char() == "^"
        self._at += is_turned
        while self._char() != "]":
            if not self._char() or self._char() in "\r\n":
                raise self._wrong("a closing ] is missing", start)
            at = self._at
            low = high = ord(self._letter(in_class=True))
            if self._char() == "-" and self._char(1) not in ("]", ""):
                self._at += 1
                high = ord(self._letter(in_class=True))
            if low > high:
                raise self._wrong("the end of a range comes before its beginning", at)
            ranges.append((low, high))
        if not ranges:
            raise self._wrong("a class needs at least one character", start)
        self._at += 1
        if is_turned:
            return Chars(others(tuple(ranges)))
        if not (printable := tuple((max(low, 1), high) for low, high in ranges if high)):
            raise self._wrong(NO_ZERO, start + 1)
        return Chars(join(printable))

    def _letter(self, *, in_class: bool = False) -> str:
        start, char = self._at, self._char()
        self._at += 1
        if char == "\\":
            kind = self._char()
            self._at += 1
            if kind in ESCAPES:
                return ESCAPES[kind]
            if kind not in HEX_DIGITS:
                known = " ".join(f"\\{c}" for c in [*ESCAPES, "xHH", "uHHHH", "UHHHHHHHH"])
                raise self._wrong(f"\\{kind} is no escape; there are {known}", start)
            digits = self._text[self._at : self._at + HEX_DIGITS[kind]]
            self._at += len(digits)
            if len(digits) < HEX_DIGITS[kind] or set(digits) - set("0123456789abcdefABCDEF"):
                raise self._wrong(f"{HEX_DIGITS[kind]} hexadecimal digits must follow \\{kind}", start)
            point = int(digits, 16)
            if point > 0x10FFFF or 0xD800 <= point <= 0xDFFF:
                raise self._wrong(f"\\{kind}{digits} is no character", start)
            char = chr(point)
        if char == "\0" and not in_class:  # there it may begin a range, or be one of those that are left out
            raise self._wrong(NO_ZERO, start)
        return char

    def _group(self) -> _Item:
        start, n_before = self._at, self._n_symbols()
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise self._wrong(f"groups are nested more than {MAX_NESTING} deep")
        self._n_generated += 1
        self._at += 1
        self._space(newlines=True)
        inner = self._alternatives(in_group=True)
        if self._char() != ")":
            raise self._wrong("a closing ) is missing", start)
        self._at += 1
        self._depth -= 1
        return _Item(inner, max(1, self._n_symbols() - n_before))

    def _repetition(self, items: list[_Item], *, in_group: bool) -> None:
        start, char = self._at, self._char()
        if not items or items[-1].expr == EMPTY:
            raise self._wrong(f"{char} has nothing before it to repeat")
        self._at += 1
        low, high = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(char) or self._counts(start, in_group=in_group)
        item = items[-1]
        n_times = high or low or 1
        if item.n_rules * n_times > MAX_REPEATS:
            raise self._wrong(f"this repeats to more than {MAX_REPEATS} rules, which llama.cpp does not take", start)
        self._n_generated += 1 if high is None else high - low
        item.n_rules *= n_times
        item.expr = Repeat(item.expr, low, high)

    def _counts(self, start: int, *, in_group: bool) -> tuple[int, int | None]:
        self._space(newlines=in_group)
        low = self._number()
        high: int | None = low
        self._space(newlines=in_group)
        if self._char() == ",":
            self._at += 1
            self._space(newlines=in_group)
            high = None if self._char() == "}" else self._number()
            self._space(newlines=in_group)
        if self._char() != "}":
            raise self._wrong("a closing } is missing", start)
        self._at += 1
        if high is not None and (high < low or high == 0):
            raise self._wrong(f"the end of {{{low},{high}}} must be at least 1, and not before its beginning", start)
        return low, high

    def _number(self) -> int:
        start = self._at
        while self._char() and self._char() in "0123456789":
            self._at += 1
        digits = self._text[start : self._at]
        if not digits:
            raise self._wrong(f"a number must stand in {{ }}, and {self._found()} does")
        if len(digits) > 9 or int(digits) > MAX_REPEATS:
            raise self._wrong(f"at most {MAX_REPEATS} repetitions are possible", start)
        return int(digits)

    def _name(self) -> str:
        start = self._at
        while self._char() in NAME_CHARS:
            self._at += 1
        if start == self._at:
            raise self._wrong(f"the name of a rule (letters, digits, -) must stand here, not {self._found()}")
        return self._text[start : self._at]

    def _space(self, *, newlines: bool = False) -> None:
        while char := self._char():
            if char == "#":
                while self._char() and self._char() not in "\r\n":
                    self._at += 1
            elif char in " \t" or (newlines and char in "\r\n"):
                self._at += 1
            else:
                return

    def _char(self, ahead: int = 0) -> str:
        """The next character; "" at the end."""
        return self._text[self._at + ahead : self._at + ahead + 1]

    def _n_symbols(self) -> int:
        return len(self._symbols) + self._n_generated

    def _found(self) -> str:
        return repr(self._char()) if self._char() else "the end"

    def _wrong(self, message: str, at: int | None = None) -> BadRequest:
        at = self._at if at is None else at
        line = self._text.count("\n", 0, at) + 1
        column = at - (self._text.rfind("\n", 0, at) + 1) + 1
        return BadRequest(f"{self._param}, line {line}, column {column}: {message}.", param=self._param)
