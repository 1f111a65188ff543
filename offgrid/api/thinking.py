"""How a model is to think before it answers, in the words of OpenAI, llama-server and vLLM's clients."""

from typing import Any, ClassVar

from offgrid.api.fields import Asked, Field
from offgrid.api.shapes import Choice, Shape, Whole, wrong
from offgrid.errors import BadRequest
from offgrid.types import Thinking

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
FORMATS = ("none", "auto", "deepseek")
BUDGETS = ("thinking_budget_tokens", "reasoning_budget_tokens", "reasoning_budget")  # llama-server's names
MOST_TOKENS = 2**31 - 1
# What a template is given by the server; chat_template_kwargs must not say it differently.
OWN_VALUES = ("messages", "tools", "add_generation_prompt", "bos_token", "eos_token")


class TemplateValues(Shape):
    wanted = "an object"

    def read(self, value: Any, path: str) -> dict:
        if not isinstance(value, dict):
            raise wrong(path, self.wanted, value)
        if own := next((name for name in OWN_VALUES if name in value), None):
            raise wrong(path, f"without {own}, which the request itself says", value)
        return value

    def schema(self) -> dict:
        return {"type": "object", "propertyNames": {"not": {"enum": list(OWN_VALUES)}}}


class OnOff(Shape):
    """true and false, or {"type": "enabled"} and {"type": "disabled"}, as GLM's and LoLLMs' clients write it."""

    wanted = 'true, false, {"type": "enabled"} or {"type": "disabled"}'
    words: ClassVar = {"enabled": True, "disabled": False}

    def read(self, value: Any, path: str) -> bool:
        if isinstance(value, bool):
            return value
        if not isinstance(value, dict) or [*value] != ["type"] or value["type"] not in [*self.words]:
            raise wrong(path, self.wanted, value)
        return self.words[value["type"]]

    def schema(self) -> dict:
        kind = {"type": "string", "enum": [*self.words]}
        as_object = {"type": "object", "properties": {"type": kind}, "required": ["type"]}
        return {"anyOf": [{"type": "boolean"}, as_object | {"additionalProperties": False}]}


_BUDGET = "So many tokens of thinking at most; 0 is off, -1 no limit."
THINKING = (
    Field("reasoning_effort", Choice(EFFORTS), "none is off; degrees are for templates that know them."),
    Field("thinking", OnOff(), "Whether to think; enable_thinking in chat_template_kwargs says more."),
    Field("reasoning_format", Choice(FORMATS), "none leaves the thinking in content.", "auto"),
    *(Field(name, Whole(-1, MOST_TOKENS), _BUDGET) for name in BUDGETS),
    Field("chat_template_kwargs", TemplateValues(), "Further names for the chat template, such as enable_thinking."),
)


def read_thinking(asked: Asked) -> tuple[Thinking, dict]:
    """(how to think, further values for the chat template). Raises BadRequest."""
    effort = asked["reasoning_effort"]
    budgets = {name: asked[name] for name in BUDGETS if name in asked}
    if len(set(budgets.values())) > 1:
        raise BadRequest(f"{' and '.join(budgets)} say different things; send one of them.", param=next(iter(budgets)))
    budget = next(iter(budgets.values()), -1)
    values = asked.get("chat_template_kwargs", {})
    is_enabled = values.get("enable_thinking", values.get("thinking"))
    if not isinstance(is_enabled, bool):
        is_enabled = asked["thinking"]
    if is_enabled is None and (effort == "none" or budget == 0):
        is_enabled = False
    thinking = Thinking(
        is_enabled=is_enabled,
        effort=None if effort == "none" else effort,
        budget=None if budget < 0 else budget,
        is_separate=asked["reasoning_format"] != "none",
    )
    return thinking, values
