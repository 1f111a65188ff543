"""From a model's text to what it means: content, thoughts, and calls of tools, while the text is still coming.

Pure: knows a dialect, no tokens, no grammar. What must stay true, for every text and every way to cut it into pushes:
the joined parts are the same, and their `n_chars` in order add up to the characters that were pushed.

White space beside markup belongs to the markup; so white space is held back, as is what may become markup.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from offgrid.dialects.matching import MOST_SPACE, WHITE_SPACE, Literals, Sequences, flat, patterns_of, without_space
from offgrid.dialects.syntax import CallForm, Dialect

_OUTSIDE, _INSIDE = re.compile(r'["{}]'), re.compile(r'["\\]')  # of a JSON string


class Part(NamedTuple):
    """`kind` is "content", "thought", "call" (text: the tool's name), "arguments" (a piece of JSON, as written) or
    "markup" (not shown). `n_chars`: how many of the pushed characters it stands for, in their order."""

    kind: str
    text: str
    n_chars: int


class _Patterns:
    """What is looked for in a dialect's texts."""

    def __init__(self, dialect: Dialect, *, has_tools: bool):
        forms = dialect.calls.forms if has_tools else ()
        self.triggers: dict[str, CallForm] = {form.trigger: form for form in forms if form.trigger}
        self.marks = Literals((*self.triggers, *dialect.dividers))
        begin, end = dialect.thinking or ("", "")
        self.thinking_begin = Sequences(flat((begin,)) if begin else [])
        self.thinking_end = Literals((end,) if end else ())
        self.first = Sequences(flat((dialect.first,)) if dialect.first else [])
        self.at_start = tuple((patterns_of(form).begin, form) for form in forms if not form.trigger)


_patterns = lru_cache(maxsize=32)(_Patterns)


class ReplyParser:
    """One per answer. `is_thinking`: the prompt left the thinking open. `is_begun`: it ends in the midst of the
    content, so nothing comes that only begins an answer. `has_tools` False: calls are plain content.
    `separates_thinking` False: thoughts stay in the content, as the model writes them.

    `on_call(text)` is asked when the text of a call has begun, with all there is of it so far; it says whether the
    grammar takes it. When it does not, the text is content.
    """

    def __init__(
        self,
        dialect: Dialect,
        *,
        has_tools: bool,
        is_thinking: bool,
        is_begun: bool = False,
        separates_thinking: bool = True,
        on_call: Callable[[str], bool],
    ):
        self.dialect = dialect
        self._patterns = _patterns(dialect, has_tools=has_tools)
        self._separates = separates_thinking
        self._on_call = on_call
        begin = self._read_content if is_begun else self._read_first
        self._read = self._read_thought if is_thinking else begin
        self._held = ""  # what was pushed and is not in any part yet
        self._parts: list[Part] = []
        self._is_end = False
        self._drops_space = is_thinking and separates_thinking  # what comes next loses its leading white space
        self._may_call = not is_begun  # whether what comes next is the start of the answer, where bare calls begin
        self._form: CallForm | None = None
        self._depth, self._is_inside, self._is_escaped = 0, False, False  # of arguments: braces, strings
        self.n_calls = 0

    @property
    def is_thinking(self) -> bool:
        return self._read == self._read_thought

    @property
    def in_call(self) -> bool:
        return self._form is not None

    def push(self, text: str) -> list[Part]:
        """The parts that are certain now."""
        is_plain = not self._held and self._read == self._read_content and text and text[-1] not in WHITE_SPACE
        if is_plain and self._patterns.marks.search(text) is None:  # nearly every push
            return [Part("content", text, len(text))]
        self._held += text
        return self._taken()

    def flush(self) -> list[Part]:
        """The last parts: the text has ended."""
        self._is_end = True
        return self._taken()

    def _taken(self) -> list[Part]:
        while self._held and self._read():
            pass
        parts, self._parts = self._parts, []
        return parts

    def _give(self, kind: str, n_chars: int) -> None:
        if n_chars:
            text, self._held = self._held[:n_chars], self._held[n_chars:]
            self._parts.append(Part(kind, text, n_chars))

    def _drop_space(self) -> None:
        if self._drops_space:
            self._give("markup", len(self._held) - len(self._held.lstrip(WHITE_SPACE)))
            self._drops_space = not self._held

    # Each of these takes what it can of the held text; False: it needs more.

    def _read_first(self) -> bool:
        """The very beginning of the answer."""
        found = self._patterns.first.match(self._held)
        if found is None and self._patterns.first.may_come(self._held) and not self._is_end:
            return False
        self._give("markup", found.end if found else 0)
        self._read, self._may_call = self._read_start, found is None
        return True

    def _read_start(self) -> bool:
        """The beginning of the answer, or of one of its parts: thoughts and calls without a trigger begin here only."""
        self._drop_space()
        body = self._held.lstrip(WHITE_SPACE)
        n_space = len(self._held) - len(body)
        if n_space > MOST_SPACE:
            self._read = self._read_content
            return True
        if not body and not self._is_end:
            return False
        found = self._patterns.thinking_begin.match(body)
        if found:
            self._give("markup" if self._separates else "content", n_space + found.end)
            self._read, self._drops_space = self._read_thought, self._separates
            return True
        may_come = self._patterns.thinking_begin.may_come(body)
        for begin, form in self._patterns.at_start if self._may_call else ():
            if begin.match(body) and self._on_call(body):
                self._begin_call(form, n_space)
                return True
            may_come = may_come or (begin.match(body) is None and begin.may_come(body))
        if may_come and not self._is_end:
            return False
        self._read = self._read_content
        return True

    def _read_content(self) -> bool:
        text, marks = self._held, self._patterns.marks
        found = (marks.search_whole if self._is_end else marks.search)(text)
        if marks.is_empty or (found is None and self._is_end):
            self._give("content", len(text))
            return False
        before = text if found is None else text[: found.start()]
        n_content = without_space(before)
        if found is None or found.lastgroup == "begun":
            self._give("content", n_content)
            return False
        form = self._patterns.triggers.get(found[0])
        if form is None:
            self._give("content", n_content)
            self._give("markup", found.end() - n_content)
            self._read, self._drops_space, self._may_call = self._read_start, True, False
        elif self._on_call(text[found.start() :]):
            self._give("content", n_content)
            self._begin_call(form, found.start() - n_content)
        else:
            self._give("content", found.end())
        return True

    def _read_thought(self) -> bool:
        kind = "thought" if self._separates else "content"
        self._drop_space()
        text, ends = self._held, self._patterns.thinking_end
        found = (ends.search_whole if self._is_end else ends.search)(text)
        before = text if found is None else text[: found.start()]
        self._give(kind, without_space(before) if self._separates else len(before))
        if found is None or found.lastgroup == "begun":
            if self._is_end:
                self._give("markup", len(self._held))
            return False
        n_markup = found.end() - (len(text) - len(self._held))
        self._give("markup" if self._separates else "content", n_markup)
        self._read, self._drops_space, self._may_call = self._read_start, self._separates, True
        return True

    # --- a call ---

    def _begin_call(self, form: CallForm, n_space: int) -> None:
        """`n_space` characters of white space are held before it."""
        self._give("markup", n_space)
        self._form = form
        self._read = self._read_head

    def _read_head(self) -> bool:
        return self._read_name(patterns_of(self._form).begin)

    def _read_name(self, sequences: Sequences) -> bool:
        found = sequences.match(self._held)
        if found is None:
            return self._wait_or_leave(sequences)
        begin, end = found.name
        self._give("markup", begin)
        self._give("call", end - begin)
        self.n_calls += 1
        self._read = self._read_middle
        return True

    def _read_middle(self) -> bool:
        middle = patterns_of(self._form).middle
        found = middle.match(self._held)
        if found is None:
            return self._wait_or_leave(middle)
        self._give("markup", found.end - 1)
        self._depth, self._is_inside, self._is_escaped = 0, False, False
        self._read = self._read_arguments
        return True

    def _read_arguments(self) -> bool:
        text, at = self._held, 0
        while at < len(text):
            if self._is_escaped:
                self._is_escaped = False
                at += 1
                continue
            found = (_INSIDE if self._is_inside else _OUTSIDE).search(text, at)
            if found is None:
                at = len(text)
                break
            at = found.end()
            if found[0] == "\\":
                self._is_escaped = True
            elif found[0] == '"':
                self._is_inside = not self._is_inside
            else:
                self._depth += 1 if found[0] == "{" else -1
                if self._depth == 0:
                    self._read = self._read_tail
                    break
        self._give("arguments", at)
        return True

    def _read_tail(self) -> bool:
        patterns = patterns_of(self._form)
        if patterns.next.match(self._held):
            return self._read_name(patterns.next)
        if patterns.next.may_come(self._held):
            return self._wait_or_leave(patterns.next)
        found = patterns.end.match(self._held)
        if found is None:
            return self._wait_or_leave(patterns.end)
        self._give("markup", found.end)
        self._form, self._read, self._drops_space = None, self._read_rest, True
        return True

    def _wait_or_leave(self, expected: Sequences) -> bool:
        """Whether to go on without what was expected, which is not there."""
        if expected.may_come(self._held):
            if self._is_end:
                self._give("markup", len(self._held))
            return False
        self._form, self._read = None, self._read_rest
        return True

    def _read_rest(self) -> bool:
        """What comes where nothing may follow."""
        self._drop_space()
        self._give("content", len(self._held))
        return False
