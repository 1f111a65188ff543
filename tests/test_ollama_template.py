"""Ollama's templates, put into Jinja and rendered as the worker does."""

import pytest

from offgrid.api.ollama.go_template import NotUnderstood, Template, to_jinja
from offgrid.errors import BadRequest
from offgrid.worker.template import ChatTemplate

SYSTEM = {"role": "system", "content": "S"}
TURNS = [
    {"role": "user", "content": "u1"},
    {"role": "assistant", "content": "a1"},
    {"role": "user", "content": "u2"},
]
OLD = (
    "{{ if .System }}<s>{{ .System }}</s>\n{{ end }}"
    "{{ if .Prompt }}<u>{{ .Prompt }}</u>\n{{ end }}<a>{{ .Response }}</a>\n"
)
NEW = (
    '{{- range .Messages }}{{ if eq .Role "user" }}<u>{{ .Content }}</u>{{ else if eq .Role "assistant" }}'
    "<a>{{ .Content }}</a>{{ else }}<s>{{ .Content }}</s>{{ end }}\n{{ end }}<a>"
)


def render(source: str, messages: list[dict]) -> str:
    return ChatTemplate(to_jinja(source)).render(messages)


@pytest.mark.parametrize(
    ("source", "messages", "prompt"),
    [
        (OLD, TURNS[:1], "<u>u1</u>\n<a>"),
        (OLD, [SYSTEM, TURNS[0]], "<s>S</s>\n<u>u1</u>\n<a>"),
        (OLD, [SYSTEM, *TURNS], "<s>S</s>\n<u>u1</u>\n<a>a1</a>\n<u>u2</u>\n<a>"),
        (NEW, [SYSTEM, *TURNS], "<s>S</s>\n<u>u1</u>\n<a>a1</a>\n<u>u2</u>\n<a>"),
        ("{{ .Prompt }}", TURNS, "u1a1u2"),
        ("Q: {{ .Prompt -}}   \n A:", TURNS[:1], "Q: u1A:"),
        ("x  {{- /* a note */ -}}  y{{ .Prompt }}", TURNS[:1], "xyu1"),
        ("{{ if and .System (not .Response) }}one{{ else }}two{{ end }}", TURNS[:1], "two"),
        ('{{ if or (eq .Prompt "u1" "u9") false }}{{ `a"b` }}{{ end }}', TURNS[:1], 'a"b'),
        ('{{ if ne .Prompt "u1" }}a{{ else if .Prompt }}{{ "{{ x }}" }}{{ end }}é☃😀', TURNS[:1], "{{ x }}é☃😀"),
        ("{{ range .Messages }}{{ $.System }}:{{ .Role }} {{ end }}", [SYSTEM, TURNS[0]], "S:system S:user "),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", TURNS, "u1a1u2"),
        ("{%% {{ .Prompt }}", TURNS[:1], None),
    ],
)
def test_a_template_is_rendered_as_ollama_does(source, messages, prompt):
    if prompt is None:  # what looks like Jinja is left to Jinja
        assert to_jinja(source) == source
    else:
        assert render(source, messages) == prompt


def test_what_stands_in_a_template_is_never_read_as_jinja():
    source = 'a "quote" \\n {# no note #} %} {{ .Prompt }} {{ "{%" | }}'
    with pytest.raises(NotUnderstood):
        to_jinja(source.replace("{%", ""))
    assert render('a "quote" \\n {# no note #} %} {{ .Prompt }}', TURNS[:1]) == 'a "quote" \\n {# no note #} %} u1'


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("{{ .Tools }}", ".Tools is no name"),
        ("{{ range .Messages }}{{ .ToolCalls }}{{ end }}", ".ToolCalls is no name"),
        ("{{ range .Tools }}{{ end }}", "range over .Tools"),
        ("{{ range $i, $m := .Messages }}{{ end }}", "the variables $i, $m"),
        ("{{ $x := 1 }}", "$x is no name"),
        ("{{ if .Prompt }}", "without its {{ end }}"),
        ("{{ range .Messages }}", "without its {{ end }}"),
        ("{{ end }}", "{{ end }} without an if"),
        ("{{ else }}", "without an if"),
        ("{{ .Prompt", "without its }}"),
        ("{{ }}", "nothing in it"),
        ("{{ if not .A .B }}{{ end }}", "no name"),
        ("{{ eq .Prompt }}", "eq with 1 values"),
        ("{{ json .Prompt }}", "json is no name"),
        ("{{ .Prompt | upper }}", "'|' in"),
        ("{{ (eq .Prompt .System }}", "a ( without its )"),
        ("{{ 'x' }}", "x"),
    ],
)
def test_what_is_not_understood_is_refused_by_its_name(source, what):
    with pytest.raises(BadRequest) as caught:
        Template().read(source, "template")
    assert caught.value.param == "template"
    assert what in caught.value.message


def test_deep_nesting_is_refused_and_ends():
    for source in ("{{ if .Prompt }}" * 10_000, "{{ " + "(" * 10_000, "{{ " + "not " * 10_000 + "}}"):
        with pytest.raises(NotUnderstood):
            to_jinja(source)
