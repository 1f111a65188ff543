"""From a request frame to token ids: the chat template, the tokenizer and the check that it all fits.

Runs on the worker's main thread, beside the model's thread, so that a long prompt is tokenized while others decode.
"""

import time
from functools import cached_property

from offgrid.types import Sampling
from offgrid.worker.chat import Chat, Chats
from offgrid.worker.control import ControlTokens
from offgrid.worker.draft import Drafter
from offgrid.worker.model import Model
from offgrid.worker.refused import Refused
from offgrid.worker.sampling import Form
from offgrid.worker.scores import ScoredText
from offgrid.worker.sequence import Sequence
from offgrid.worker.template import ChatTemplate
from offgrid.worker.text import TextAssembler

MAX_OTHERS = 8  # templates that requests bring along


class Preparer:
    def __init__(self, model: Model, template: ChatTemplate, n_limit: int, bos: str = "", *, can_draft: bool = False):
        """`n_limit`: the most tokens of one sequence, prompt and answer together."""
        self.model = model
        self.n_limit = n_limit
        self._bos = bos
        self._can_draft = can_draft
        self._template = template
        self._others: dict[str, Chats] = {}  # template source → chats by it

    def sequence(self, request: dict) -> Sequence:
        """A Sequence ready to be scheduled. Raises Refused."""
        chat = self._chat(request)
        tokens = self._tokens(request, chat)
        if not tokens:
            raise Refused(
                kind="bad_request", message="The prompt holds no tokens for this model.", param=_param(request)
            )
        if len(tokens) >= self.n_limit:
            raise Refused(kind="context_length", n_prompt_tokens=len(tokens), n_ctx=self.n_limit, param=_param(request))
        n_limit = min(self.n_limit, len(tokens) + (request["max_tokens"] or self.n_limit))
        form = chat.form if chat else Form(request["grammar"]) if request["grammar"] else None
        sampler = self.model.sampler(Sampling(**request["sampling"]), tokens, n_limit - len(tokens), form)
        stop = tuple(request["stop"])
        return Sequence(
            id=request["id"],
            tokens=tokens,
            n_prompt=len(tokens),
            n_limit=n_limit,
            sampler=sampler,
            text=chat.reply(stop, sampler) if chat and chat.is_more_than_text else TextAssembler(stop),
            scores=None if request["logprobs"] is None else ScoredText(request["logprobs"]),
            time_limit_s=request["time_limit_s"],
            client=request["client"],
            drafter=Drafter(tokens) if self._can_draft else None,
            arrived=time.monotonic(),
        )

    def prompt(self, request: dict) -> str:
        """The text that a conversation becomes for this model. Raises Refused."""
        chats = self._chats_of(request["template"]) if request["template"] else self.chats
        return chats.chat(request).prompt

    def count(self, request: dict) -> int:
        """How many tokens `sequence` would make of the same prompt. Raises Refused."""
        return len(self._tokens(request, self._chat(request)))

    def _chat(self, request: dict) -> Chat | None:
        return None if request["messages"] is None else self.chats.chat(request)

    def _tokens(self, request: dict, chat: Chat | None) -> list[int]:
        if chat is None:
            return self.model.tokenize(request["prompt"], add_special=True, parse_special=True)
        # Most templates write BOS themselves; the tokenizer must not add a second one.
        has_bos = bool(self._bos) and chat.marked_prompt.startswith(self._bos)
        if chat.mark:
            return self.control_tokens.tokenize(chat.marked_prompt, chat.mark, add_special=not has_bos)
        return self.model.tokenize(chat.marked_prompt, add_special=not has_bos, parse_special=True)

    @cached_property
    def control_tokens(self) -> ControlTokens:
        return ControlTokens(self.model)

    @cached_property
    def chats(self) -> Chats:
        return Chats(self.model, self._template, self.control_tokens)

    def _chats_of(self, source: str) -> Chats:
        """The same with another template; some are kept, as what a template can do is found out by trying it."""
        if source not in self._others:
            if len(self._others) >= MAX_OTHERS:
                self._others.pop(next(iter(self._others)))
            self._others[source] = Chats(self.model, self._template.like(source), self.control_tokens)
        return self._others[source]


def _param(request: dict) -> str:
    return "prompt" if request["messages"] is None else "messages"
