"""Ollama's templates, which are Go's, as the Jinja that chat templates are written in here.

Taken are the templates that people write into Modelfiles: if, else, range over .Messages, eq, ne, and, or, not, and the
names in NAMES and MESSAGE. Whatever else Go's language has is refused by its name: a template that is half understood
makes a model answer badly, and nobody sees why. Jinja itself is taken as it is.

A template with .Messages is given the whole conversation. Any other is one turn with .System, .Prompt and .Response: it
is repeated for each turn, and the last one ends where its .Response stands, as Ollama does.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from offgrid.api.shapes import Shape, wrong
from offgrid.errors import BadRequest

MAX_BYTES = 256 * 1024
MAX_DEPTH = 50
TOKEN = re.compile(r'\s*("(?:[^"\\\n]|\\.)*"|`[^`]*`|\$?\.?[A-Za-z_][\w.]*|\$|\.|[()|,]|:=|-?\d+)')
TEXT_OR_END = re.compile(r'"(?:[^"\\\n]|\\.)*"|`[^`]*`|\}\}')
NAMES = {"System": "System", "Prompt": "Prompt", "Response": "Response", "Messages": "messages"}
MESSAGE = {"Role": "role", "Content": "content"}
FUNCTIONS = {"eq": "==", "ne": "!=", "and": "and", "or": "or"}

WHOLE = """\
{%%- set System = messages|selectattr("role", "equalto", "system")|map(attribute="content")|join("\\n\\n") -%%}
{%%- set Prompt = "" -%%}{%%- set Response = "" -%%}%s"""
TURNS = """\
{%%- macro turn(System, Prompt, Response) -%%}%s{%%- endmacro -%%}
{%%- macro last(System, Prompt, Response) -%%}%s{%%- endmacro -%%}
{%%- set now = namespace(system="", prompt="", response="") -%%}
{%%- for message in messages -%%}
{%%- if now.response or (message.role == "system" and now.prompt) -%%}
{{- turn(now.system, now.prompt, now.response) -}}
{%%- set now.system = "" -%%}{%%- set now.prompt = "" -%%}{%%- set now.response = "" -%%}
{%%- endif -%%}
{%%- if message.role == "system" -%%}{%%- set now.system = message.content -%%}
{%%- elif message.role == "assistant" -%%}{%%- set now.response = message.content -%%}
{%%- else -%%}{%%- set now.prompt = message.content -%%}{%%- endif -%%}
{%%- endfor -%%}
{{- last(now.system, now.prompt, now.response) -}}"""


class Template(Shape):
    """Read as Jinja; "" for none."""

    wanted = "a template of Ollama's kind, or Jinja"

    def read(self, value: Any, path: str) -> str:
        if not isinstance(value, str) or len(value) > MAX_BYTES:
            raise wrong(path, f"{self.wanted}, of at most {MAX_BYTES} characters", value)
        try:
            return to_jinja(value)
        except NotUnderstood as error:
            message = f"{path} is not understood: {error}. A Jinja template, as in model files, is taken too."
            raise BadRequest(message, param=path) from None

    def schema(self) -> dict:
        return {"type": "string", "maxLength": MAX_BYTES}


class NotUnderstood(Exception):
    """What in a template is not taken, for people."""


@dataclass
class Node:
    """`kind`: text, print, if, range. An if has its branches in order, with None for else."""

    kind: str
    text: str = ""  # literal text, or a Jinja expression
    branches: list[tuple[str | None, list["Node"]]] = field(default_factory=list)
    variable: str = ""  # of a range


def to_jinja(source: str) -> str:
    """Raises NotUnderstood."""
    if not source.strip() or "{%" in source:
        return source
    nodes = _Reader(source).nodes()
    body = _written(nodes)
    if _uses(nodes, "messages"):
        return WHOLE % body
    if not _uses(nodes, "Response"):
        nodes.append(Node("print", "Response"))
        body = _written(nodes)
    return TURNS % (body, _written(_until_response(nodes)[0]))


class _Reader:
    """Reads Go's template language into nodes, with white space trimmed where `{{-` and `-}}` ask for it."""

    def __init__(self, source: str):
        self._items = list(_items(source))
        self._at = 0
        self._loops: list[str] = []

    def nodes(self) -> list[Node]:
        nodes, stop = self._block()
        if stop:
            raise NotUnderstood(f"{{{{ {stop} }}}} without an if or a range before it")
        return nodes

    def _block(self) -> tuple[list[Node], str]:
        """Nodes up to the end, an `else …` or an `end`, which is returned too."""
        nodes: list[Node] = []
        while self._at < len(self._items):
            kind, text = self._items[self._at]
            self._at += 1
            if kind == "text":
                nodes.append(Node("text", text))
                continue
            word, _, rest = text.partition(" ")
            if word in ("else", "end"):
                return nodes, text
            if len(self._loops) > MAX_DEPTH:
                raise NotUnderstood("it is nested too deeply")
            if word == "if":
                nodes.append(self._if(rest))
            elif word == "range":
                nodes.append(self._range(rest))
            else:
                nodes.append(Node("print", self._expression(text)))
        return nodes, ""

    def _if(self, condition: str) -> Node:
        node = Node("if")
        asked: str | None = self._expression(condition)
        self._loops.append(self._loops[-1] if self._loops else "")
        while True:
            body, stop = self._block()
            node.branches.append((asked, body))
            if stop == "end":
                self._loops.pop()
                return node
            word, _, rest = stop.partition(" ")
            if word != "else" or asked is None or (rest and not rest.startswith("if ")):
                raise NotUnderstood("an if without its {{ end }}" if not stop else f"{{{{ {stop} }}}}")
            asked = self._expression(rest[3:]) if rest else None

    def _range(self, over: str) -> Node:
        names, is_named, source = over.rpartition(":=")
        if source.strip() not in (".Messages", "$.Messages"):
            raise NotUnderstood(f"range over {source.strip()[:40]}; .Messages can be")
        variable = f"m{len(self._loops)}"
        self._loops.append(variable)
        if is_named:
            raise NotUnderstood(f"the variables {names.strip()[:40]}")
        body, stop = self._block()
        if stop != "end":
            raise NotUnderstood("a range without its {{ end }}" if not stop else f"{{{{ {stop} }}}} in a range")
        self._loops.pop()
        return Node("range", "messages", [(None, body)], variable)

    def _expression(self, text: str) -> str:
        tokens, at = [], 0
        while at < len(text.rstrip()):
            match = TOKEN.match(text, at)
            if not match:
                raise NotUnderstood(f"{text[at : at + 40].strip()!r}")
            tokens.append(match[1])
            at = match.end()
        written, rest = self._call(tokens, 0)
        if rest:
            raise NotUnderstood(f"{rest[0]!r} in {text[:60]!r}")
        return written

    def _call(self, tokens: list[str], depth: int) -> tuple[str, list[str]]:
        """A function with its operands, or one operand; and what is left."""
        if not tokens or depth > MAX_DEPTH:
            raise NotUnderstood("an action with nothing in it" if not tokens else "it is nested too deeply")
        name = tokens[0]
        if name not in FUNCTIONS and name != "not":
            return self._operand(tokens, depth)
        operands, rest = [], tokens[1:]
        while rest and rest[0] != ")":
            operand, rest = self._operand(rest, depth)
            operands.append(operand)
        if name == "not" and len(operands) == 1:
            return f"(not {operands[0]})", rest
        if name == "not" or len(operands) < 2 or (name == "ne" and len(operands) > 2):
            raise NotUnderstood(f"{name} with {len(operands)} values")
        if name == "eq" and len(operands) > 2:  # equal to any of them
            return f"({operands[0]} in [{', '.join(operands[1:])}])", rest
        return "(" + f" {FUNCTIONS[name]} ".join(operands) + ")", rest

    def _operand(self, tokens: list[str], depth: int) -> tuple[str, list[str]]:
        first, rest = tokens[0], tokens[1:]
        if first == "(":
            written, rest = self._call(rest, depth + 1)
            if not rest or rest[0] != ")":
                raise NotUnderstood("a ( without its )")
            return written, rest[1:]
        if first[0] in '"`':
            return _quoted(_unquoted(first)), rest
        if first in ("true", "false") or first.lstrip("-").isdigit():
            return first, rest
        return self._name(first), rest

    def _name(self, token: str) -> str:
        loop = self._loops[-1] if self._loops else ""
        name = token.removeprefix("$").removeprefix(".")
        if token.startswith("$.") or (token.startswith(".") and not loop):
            if name in NAMES:
                return NAMES[name]
        elif token.startswith(".") and name in MESSAGE:
            return f"{loop}.{MESSAGE[name]}"
        raise NotUnderstood(f"{token[:40]} is no name that templates have here")


