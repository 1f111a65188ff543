"""A conversation as a model's dialect has it: the prompt, the form that the answer is held to, and how it is read.

What a dialect is, pure: `offgrid.dialects`. Here it meets the model: its template, its vocabulary, its sampler.
"""

from dataclasses import dataclass, replace
from functools import cached_property

from offgrid.dialects.calls import calls_grammar
from offgrid.dialects.conversation import begun_answer, conversation, ending_with, with_plain_arguments
from offgrid.dialects.dialect import Dialect, dialect_of
from offgrid.dialects.reply import ReplyParser
from offgrid.dialects.syntax import CallSyntax
from offgrid.dialects.traits import Traits, traits_of
from offgrid.errors import BadRequest
from offgrid.grammar.either import either
from offgrid.types import Thinking, ToolUse
from offgrid.worker.control import ControlTokens
from offgrid.worker.model import Model
from offgrid.worker.refused import Refused
from offgrid.worker.reply import Reply
from offgrid.worker.sampling import Form, Sampler
from offgrid.worker.template import ChatTemplate, TemplateRefused

NO_GOING_ON = (
    "The messages end with one of the assistant, and this model's chat template cannot have its answer go on from it. "
    "Let them end with one of the user."
)


class Chats:
    """All that follows from the model and its template alone, found out when it is first needed."""

    def __init__(self, model: Model, template: ChatTemplate, control_tokens: ControlTokens):
        self.model = model
        self.template = template
        self.control_tokens = control_tokens
        self.dialect = dialect_of(template.source)

    def chat(self, request: dict) -> "Chat":
        """The conversation of a frame (GenerateRequest or RenderRequest). Raises Refused."""
        use = ToolUse(**request["tool_use"]) if request["tool_use"] else None
        thinking = Thinking(**request["thinking"])
        given = {"messages": with_plain_arguments(request["messages"]), "use": request["tool_use"]}
        marked, mark = self.control_tokens.marked({**given, "values": request["template_values"]})
        marked_use = ToolUse(**marked["use"]) if marked["use"] else None
        values = _thinking_values(thinking) | marked["values"]
        try:
            given_messages, begun = begun_answer(marked["messages"])
            messages, tools = conversation(given_messages, marked_use, self.dialect, self.traits)
            prompt = self.template.render(messages, tools, values, begins_turn=begun is None)
        except TemplateRefused as refusal:
            raise Refused(kind="bad_request", message=str(refusal), param="messages") from refusal
        if begun is not None and (prompt := ending_with(begun, prompt)) is None:
            raise Refused(kind="bad_request", message=NO_GOING_ON, param="messages")
        return Chat(self, prompt, mark, use, thinking, request.get("grammar", ""), is_begun=bool(begun))

    @cached_property
    def traits(self) -> Traits:
        return traits_of(self.template.render)

    @cached_property
    def names(self) -> dict[str, int]:
        """The dialect's markers that are control tokens of this model, and none that ends a text."""
        found = {text: token for token, text in self.model.control_tokens.items() if text in self.dialect.markers}
        return {text: token for text, token in found.items() if not self.model.is_eog(token)}

    @cached_property
    def cut(self) -> list[int]:
        """The tokens that end a thought and lead to the answer."""
        return self.tokens(self.dialect.cut_thinking)

    def tokens(self, text: str) -> list[int]:
        return self.model.tokenize(text, add_special=False, parse_special=True)


@dataclass(frozen=True)
class Chat:
    chats: Chats
    marked_prompt: str
    mark: str  # inside of spelled control tokens of the prompt, as `ControlTokens.marked` has it; "": nowhere
    use: ToolUse | None
    thinking: Thinking
    grammar: str  # what the whole answer is held to, thinking aside; "": nothing
    is_begun: bool = False  # the prompt ends with the first words of the answer

    @property
    def prompt(self) -> str:
        return self.marked_prompt.replace(self.mark, "") if self.mark else self.marked_prompt

    @cached_property
    def dialect(self) -> Dialect:
        """The model's, with those calls only that this answer may hold."""
        dialect = self.chats.dialect
        if self.use is None:
            return replace(dialect, calls=CallSyntax(()))
        if not self.grammar:
            return dialect
        # Beside another form only those that are told from it by their first characters, and these only at the start:
        # behind it a trigger is a part of the other form, such as a string of JSON.
        forms = tuple(replace(form, trigger=None) for form in dialect.calls.forms if form.trigger)
        return replace(dialect, calls=CallSyntax(forms))

    @property
    def is_more_than_text(self) -> bool:
        """Whether the answer may hold anything but content."""
        return self.use is not None or self.dialect.thinking is not None

    @cached_property
    def is_thinking(self) -> bool:
        """The prompt ends in the midst of thinking."""
        thinking = self.dialect.thinking
        return thinking is not None and self.marked_prompt.rstrip().endswith(thinking[0])

    @cached_property
    def form(self) -> Form | None:
        """What the answer is held to. Raises Refused: a tool's schema cannot be."""
        if self.use is None:
            return self._from_answer_on(self.grammar, "grammar") if self.grammar else None
        if not self.dialect.calls.forms:
            message = "This model writes its calls as bare JSON, so tools cannot stand beside a form of the answer."
            raise Refused(kind="bad_request", message=message, param="response_format")
        try:
            grammar = calls_grammar(self.dialect, self.use)
            if self.grammar and not self.use.is_forced:
                grammar = either(grammar, self.grammar, "response_format")
        except BadRequest as error:
            raise Refused(kind="bad_request", message=error.message, param=error.param) from error
        if self.is_whole:
            return self._from_answer_on(grammar, "tools")
        return Form(grammar, is_late=True, spoken=self.chats.names, param="tools")

    @property
    def is_whole(self) -> bool:
        """The answer is held to a form from its begin to its end."""
        return bool(self.grammar) or (self.use is not None and self.use.is_forced)

    def _from_answer_on(self, grammar: str, param: str) -> Form:
        opening = None
        may_think = self.dialect.thinking is not None and self.thinking.is_enabled is not False
        if may_think and not self.is_thinking and not self.is_begun:
            begin = self.chats.tokens(self.dialect.thinking[0])
            opening = begin[0] if len(begin) == 1 else None
        spoken = self.chats.names if self.use else {}
        return Form(grammar, is_late=self.is_thinking, opening=opening, spoken=spoken, param=param)

    def reply(self, stop: tuple[str, ...], sampler: Sampler) -> Reply:
        parser = ReplyParser(
            self.dialect,
            has_tools=self.use is not None,
            is_thinking=self.is_thinking,
            is_begun=self.is_begun and not self.is_whole,
            separates_thinking=self.thinking.is_separate,
            on_call=(lambda text: True) if self.is_whole else sampler.hold,
        )
        markers = self.dialect.markers
        spelled = {token: text.encode() for text, token in self.chats.names.items() if text in markers}
        budget = 0 if self.thinking.is_enabled is False else self.thinking.budget
        holder = sampler if self.is_whole else None
        return Reply(parser, stop, spelled, budget=budget, cut=self.chats.cut, holder=holder)


def _thinking_values(thinking: Thinking) -> dict:
    """The names by which templates are told about thinking."""
    values: dict = {}
    if thinking.is_enabled is not None:
        values |= {"enable_thinking": thinking.is_enabled, "thinking": thinking.is_enabled}
    if thinking.effort is not None:
        values["reasoning_effort"] = thinking.effort
    return values
