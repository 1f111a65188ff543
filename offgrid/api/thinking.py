"""How a model is to think before it answers, in the words of OpenAI, llama-server and vLLM's clients."""

from offgrid.api.fields import Fields
from offgrid.errors import BadRequest
from offgrid.types import Thinking

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
FORMATS = ("none", "auto", "deepseek")
BUDGETS = ("thinking_budget_tokens", "reasoning_budget_tokens", "reasoning_budget")  # llama-server's names
MOST_TOKENS = 2**31 - 1
# What a template is given by the server; chat_template_kwargs must not say it differently.
OWN_VALUES = ("messages", "tools", "add_generation_prompt", "bos_token", "eos_token")


def read_thinking(fields: Fields) -> tuple[Thinking, dict]:
    """(how to think, further values for the chat template). Raises BadRequest."""
    effort = fields.string("reasoning_effort")
    if effort is not None and effort not in EFFORTS:
        raise fields.refuse("reasoning_effort", "one of " + ", ".join(EFFORTS), effort)
    form = fields.string("reasoning_format", "auto")
    if form not in FORMATS:
        raise fields.refuse("reasoning_format", "one of " + ", ".join(FORMATS), form)
    budgets = {name: n for name in BUDGETS if (n := fields.whole(name, -1, MOST_TOKENS)) is not None}
    if len(set(budgets.values())) > 1:
        raise BadRequest(f"{' and '.join(budgets)} say different things; send one of them.", param=next(iter(budgets)))
    budget = next(iter(budgets.values()), -1)
    values = fields.take("chat_template_kwargs") or {}
    if not isinstance(values, dict):
        raise fields.refuse("chat_template_kwargs", "an object", values)
    if own := next((name for name in OWN_VALUES if name in values), None):
        raise fields.refuse("chat_template_kwargs", f"without {own}, which the request itself says", values)
    is_enabled = values.get("enable_thinking", values.get("thinking"))
    if not isinstance(is_enabled, bool):
        is_enabled = None
    if is_enabled is None and (effort == "none" or budget == 0):
        is_enabled = False
    thinking = Thinking(
        is_enabled=is_enabled,
        effort=None if effort == "none" else effort,
        budget=None if budget < 0 else budget,
        is_separate=form != "none",
    )
    return thinking, values
