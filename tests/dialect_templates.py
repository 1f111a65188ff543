"""Small chat templates of our own, each with the shape of a family's."""

import json

from jinja2.sandbox import ImmutableSandboxedEnvironment

HERMES = """{%- if tools %}<|im_start|>system
{% if messages[0].role == 'system' %}{{ messages[0].content }}{% endif %}
{%- for tool in tools %}
{{ tool | tojson }}
{%- endfor %}
write <tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call><|im_end|>
{% endif %}
{%- for m in messages %}
{%- if m.role == 'assistant' and m.tool_calls %}<|im_start|>assistant
{{ m.content }}
{%- for call in m.tool_calls %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>
{%- endfor %}<|im_end|>
{% elif m.role == 'tool' %}<|im_start|>user
<tool_response>
{{ m.content }}
</tool_response><|im_end|>
{% elif m.role != 'system' or not tools %}<|im_start|>{{ m.role }}
{% if m.reasoning_content %}<think>
{{ m.reasoning_content }}
</think>
{% endif %}{{ m.content }}<|im_end|>
{% endif %}
{%- endfor %}<|im_start|>assistant
"""
LLAMA_3 = """{%- for m in messages %}
{%- if tools and loop.first %}{"name": function name, "parameters": {}}{{ tools | tojson }}{% endif %}
{%- if m.tool_calls %}{% if m.tool_calls | length != 1 %}{{ raise_exception("single tool-calls only") }}{% endif %}
{"name": "{{ m.tool_calls[0].function.name }}", "parameters": {{ m.tool_calls[0].function.arguments | tojson }}}
{%- elif m.role == 'tool' %}ipython {{ m.content }}{% else %}{{ m.role }} {{ m.content | trim }}{% endif %}
{% endfor %}"""
MISTRAL = """{%- set ns = namespace(n=0) %}
{%- for m in messages %}
{%- if m.role in ('user', 'assistant') and not m.tool_calls %}
{%- if (m.role == 'user') != (ns.n % 2 == 0) %}{{ raise_exception("roles must alternate") }}{% endif %}
{%- set ns.n = ns.n + 1 %}{% endif %}
{%- if m.tool_calls %}[TOOL_CALLS]{% for call in m.tool_calls %}
{%- if call.id | length != 9 %}{{ raise_exception("Tool call IDs should have length 9!") }}{% endif %}
{{- call.function.name }}[ARGS]{{ call.function.arguments | tojson }}{% endfor %}
{%- elif m.role == 'tool' %}[TOOL_RESULTS]{{ m.tool_call_id }} {{ m.content }}
{%- else %}{% if tools and loop.last %}{{ tools | tojson }}{% endif %}[INST]{{ m.content }}[/INST]{% endif %}
{%- endfor %}"""
DEEPSEEK_R1 = """{%- for m in messages %}
{%- if m.role == 'assistant' and m.content is none %}{% for call in m.tool_calls -%}
<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>{{ call.function.name }}
```json
{{ '' + call.function.arguments }}
```<｜tool▁call▁end｜>{% endfor %}
{%- elif m.role == 'assistant' %}<｜Assistant｜>{{ m.content.split('</think>')[-1] }}
{%- elif m.role == 'tool' %}<｜tool▁output▁begin｜>{{ m.content }}
{%- else %}<｜User｜>{{ m.content }}{% endif %}{% endfor %}<｜Assistant｜><think>
"""
GEMMA_2 = """{%- for m in messages %}
{%- if m.role not in ('user', 'assistant') %}{{ raise_exception("System role not supported") }}{% endif %}
{%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception("roles must alternate") }}{% endif -%}
<start_of_turn>{{ m.role }}
{{ m.content }}<end_of_turn>
{% endfor %}<start_of_turn>model
"""
HARMONY = """{%- if tools %}namespace functions {% for t in tools %}{{ t.function.name }}{% endfor %}{% endif %}
{%- for m in messages %}
{%- if m.tool_calls %}{% if m.content and m.thinking %}{{ raise_exception("not both") }}{% endif %}
{%- if m.thinking %}<|start|>assistant<|channel|>analysis<|message|>{{ m.thinking }}<|end|>{% endif -%}
<|start|>assistant to=functions.{{ m.tool_calls[0].function.name }}<|channel|>commentary json<|message|>
{{- m.tool_calls[0].function.arguments | tojson }}<|call|>
{%- elif m.role == 'tool' %}<|start|>functions.{{ m.name }} to=assistant<|channel|>commentary<|message|>
{{- m.content }}<|end|>
{%- else %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endif %}{% endfor %}<|start|>assistant"""
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)


def renderer(source: str):
    """`render(messages, tools)` of a template."""
    environment = ImmutableSandboxedEnvironment(keep_trailing_newline=True)
    environment.globals["raise_exception"] = _refuse
    environment.filters["tojson"] = _to_json
    template = environment.from_string(source)
    return lambda messages, tools: template.render(messages=messages, tools=tools, add_generation_prompt=True)


def _refuse(message: str):
    raise ValueError(message)


def _to_json(value) -> str:
    return json.dumps(value, ensure_ascii=False)
