"""Options: Ollama's names and defaults, the model's own settings, and what they become."""

import pytest

from offgrid.api.ollama.options import OPTIONS, Options, generation_of, settings_of
from offgrid.errors import BadRequest
from offgrid.sections import ModelSettings

# What the ollama package for Python offers, beside those that are honoured.
OLD = (
    "numa",
    "low_vram",
    "f16_kv",
    "logits_all",
    "vocab_only",
    "use_mlock",
    "embedding_only",
    "tfs_z",
    "penalize_newline",
)


def generation(options: dict, own: ModelSettings | None = None) -> dict:
    return generation_of(Options().read(options, "options"), own or ModelSettings())


def test_without_options_it_is_as_ollama_has_it():
    usual = generation({})
    sampling = usual["sampling"]
    assert (sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p) == (0.8, 40, 0.9, 0.0)
    assert (sampling.repeat_penalty, sampling.repeat_last_n, sampling.typical_p, sampling.seed) == (1.0, 64, 1.0, None)
    assert (usual["max_tokens"], usual["stop"]) == (None, ())


def test_a_models_own_settings_stand_before_ollamas_and_a_request_before_both():
    own = ModelSettings(temperature=0.1, top_k=7, stop=("own",), max_tokens=9, seed=5)
    assert generation({}, own)["sampling"].temperature == 0.1
    asked = generation({"temperature": 1, "stop": ["x", ""], "num_predict": -1, "seed": -1}, own)
    assert (asked["sampling"].temperature, asked["sampling"].top_k, asked["sampling"].seed) == (1.0, 7, None)
    assert (asked["stop"], asked["max_tokens"]) == (("x",), None)
    assert (generation({}, own)["stop"], generation({}, own)["max_tokens"]) == (("own",), 9)


def test_unknown_and_null_options_have_no_effect_and_unknown_ones_are_in_the_log(caplog):
    assert generation(dict.fromkeys(OLD, True) | {"temperature": None}) == generation({})
    assert all(repr(name) in caplog.text for name in OLD)


def test_options_about_loading_are_checked_and_have_no_effect_on_a_request():
    assert generation({"num_ctx": 4096, "num_gpu": 99, "use_mmap": True, "num_keep": 4}) == generation({})


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("temperature", "hot", 'option "temperature" must be of type float32'),
        ("top_k", True, 'option "top_k" must be of type integer'),
        ("num_ctx", "4k", 'option "num_ctx" must be of type integer'),
        ("use_mmap", 1, 'option "use_mmap" must be of type boolean'),
        ("stop", "x", 'option "stop" must be of type array'),
        ("stop", [1], 'option "stop" must be of type array'),
        ("stop", ["x"] * 17, 'option "stop" must be an array of at most 16 strings'),
        ("temperature", -1, 'option "temperature" must be from 0 to 2; it is -1'),
    ],
)
def test_a_wrong_option_is_refused_in_ollamas_words(option, value, message):
    with pytest.raises(BadRequest) as caught:
        Options().read({option: value}, "options")
    assert caught.value.message == message


def test_whole_numbers_are_cut_as_go_does():
    assert Options().read({"top_k": 4.7, "num_predict": 12.0}, "options") == {"top_k": 4, "num_predict": 12}


def test_every_option_with_an_effect_is_a_setting_of_models():
    settings = {option.setting for option in OPTIONS.values() if option.setting}
    assert settings <= set(ModelSettings.__dataclass_fields__)


def test_parameters_of_a_model_are_settings_without_ollamas_words_for_nothing():
    read = Options().read({"num_predict": -2, "seed": -1, "top_k": -1, "num_ctx": 4096}, "parameters")
    assert settings_of(read) == {"top_k": 0, "ctx_size": 4096}
    with pytest.raises(BadRequest, match='option "num_ctx" must be from 256'):
        settings_of({"num_ctx": 1})
