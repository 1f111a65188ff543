"""From a request frame to token ids: the chat template, the tokenizer and the check that it all fits.

Runs on the worker's main thread, beside the model's thread, so that a long prompt is tokenized while others decode.
"""

import time
from functools import cached_property

from offgrid.types import Sampling
from offgrid.worker.control import ControlTokens
from offgrid.worker.draft import Drafter
from offgrid.worker.model import Model
from offgrid.worker.refused import Refused
from offgrid.worker.scores import ScoredText
from offgrid.worker.sequence import Sequence
from offgrid.worker.template import ChatTemplate, TemplateRefused
from offgrid.worker.text import TextAssembler


class Preparer:
    def __init__(self, model: Model, template: ChatTemplate, n_limit: int, bos: str = "", *, can_draft: bool = False):
        """`n_limit`: the most tokens of one sequence, prompt and answer together."""
        self.model = model
        self.template = template
        self.n_limit = n_limit
        self._bos = bos
        self._can_draft = can_draft

    def sequence(self, request: dict) -> Sequence:
        """A Sequence ready to be scheduled. Raises Refused."""
        tokens = self._tokens(request)
        if not tokens:
            raise Refused(
                kind="bad_request", message="The prompt holds no tokens for this model.", param=_param(request)
            )
        if len(tokens) >= self.n_limit:
            raise Refused(kind="context_length", n_prompt_tokens=len(tokens), n_ctx=self.n_limit, param=_param(request))
        n_limit = min(self.n_limit, len(tokens) + (request["max_tokens"] or self.n_limit))
        sampling = Sampling(**request["sampling"])
        return Sequence(
            id=request["id"],
            tokens=tokens,
            n_prompt=len(tokens),
            n_limit=n_limit,
            sampler=self.model.sampler(sampling, tokens, n_limit - len(tokens), request["grammar"]),
            text=TextAssembler(tuple(request["stop"])),
            scores=None if request["logprobs"] is None else ScoredText(request["logprobs"]),
            time_limit_s=request["time_limit_s"],
            client=request["client"],
            drafter=Drafter(tokens) if self._can_draft else None,
            arrived=time.monotonic(),
        )

    def _tokens(self, request: dict) -> list[int]:
        if request["messages"] is None:
            return self.model.tokenize(request["prompt"], add_special=True, parse_special=True)
        prompt, mark = self._rendered(request["messages"])
        # Most templates write BOS themselves; the tokenizer must not add a second one.
        has_bos = bool(self._bos) and prompt.startswith(self._bos)
        if mark:
            return self.control_tokens.tokenize(prompt, mark, add_special=not has_bos)
        return self.model.tokenize(prompt, add_special=not has_bos, parse_special=True)

    def prompt(self, messages: list[dict]) -> str:
        """The text that a conversation becomes for this model. Raises Refused."""
        prompt, mark = self._rendered(messages)
        return prompt.replace(mark, "") if mark else prompt

    def _rendered(self, messages: list[dict]) -> tuple[str, str]:
        """(prompt, mark), as `ControlTokens.marked` has it. Raises Refused."""
        messages, mark = self.control_tokens.marked(messages)
        try:
            return self.template.render(messages), mark
        except TemplateRefused as refusal:
            raise Refused(kind="bad_request", message=str(refusal), param="messages") from refusal

    @cached_property
    def control_tokens(self) -> ControlTokens:
        return ControlTokens(self.model)


def _param(request: dict) -> str:
    return "prompt" if request["messages"] is None else "messages"
