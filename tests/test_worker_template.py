"""Chat templates: rendered as models expect, and harmless when they are not."""

import pytest

from offgrid.worker.template import ChatTemplate, TemplateRefused

HELLO = [{"role": "user", "content": "Hello <b>"}]


def test_a_model_without_a_template_gets_chatml():
    assert ChatTemplate(None).render(HELLO) == "<|im_start|>user\nHello <b><|im_end|>\n<|im_start|>assistant\n"


def test_bos_and_eos_and_the_generation_prompt_are_known_to_the_template():
    source = (
        "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{{ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}>{% endif %}"
    )
    assert ChatTemplate(source, bos="<s>", eos="</s>").render(HELLO) == "<s>Hello <b></s>>"


def test_json_is_not_escaped_for_html():
    assert ChatTemplate("{{ messages | tojson }}").render(HELLO) == '[{"role": "user", "content": "Hello <b>"}]'


def test_a_refusal_of_the_template_comes_out_in_its_own_words():
    template = ChatTemplate("{{ raise_exception('roles must alternate') }}")
    with pytest.raises(TemplateRefused, match="roles must alternate"):
        template.render(HELLO)


@pytest.mark.parametrize(
    "source",
    [
        "{% for %}",
        "{{ messages.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages[7].content.x }}",
        "{{ messages.append(1) }}",
        "{{ 'x' * 100000000000 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ 1 / 0 }}",
    ],
)
def test_a_broken_or_hostile_template_is_refused(source):
    with pytest.raises(TemplateRefused):
        ChatTemplate(source).render(HELLO)


def test_a_template_that_never_ends_is_stopped(monkeypatch):
    monkeypatch.setattr("offgrid.worker.template.TIME_LIMIT_S", 0.05)
    loop = "{% for i in range(9999) %}" * 3 + "{% endfor %}" * 3
    with pytest.raises(TemplateRefused, match="did not finish"):
        ChatTemplate(loop).render(HELLO)


def test_further_names_are_those_of_the_caller_whatever_they_are_called():
    template = ChatTemplate("{{ self }}{{ tools }}{{ messages[0].content }}")
    assert template.render(HELLO, None, {"self": 1, "values": 2}).endswith("Hello <b>")
