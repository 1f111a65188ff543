"""The model's own chat template: messages in, the prompt text out.

A template comes out of a downloaded file, so it runs in Jinja's sandbox, with a time limit and without operators that
build huge values. Covered: loops, attribute access, `*` and `**`. Not covered: a template that uses much memory
within the time limit; the worker's own process bounds that damage.

`render` must be called by the main thread, because the time limit is a POSIX interval timer.
"""

import json
import signal
import time

from jinja2 import TemplateError
from jinja2.exceptions import SecurityError
from jinja2.ext import loopcontrols
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

    def render(self, messages: list[dict]) -> str:
        """The prompt for the assistant's next turn. Raises TemplateRefused."""
        signal.signal(signal.SIGALRM, _too_slow)
        signal.setitimer(signal.ITIMER_REAL, TIME_LIMIT_S)
        try:
            if self._template is None:
                self._template = _environment().from_string(self.source)
            return self._template.render(messages=messages, add_generation_prompt=True, **self._names)
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


def _environment() -> _Sandbox:
    environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.globals.update(raise_exception=_raise_exception, strftime_now=time.strftime)
    environment.filters["tojson"] = _to_json
    return environment


def _raise_exception(message: str):
    raise TemplateRefused(str(message))


def _to_json(value, indent=None) -> str:
    # Jinja's own filter escapes < and > for HTML, which the models have never seen.
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _too_slow(_number, _frame):
    raise TemplateRefused(f"The model's chat template did not finish within {TIME_LIMIT_S:g} s.")