def _items(source: str) -> Iterator[tuple[str, str]]:
    """("text", text) and ("action", what stands in the braces), comments left out."""
    at, trims = 0, False
    while True:
        start = source.find("{{", at)
        text = source[at:] if start < 0 else source[at:start]
        if trims:
            text = text.lstrip()
        if start < 0:
            if text:
                yield "text", text
            return
        end = _end_of_action(source, start + 2)
        inside = source[start + 2 : end]
        if inside.startswith("-") and inside[1:2].isspace():
            inside, text = inside[1:], text.rstrip()
        trims = inside.endswith("-") and inside[-2:-1].isspace()
        inside = (inside[:-1] if trims else inside).strip()
        if text:
            yield "text", text
        if not (inside.startswith("/*") and inside.endswith("*/")):
            yield "action", " ".join(inside.split()) if '"' not in inside and "`" not in inside else inside
        at = end + 2


def _end_of_action(source: str, at: int) -> int:
    """Where its }} stands; not one within a string."""
    for match in TEXT_OR_END.finditer(source, at):
        if match[0] == "}}":
            return match.start()
    raise NotUnderstood("an action without its }}")


def _unquoted(token: str) -> str:
    if token[0] == "`":
        return token[1:-1]
    try:
        return json.loads(token)
    except ValueError:
        raise NotUnderstood(f"the text {token[:40]}") from None


