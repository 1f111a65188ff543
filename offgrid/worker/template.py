"""The model's own chat template: messages in, the prompt text out.

A template comes out of a downloaded file, so it runs in Jinja's sandbox, with a time limit and without operators that
build huge values. Covered: loops, attribute access, `*` and `**`. Not covered: a template that uses much memory
within the time limit; the worker's own process bounds that damage.

`render` must be called by the main thread, because the time limit is a POSIX interval timer.
"""

import json
import signal
import time
from typing import ClassVar

from jinja2 import TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

TIME_LIMIT_S = 2.0
MAX_REPEAT = 100_000

# For a file that brings none; llama.cpp falls back to the same.
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class TemplateRefused(Exception):
    """The template cannot be used with these messages; the message says why, in its own words if it has any."""


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(["*", "**"])

    def call_binop(self, context, operator, left, right):
        numbers = isinstance(left, (int, float)) and isinstance(right, (int, float))
        if operator == "**" or not numbers:
            size = max((abs(v) for v in (left, right) if isinstance(v, (int, float))), default=0)
            if size > MAX_REPEAT:
                raise SecurityError(f"{operator} with {size} is too large")
        return super().call_binop(context, operator, left, right)


class ChatTemplate:
    def __init__(self, source: str | None, *, bos: str = "", eos: str = ""):
        """`source` None: ChatML. `bos` and `eos` are the texts that the template knows as bos_token and eos_token."""
        self.source = source or CHATML
        self._names = {"bos_token": bos, "eos_token": eos}
        self._template = None

    def like(self, source: str) -> "ChatTemplate":
        """Another template for the same model."""
        return ChatTemplate(source, bos=self._names["bos_token"], eos=self._names["eos_token"])

    def render(
        self,
        messages: list[dict],
        tools: list[dict] | None = None,
        values: dict | None = None,
        *,
        begins_turn: bool = True,
    ) -> str:
        """The prompt for the assistant's next turn, or without that turn's begin; `values` are further names for the
        template. Raises TemplateRefused."""
        signal.signal(signal.SIGALRM, _too_slow)
        signal.setitimer(signal.ITIMER_REAL, TIME_LIMIT_S)
        try:
            if self._template is None:
                self._template = _environment().from_string(self.source)
            names = {**(values or {}), **self._names, "messages": messages, "add_generation_prompt": begins_turn}
            return self._template.render(names if tools is None else {**names, "tools": tools})
        except TemplateRefused:
            raise
        except (
            TemplateError,
            TypeError,
            ValueError,
            ArithmeticError,
            LookupError,
            AttributeError,
            RecursionError,
        ) as e:
            raise TemplateRefused(f"The model's chat template refuses these messages: {e}") from e
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


class _Generation(Extension):
    """`{% generation %}` marks what a model is trained on; to a prompt it means nothing."""

    tags: ClassVar = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


def _environment() -> _Sandbox:
    environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation])
    environment.globals.update(raise_exception=_raise_exception, strftime_now=time.strftime)
    environment.filters["tojson"] = _to_json
    return environment


def _raise_exception(message: str):
    raise TemplateRefused(str(message))


def _to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False) -> str:
    # Jinja's own filter escapes < and > for HTML, which the models have never seen. The names are transformers' own.
    separators = tuple(separators) if separators else None
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _too_slow(_number, _frame):
    raise TemplateRefused(f"The model's chat template did not finish within {TIME_LIMIT_S:g} s.")
