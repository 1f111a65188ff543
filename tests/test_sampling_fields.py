"""The fields of sampling as clients send them: read into what they mean, or refused by name."""

import pytest

from offgrid.api.fields import Object
from offgrid.api.logprobs import CHAT_LOGPROBS, TEXT_LOGPROBS, read_chat_logprobs
from offgrid.api.sampling import GENERATING, read_generation
from offgrid.errors import BadRequest
from offgrid.sections import ModelSettings
from offgrid.types import SAMPLERS, Sampling


def read(**body):
    return read_generation(Object(*GENERATING).read(body, ""), ModelSettings(), "m", "me")


def chat_logprobs(**body):
    return read_chat_logprobs(Object(*CHAT_LOGPROBS).read(body, ""))


def text_logprobs(**body):
    return Object(TEXT_LOGPROBS).read(body, "")["logprobs"]


def test_without_fields_everything_is_as_usual():
    assert read().sampling == Sampling()
    assert read().time_limit_s is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("typical_p", 0.5),
        ("top_n_sigma", 1.5),
        ("xtc_probability", 0.5),
        ("xtc_threshold", 0.2),
        ("dynatemp_range", 0.5),
        ("dynatemp_exponent", 2.0),
        ("mirostat", 2),
        ("mirostat_tau", 4.0),
        ("mirostat_eta", 0.2),
        ("repeat_last_n", -1),
        ("dry_multiplier", 0.8),
        ("dry_base", 2.0),
        ("dry_allowed_length", 3),
        ("dry_penalty_last_n", 100),
    ],
)
def test_a_field_of_llama_server_reaches_its_sampler(name, value):
    assert getattr(read(**{name: value}).sampling, name) == value


def test_lists_and_biases_are_read_in_every_spelling():
    assert read(dry_sequence_breakers=["\n", "###"]).sampling.dry_sequence_breakers == ("\n", "###")
    assert read(dry_sequence_breakers=[]).sampling.dry_sequence_breakers == ()
    assert read(samplers=["top_k", "temp"]).sampling.samplers == ("top_k", "temperature")
    assert read(samplers=None).sampling.samplers == SAMPLERS
    assert read(logit_bias={"15": -100, "16": 2.5}).sampling.logit_bias == ((15, -100.0), (16, 2.5))
    assert read(logit_bias=[[15, False], ["the", 1]]).sampling.logit_bias == ((15, None), ("the", 1.0))
    assert read(t_max_predict_ms=250).time_limit_s == 0.25


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("typical_p", 1.1),
        ("top_n_sigma", "wide"),
        ("xtc_probability", -0.1),
        ("xtc_threshold", 2),
        ("dynatemp_range", 3),
        ("dynatemp_exponent", -1),
        ("mirostat", 3),
        ("mirostat", True),
        ("mirostat_tau", float("nan")),
        ("mirostat_eta", 2),
        ("repeat_last_n", -2),
        ("dry_multiplier", -1),
        ("dry_base", 0.5),
        ("dry_allowed_length", 1.5),
        ("dry_penalty_last_n", -2),
        ("dry_sequence_breakers", [""]),
        ("dry_sequence_breakers", ["x"] * 17),
        ("dry_sequence_breakers", ["a\0b"]),
        ("dry_sequence_breakers", ["x" * 41]),
        ("samplers", "edskypmxt"),
        ("samplers", ["top_k", "top_k"]),
        ("samplers", ["infill"]),
        ("logit_bias", {"the": 1}),
        ("logit_bias", {"-1": 1}),
        ("logit_bias", {"²": 1}),
        ("logit_bias", {"1": 101}),
        ("logit_bias", {"1": True}),
        ("logit_bias", [["the"]]),
        ("logit_bias", [["", 1]]),
        ("logit_bias", [[True, 1]]),
        ("logit_bias", [[1, True]]),
        ("logit_bias", [[1, "false"]]),
        ("logit_bias", {str(i): 1 for i in range(1025)}),
        ("t_max_predict_ms", -2),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(BadRequest) as caught:
        read(**{name: value})
    assert caught.value.param == name
    assert caught.value.message.startswith(name)


def test_logprobs_of_chats_want_a_yes_and_a_number():
    assert chat_logprobs() is None
    assert chat_logprobs(logprobs=False, top_logprobs=0) is None
    assert chat_logprobs(logprobs=True) == 0
    assert chat_logprobs(logprobs=True, top_logprobs=20) == 20


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": False, "top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logprobs": 2}, "logprobs"),
    ],
)
def test_logprobs_of_chats_that_make_no_sense_are_refused(body, param):
    with pytest.raises(BadRequest) as caught:
        chat_logprobs(**body)
    assert caught.value.param == param


def test_logprobs_of_completions_are_a_number():
    assert text_logprobs() is None
    assert text_logprobs(logprobs=False) is None
    assert text_logprobs(logprobs=0) == 0
    for wrong in (6, True, -1):
        with pytest.raises(BadRequest, match="logprobs"):
            text_logprobs(logprobs=wrong)