def _quoted(text: str) -> str:
    """As a literal of Jinja, so that nothing in it is read as Jinja."""
    return json.dumps(text, ensure_ascii=False)


def _written(nodes: list[Node]) -> str:
    parts = []
    for node in nodes:
        if node.kind == "text":
            parts.append("{{- " + _quoted(node.text) + " -}}")
        elif node.kind == "print":
            parts.append("{{- " + node.text + " -}}")
        elif node.kind == "range":
            parts.append(f"{{%- for {node.variable} in messages -%}}{_written(node.branches[0][1])}{{%- endfor -%}}")
        else:
            for i, (condition, body) in enumerate(node.branches):
                word = "else" if condition is None else f"{'elif' if i else 'if'} {condition}"
                parts.append(f"{{%- {word} -%}}{_written(body)}")
            parts.append("{%- endif -%}")
    return "".join(parts)


def _uses(nodes: list[Node], name: str) -> bool:
    return f" {name} " in re.sub(r"[^\w]+", " ", re.sub(r'"(?:[^"\\]|\\.)*"', "", _written(nodes)))


def _until_response(nodes: list[Node]) -> tuple[list[Node], bool]:
    """The nodes up to the first that prints the answer; whether there is one."""
    kept: list[Node] = []
    for node in nodes:
        branches, is_there = [], node.kind == "print" and node.text == "Response"
        for condition, body in node.branches:
            body, is_cut = _until_response(body) if not is_there else ([], False)
            is_there = is_there or is_cut
            branches.append((condition, body))
        kept.append(Node(node.kind, node.text, branches, node.variable))
        if is_there:
            return kept, True
    return kept, False
