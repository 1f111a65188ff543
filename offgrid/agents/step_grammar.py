"""The grammar of one step in text: a thought in one line, then the call of a tool or the answer.

    Thought: I need the product of these numbers.
    Action: calculator
    Action Input: {"expression": "2*3"}

Pure. Must stay true: an action names one of the tools that are given, and its input is a JSON object that its schema
allows, so that whatever model writes a step, `text_steps.read` understands it.
"""

import json
from collections.abc import Sequence
from functools import lru_cache

from offgrid.agents.tools.tool import Tool
from offgrid.errors import BadRequest
from offgrid.grammar.builder import Builder
from offgrid.grammar.charset import without
from offgrid.grammar.schema import schema_expr
from offgrid.grammar.soundness import finite
from offgrid.grammar.syntax import Chars, Expr, Ref, Text, alt, seq, times

THOUGHT, ACTION, INPUT, ANSWER = "Thought: ", "Action: ", "Action Input: ", "Answer: "
MAX_THOUGHT_CHARS = 160
MAX_THOUGHTS = 8  # lines, where nothing but thinking comes before the answer
MAX_SCHEMA_BYTES = 8000  # what a small context can hold of a tool; a larger one is not offered
_VISIBLE = ((33, 0xD7FF), (0xE000, 0x10FFFF))
_IN_LINE = without(((32, 0xD7FF), (0xE000, 0x10FFFF)), ((127, 127),))
_ANY = Chars(((9, 10), (32, 0xD7FF), (0xE000, 0x10FFFF)))


def thought_then_answer() -> str:
    """The GBNF of a step that calls nothing but thinks at length."""
    return _grammar((), n_thoughts=MAX_THOUGHTS)


def step_grammar(tools: Sequence[Tool]) -> str:
    """The GBNF of a step that may call one of `tools`, each of them usable; without any it must answer."""
    return _grammar(tuple((tool.name, json.dumps(tool.parameters)) for tool in tools), n_thoughts=1)


def why_unusable(parameters: object) -> str:
    """Why no model can be held to a tool's schema, so that it is not offered; "" where it can."""
    if not isinstance(parameters, dict):
        return "Its schema is not that of an object."
    try:
        text = json.dumps(parameters)
    except (ValueError, RecursionError):
        return "Its schema is nested too deep."
    if len(text) > MAX_SCHEMA_BYTES:
        return f"Its schema has {len(text)} bytes, and a model is told of at most {MAX_SCHEMA_BYTES}."
    return _why(text)


@lru_cache(maxsize=512)
def _why(parameters: str) -> str:
    try:
        builder = Builder("parameters")
        builder.rules["root"] = _arguments(builder, parameters)
        builder.text()
    except BadRequest as error:
        return error.message
    return ""


@lru_cache(maxsize=64)  # every step of a run asks for the same ones
def _grammar(tools: tuple[tuple[str, str], ...], n_thoughts: int) -> str:
    builder = Builder("tools")
    line = builder.rule("line", seq(Chars(_VISIBLE), times(Chars(_IN_LINE), 0, MAX_THOUGHT_CHARS - 1), Text("\n")))
    thought = builder.rule("thought", seq(Text(THOUGHT), line))
    answer = builder.rule("answer", seq(Text(ANSWER), Chars(_VISIBLE), times(_ANY, 0, None)))
    ends: list[Expr] = [answer]
    if calls := [_call(builder, name, parameters) for name, parameters in tools]:
        ends.append(builder.rule("action", seq(Text(ACTION), alt(*calls))))
    builder.rules["root"] = seq(times(thought, 1, n_thoughts), alt(*ends))
    return builder.text()


def _call(builder: Builder, name: str, parameters: str) -> Ref:
    arguments = builder.rule(f"{name}-input", _arguments(builder, parameters))
    return builder.rule(f"{name}-call", seq(Text(f"{name}\n{INPUT}"), arguments))


def _arguments(builder: Builder, parameters: str) -> Expr:
    schema = json.loads(parameters)
    if not schema or not schema.get("properties", True):  # a tool that takes nothing, however it says so
        return Text("{}")
    expr = schema_expr(builder, schema, "parameters", is_object=True)
    ref = builder.rule("arguments", expr)
    if ref.name not in finite(builder.rules):
        raise BadRequest("parameters: no JSON object fits.", param="parameters")
    return ref
