"""One text's grammar (GBNF): which tokens may come next.

llama.cpp's grammar ends the process when it is told a token that it forbids, or an end before its text is complete, and
when it is nested too deeply; so nothing is accepted here that was not allowed right before, and texts are bounded.
Testing one token costs 3 µs, a vocabulary of 49,152 3 to 13 ms: ask about few.

A grammar that begins only at a trigger (a tool call after free text) is told the text of the trigger when that has come
(`catch_up`), so that llama.cpp's own lazy grammars, which search all text for each token, are not needed.
"""

import ctypes
import re
import time

import numpy as np

from offgrid.worker.library import L
from offgrid.worker.refused import Refused
from offgrid.worker.tokens import spelling

MAX_BYTES = 256 * 1024  # parsing alternatives takes a time that grows with their square: 0.4 s for 20,000
MAX_DEPTH = 200  # of parentheses; llama.cpp's parser calls itself for each, and some 20,000 end the process
CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])  # llama_token_data
REFUSED = float("-inf")
# Some grammars take llama.cpp seconds for each token, in which nobody's text flows: repetitions of what may be empty in
# one another, and recursions that leave more ways open with every token. To go on after a token takes a time that grows
# with the square of the ways, so what asking about one may take, usually 3 µs, is 30 ms there.
MOST_S = 1.0  # of processor time for one question
MOST_S_ONE = 0.002  # for one about a single token
TOO_AMBIGUOUS = "it is too ambiguous: its next character can be a part of too many of its rules at once"


class Grammar:
    """`close()` it once. All but the making belongs to the thread that owns the model."""

    def __init__(self, text: str, model, *, spoken: dict[str, int] | None = None, param: str = "grammar"):
        """Raises Refused: llama.cpp cannot use the text. `model` is a `model.Model`.

        `spoken`: control tokens, by name, that the grammar may spell; `param`: the field that asked for it.
        """
        self._model = model
        self._spoken = spoken or {}
        self._param = param
        # Tokens that are never allowed: they print nothing, and llama.cpp would take their names for text.
        self.silent = frozenset(model.control_tokens).difference(model.eog_tokens, self._spoken.values())
        self._one = np.zeros(1, CANDIDATE)
        self._array = candidates(self._one)
        self._s_per_token = 0.0  # to test one, as it was the last time
        self._sampler = None
        self._sampler = self._compile(text)

    def allows(self, token: int) -> bool:
        """Whether `token` may come next. Raises Refused: finding out takes too long."""
        if token in self.silent:
            return False
        self._one[0] = (token, 0.0, 0.0)
        started = time.thread_time()  # of the processor: a busy machine must not make a grammar look dear
        L.llama_sampler_apply(self._sampler, ctypes.byref(self._array))
        if time.thread_time() - started > MOST_S_ONE:
            raise self._refusal(TOO_AMBIGUOUS)
        return self._one[0]["logit"] != REFUSED

    def refused(self, tokens: np.ndarray) -> np.ndarray:
        """Which of `tokens` may not come next  # (n,) bool; `silent` ones are not looked for. Raises Refused"""
        if self._s_per_token * len(tokens) > MOST_S:
            raise self._refusal(TOO_AMBIGUOUS)
        array = np.zeros(len(tokens), CANDIDATE)
        array["id"] = tokens
        started = time.thread_time()
        L.llama_sampler_apply(self._sampler, ctypes.byref(candidates(array)))
        self._s_per_token = (time.thread_time() - started) / len(tokens)
        return array["logit"] == REFUSED

    def accept(self, token: int) -> None:
        """Go on after `token`, no end of text, which `allows` has just allowed."""
        L.llama_sampler_accept(self._sampler, token)

    def catch_up(self, text: str) -> bool:
        """Go on after a text that was chosen without it; False, and back at the begin, when it does not allow that."""
        tokens = spelling(self._model, text, self._spoken)
        for token in tokens or ():
            if not self.allows(token):
                tokens = None
                break
            self.accept(token)
        if tokens is None:
            L.llama_sampler_reset(self._sampler)
        return tokens is not None

    def close(self) -> None:
        if self._sampler is not None:
            L.llama_sampler_free(self._sampler)
            self._sampler = None

    def _compile(self, text: str):
        data = text.encode("utf-8", "replace")
        if len(data) > MAX_BYTES:
            raise self._refusal(f"it has {len(data)} bytes, and at most {MAX_BYTES} are taken")
        if b"\0" in data:
            raise self._refusal("it holds the character NUL")
        if (depth := _depth(text)) > MAX_DEPTH:
            raise self._refusal(f"its parentheses are {depth} deep, and at most {MAX_DEPTH} are taken")
        sampler = L.llama_sampler_init_grammar(self._model.vocab, data, b"root")
        if not sampler:
            raise self._refusal(
                "llama.cpp cannot read it. It needs a rule named root, every rule that it names, no rule that begins "
                "with itself, and repetitions of at most some 2000"
            )
        return sampler

    def _refusal(self, reason: str) -> Refused:
        return Refused(kind="bad_request", message=f"The grammar cannot be used: {reason}.", param=self._param)


def candidates(array: np.ndarray):
    """llama.cpp's view of an array of CANDIDATE, which must outlive it."""
    data = array.ctypes.data_as(ctypes.POINTER(L.llama_token_data))
    return L.llama_token_data_array(data=data, size=len(array), selected=-1, sorted=False)


def _depth(text: str) -> int:
    """How deep its parentheses are, those in literals, classes and comments aside."""
    bare = re.sub(r'"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|#[^\n]*', "", text, flags=re.DOTALL)
    depth = deepest = 0
    for mark in re.findall(r"[()]", bare):
        depth += 1 if mark == "(" else -1
        deepest = max(deepest, depth)
    return deepest
