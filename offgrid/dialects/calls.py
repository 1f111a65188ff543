"""The grammar of a dialect's tool calls: the names of the tools and, for each, arguments that its schema allows.

It begins with the first character of a call's trigger, and nothing may follow the last call but the end of the text.
"""

import json
import re
from functools import lru_cache
from typing import NamedTuple

from offgrid.dialects.syntax import ARGUMENTS, NAME, CallForm, CallSyntax, Dialect, Either, Filler, Piece, Space
from offgrid.errors import BadRequest
from offgrid.grammar.builder import Builder
from offgrid.grammar.schema import MAX_SCHEMA_BYTES, schema_expr
from offgrid.grammar.soundness import finite
from offgrid.grammar.syntax import Expr, Ref, Text, alt, chars, seq, times
from offgrid.types import ToolUse

MAX_CALLS = 16  # in one answer
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")  # Anthropic's length
_NO_MEMBERS = {"type": "object", "additionalProperties": False}


class _Tool(NamedTuple):
    """What the grammar depends on; equal for equal tools."""

    name: str
    parameters: str  # as JSON
    path: str  # of the parameters
    must_hold: bool


def calls_grammar(dialect: Dialect, use: ToolUse) -> str:
    """The GBNF of one or more calls as `dialect` writes them.

    A schema that a grammar cannot hold is refused where the caller demands that it holds (a call is required, or the
    tool is `strict`); otherwise the arguments of that tool are any JSON object.

    Raises BadRequest; `param` is the place at fault.
    """
    _check_names(use)
    asked = [(i, tool) for i, tool in enumerate(use.tools) if use.only in (None, tool["function"]["name"])]
    tools = tuple(_read(tool, f"tools[{i}].{use.schema_at}", must_hold=use.is_forced) for i, tool in asked)
    return _grammar(dialect.calls, tools, is_parallel=use.is_parallel and use.only is None)


def _check_names(use: ToolUse) -> None:
    seen = set()
    for i, tool in enumerate(use.tools):
        name, path = tool["function"]["name"], f"tools[{i}].function.name"
        if not _NAME.fullmatch(name):
            raise BadRequest(f"{path} must be 1 to 128 letters, digits, _ . or -; this is {name!r}.", param=path)
        if name in seen:
            raise BadRequest(f"{path}: there is another tool of the name {name}.", param=path)
        seen.add(name)
    if use.only is not None and use.only not in seen:
        message = f"tool_choice names {use.only!r}, and tools has no such tool; there are {', '.join(sorted(seen))}."
        raise BadRequest(message, param="tool_choice")


def _read(tool: dict, path: str, *, must_hold: bool) -> _Tool:
    function = tool["function"]
    parameters = function.get("parameters")
    if parameters is None or _has_no_members(parameters):
        parameters = _NO_MEMBERS
    if not isinstance(parameters, dict) or not _may_be_object(parameters.get("type")):
        raise BadRequest(f'{path} must be the JSON Schema of an object, such as {{"type": "object"}}.', param=path)
    try:
        text = json.dumps(parameters)
    except RecursionError:
        raise BadRequest(f"{path} is nested too deep.", param=path) from None
    return _Tool(function["name"], text, path, must_hold or function.get("strict") is True)


def _may_be_object(type_: object) -> bool:
    return type_ is None or type_ == "object" or (isinstance(type_, list) and "object" in type_)


def _has_no_members(parameters: object) -> bool:
    """`properties` that are there and empty: how a tool without arguments is written."""
    return (
        isinstance(parameters, dict)
        and parameters.get("properties") == {}
        and parameters.keys() <= {"type", "properties", "required", "title", "description", "$schema"}
        and not parameters.get("required")
    )


@lru_cache(maxsize=64)  # agents send the same tools with every turn
def _grammar(syntax: CallSyntax, tools: tuple[_Tool, ...], *, is_parallel: bool) -> str:
    may_be_free = {tool for tool in tools if not tool.must_hold}
    is_large = sum(len(tool.parameters) for tool in tools) > MAX_SCHEMA_BYTES
    try:
        return _text(syntax, tools, may_be_free if is_large else set(), is_parallel=is_parallel)
    except BadRequest:
        if is_large or not may_be_free:
            raise
    try:
        free = {tool for tool in may_be_free if not _can_hold(tool)}
        return _text(syntax, tools, free, is_parallel=is_parallel)
    except BadRequest:  # each alone can be held, but not all together
        return _text(syntax, tools, may_be_free, is_parallel=is_parallel)


def _can_hold(tool: _Tool) -> bool:
    try:
        builder = Builder(tool.path)
        builder.rules["root"] = schema_expr(builder, json.loads(tool.parameters), tool.path, is_object=True)
        builder.text()
    except BadRequest:
        return False
    return True


def _text(syntax: CallSyntax, tools: tuple[_Tool, ...], free: set[_Tool], *, is_parallel: bool) -> str:
    builder = Builder("tools")
    arguments: dict[str, Ref] = {}
    for tool in tools:
        if tool in free:
            expr = builder.any_object()
        else:
            expr = schema_expr(builder, json.loads(tool.parameters), tool.path, is_object=True)
        arguments[tool.name] = builder.rule(f"{tool.name}-arguments", expr)
    endable = finite(builder.rules)
    for tool in tools:  # what has no text would be left out of the grammar in silence
        if arguments[tool.name].name not in endable:
            reason = "; ".join(builder.dead_ends[-3:]) or "it asks for values that contain themselves"
            raise BadRequest(f"{tool.path}: no JSON object fits: {reason}.", param=tool.path)
    builder.rules["root"] = alt(*(_form(builder, form, arguments, is_parallel=is_parallel) for form in syntax.forms))
    return builder.text()


def _form(builder: Builder, form: CallForm, arguments: dict[str, Ref], *, is_parallel: bool) -> Expr:
    at = form.call.index(NAME)
    before, after = form.call[:at], form.call[at + 1 :]
    named = [seq(Text(name), _expr(builder, after, expr)) for name, expr in arguments.items()]
    # What all calls begin with is written once: llama.cpp keeps every way to begin apart.
    call = builder.rule("call", seq(_expr(builder, before), builder.rule("named", alt(*named))))
    more: Expr = seq()
    if is_parallel and form.separator is not None:
        more = times(builder.rule("more-calls", seq(_expr(builder, form.separator), call)), 0, MAX_CALLS - 1)
    return seq(_expr(builder, form.opening), call, more, _expr(builder, form.closing))


def _expr(builder: Builder, pieces: tuple[Piece, ...], arguments: Expr | None = None) -> Expr:
    return seq(*(_piece(builder, piece, arguments) for piece in pieces))


def _piece(builder: Builder, piece: Piece, arguments: Expr | None) -> Expr:
    match piece:
        case str():
            return Text(piece)
        case Space():
            return builder.space
        case Filler(letters, low, high):
            return times(chars(*map("".join, zip(letters[::2], letters[1::2], strict=True))), low, high)
        case Either(options):
            return alt(*(_expr(builder, option, arguments) for option in options))
    assert piece == ARGUMENTS
    return arguments
