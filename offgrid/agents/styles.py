"""The styles of an agent: how a step is asked for, what a model's text means, and how results go back to it.

`Reacting` and `Pondering` write steps as text under a grammar, which any model can be held to; `Calling` uses the
model's own format of tool calls. Pure.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from offgrid.agents import prompt
from offgrid.agents.step_grammar import ACTION, ANSWER, INPUT, THOUGHT, step_grammar, thought_then_answer
from offgrid.agents.steps import Call, Move
from offgrid.agents.tools.tool import Tool
from offgrid.types import Finish, Thinking, ToolUse

# A small model that has answered may go on with a step that it makes up.
STOPS = (f"\n{prompt.OBSERVATION.strip()}", f"\n{THOUGHT.strip()}", "\nTask:")
NO_THINKING = Thinking(is_enabled=False)  # the step has a thought of its own


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model wrote: text, what it thought before, calls in its own format (name, arguments as JSON)."""

    text: str
    thought: str
    calls: tuple[tuple[str, str], ...]
    end: Finish

    @property
    def is_cut(self) -> bool:
        return self.end.reason == "length"


class Style(Protocol):
    def opening(self, who: str, tools: Sequence[Tool]) -> list[dict]:
        """The messages before the conversation."""

    def task(self, task: str) -> dict: ...

    def asking(self, tools: Sequence[Tool]) -> dict:
        """The fields of a GenerateRequest for a step that may call one of these tools; without any it must answer."""

    def read(self, reply: Reply, n_before: int) -> Move:
        """What a reply means. `n_before`: calls of this run so far."""

    def results(self, move: Move, texts: Sequence[str], hint: str) -> list[dict]:
        """The messages that tell what came of a move's calls."""


class Reacting:
    """ReAct (Yao et al., 2022): thought, action, observation, over and over."""

    def opening(self, who: str, tools: Sequence[Tool]) -> list[dict]:
        told = prompt.with_tools(who, tools) if tools else prompt.without_tools(who)
        return [{"role": "system", "content": told}, *prompt.examples(tools)]

    def task(self, task: str) -> dict:
        return {"role": "user", "content": prompt.task_message(task)}

    def asking(self, tools: Sequence[Tool]) -> dict:
        return {"grammar": step_grammar(tools), "stop": STOPS, "thinking": NO_THINKING}

    def read(self, reply: Reply, n_before: int) -> Move:
        message = {"role": "assistant", "content": reply.text}
        before, is_answer, answer = f"\n{reply.text}".partition(f"\n{ANSWER}")
        if is_answer and answer.strip():
            return Move(message, _thought(before), answer=answer.strip(), is_cut=reply.is_cut)
        before, _, call = f"\n{reply.text}".partition(f"\n{ACTION}")
        name, _, arguments = call.partition(f"\n{INPUT}")
        try:
            given = json.loads(arguments)
        except ValueError:
            return Move(message, _thought(before), is_cut=True, problem=prompt.CUT)
        return Move(message, _thought(before), (Call(f"call_{n_before + 1}", name, given),))

    def results(self, move: Move, texts: Sequence[str], hint: str) -> list[dict]:
        found = "\n".join(f"{prompt.OBSERVATION}{text}" for text in texts)
        return [{"role": "user", "content": f"{found}\n{hint}"}]


class Pondering(Reacting):
    """Chain of thought: several thoughts, then the answer; no tools."""

    def opening(self, who: str, tools: Sequence[Tool]) -> list[dict]:
        return super().opening(who, ())

    def asking(self, tools: Sequence[Tool]) -> dict:
        return {"grammar": thought_then_answer(), "stop": (STOPS[0], STOPS[2]), "thinking": NO_THINKING}


class Calling:
    """Tools in the model's own format, several at a time."""

    def opening(self, who: str, tools: Sequence[Tool]) -> list[dict]:
        return [{"role": "system", "content": prompt.for_native_calls(who) if tools else who}]

    def task(self, task: str) -> dict:
        return {"role": "user", "content": task}

    def asking(self, tools: Sequence[Tool]) -> dict:
        return {"tool_use": ToolUse([_offered(tool) for tool in tools]) if tools else None}

    def read(self, reply: Reply, n_before: int) -> Move:
        calls, written = [], []
        for i, (name, arguments) in enumerate(reply.calls, n_before + 1):
            try:
                calls.append(Call(f"call_{i}", name, json.loads(arguments)))
            except ValueError:  # cut in its midst
                continue
            written.append(_written(calls[-1]))
        message = {"role": "assistant", "content": reply.text}
        if calls:
            thought = "\n".join(filter(None, (reply.thought.strip(), reply.text.strip())))
            return Move(message | {"tool_calls": written}, thought, tuple(calls))
        if reply.calls or not reply.text.strip():
            return Move(message, reply.thought.strip(), is_cut=reply.is_cut, problem=prompt.CUT)
        return Move(message, reply.thought.strip(), answer=reply.text.strip(), is_cut=reply.is_cut)

    def results(self, move: Move, texts: Sequence[str], hint: str) -> list[dict]:
        if not move.calls:
            return [{"role": "user", "content": "\n".join([*texts, hint])}]
        return [
            {"role": "tool", "tool_call_id": call.id, "name": call.tool, "content": text}
            for call, text in zip(move.calls, texts, strict=True)
        ]


STYLES: dict[str, Style] = {"react": Reacting(), "cot": Pondering(), "tools": Calling()}


def _thought(text: str) -> str:
    lines = (line.removeprefix(THOUGHT).strip() for line in text.split("\n"))
    return "\n".join(filter(None, lines))


def _offered(tool: Tool) -> dict:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}


def _written(call: Call) -> dict:
    function = {"name": call.tool, "arguments": json.dumps(call.arguments, ensure_ascii=False)}
    return {"id": call.id, "type": "function", "function": function}
