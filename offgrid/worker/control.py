"""Control tokens that people spell: "<|im_end|>" in a message is text, and must not end the message.

A chat template writes its control tokens as text too, and the tokenizer would not tell the two apart. So where a
message holds the spelling of one, a mark is put inside it before the template runs; what the template then spells
without a mark is a control token, everything else is tokenized as plain text. Messages without such spellings, nearly
all, go the usual way and cost one search.

Covered: every string of the messages, the tools and the values for the template, but the roles. Not covered: a spelling
that only comes to be where the template puts two messages directly beside each other. A completion's prompt is the
caller's own template, and is not looked at.
"""

import re
import secrets

from offgrid.worker.library import L

ROLES = ("system", "user", "assistant", "tool")  # which templates compare
WHITE_SPACE = " \t\n\v\f\r"
STRIPS_LEFT, STRIPS_RIGHT = 1 << 7, 1 << 8  # llama_token_attr: a token swallows the white space beside it


class ControlTokens:
    """Finds spelled control tokens. Immutable; any thread."""

    def __init__(self, model):
        self._model = model
        names = {text: token for token, text in model.control_tokens.items() if text}
        # The longest first, as the tokenizer looks for them.
        self._tokens = dict(sorted(names.items(), key=lambda item: -len(item[0])))
        self._pattern = re.compile("|".join(map(re.escape, self._tokens)) or r"(?!)")

    def marked(self, given: list | dict) -> tuple[list | dict, str]:
        """`given`, made of lists and objects, with a mark inside of each spelled control token, and the mark; "" when
        there was none."""
        found: list[str] = []
        mark = f"\ufdd0{secrets.token_hex(4)}\ufdd1"  # noncharacters; nobody can know it beforehand

        def split(match: re.Match) -> str:
            found.append(match[0])
            return match[0][:1] + mark + match[0][1:]

        def walk(value: object) -> object:
            if isinstance(value, str):
                return self._pattern.sub(split, value)
            if isinstance(value, list):
                return [walk(item) for item in value]
            if isinstance(value, dict):
                return {walk(k): v if k == "role" and v in ROLES else walk(v) for k, v in value.items()}
            return value

        split_given = walk(given)
        return (split_given, mark) if found else (given, "")

    def tokenize(self, prompt: str, mark: str, *, add_special: bool) -> list[int]:
        """The tokens of a rendered prompt whose marked spellings are text, as the tokenizer makes them otherwise."""
        vocab, place, attributes = self._model.vocab, 0, 0
        tokens = [L.llama_vocab_bos(vocab)] if add_special and L.llama_vocab_get_add_bos(vocab) else []
        for match in self._pattern.finditer(prompt):
            token = self._tokens[match[0]]
            before, attributes = attributes, L.llama_vocab_get_attr(vocab, token)
            tokens += self._plain(prompt[place : match.start()], mark, before, attributes)
            tokens.append(token)
            place = match.end()
        tokens += self._plain(prompt[place:], mark, attributes, 0)
        return tokens + ([L.llama_vocab_eos(vocab)] if add_special and L.llama_vocab_get_add_eos(vocab) else [])

    def _plain(self, text: str, mark: str, before: int, after: int) -> list[int]:
        """The tokens of a text between two control tokens with these attributes."""
        text = text.replace(mark, "")
        if before & STRIPS_RIGHT:
            text = text.lstrip(WHITE_SPACE)
        if after & STRIPS_LEFT:
            text = text.rstrip(WHITE_SPACE)
        return self._model.tokenize(text, add_special=False, parse_special=False) if text else []
