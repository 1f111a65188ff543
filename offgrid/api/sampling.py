"""The fields about generating that chat and text completions share: what is drawn, how long, where it stops."""

from dataclasses import replace
from typing import Any

from offgrid.api.fields import Asked, Field, Ignored, Object
from offgrid.api.response_format import FORM, read_grammar
from offgrid.api.shapes import Flag, Number, Shape, Texts, Whole, wrong
from offgrid.errors import BadRequest
from offgrid.sections import ModelSettings
from offgrid.types import SAMPLERS, GenerateRequest, Sampling

MAX_STOPS = 16
MAX_CHOICES = 16
MOST_TOKENS = 2**31 - 1
SEED_LIMIT = 2**63
MOST_BIASES = 1024
MOST_BREAKERS, LONGEST_BREAKER = 16, 40  # each costs a walk over the vocabulary; llama.cpp cuts longer ones
LONGEST_BIASED_TEXT = 200
LONGEST_TIME_MS = 24 * 60 * 60 * 1000
SAMPLER_ALIASES = {"temp": "temperature", "typical_p": "typ_p", "typical": "typ_p"}  # llama-server takes them too
USUAL = Sampling()


class TopK(Whole):
    def read(self, value: Any, path: str) -> int:
        return max(super().read(value, path), 0)  # -1 is how some clients write "off"


class Seed(Whole):
    def read(self, value: Any, path: str) -> int | None:
        seed = super().read(value, path)
        return None if seed == -1 else seed  # llama.cpp's and Ollama's "random"


class TokenLimit(Whole):
    wanted = "at least 1, or -1 for no limit"

    def read(self, value: Any, path: str) -> int | None:
        n = Whole(self.low, self.high).read(value, path)
        if n == 0:
            raise wrong(path, self.wanted, n)
        return None if n == -1 else n

    def schema(self) -> dict:
        return super().schema() | {"not": {"const": 0}}


class Breakers(Texts):
    def read(self, value: Any, path: str) -> tuple[str, ...]:
        breakers = super().read(value, path)
        if any("\0" in text or len(text.encode("utf-8", "replace")) > LONGEST_BREAKER for text in breakers):
            raise wrong(path, f"texts of at most {LONGEST_BREAKER} bytes, without NUL", value)
        return breakers


class SamplerNames(Shape):
    """Which samplers are used, in which order."""

    wanted = f"a list of {', '.join(SAMPLERS)}, each once at most"

    def read(self, value: Any, path: str) -> tuple[str, ...]:
        given = Texts(2 * len(SAMPLERS)).read(value, path)
        names = tuple(SAMPLER_ALIASES.get(name, name) for name in given)
        if len(set(names)) < len(names) or not set(names) <= set(SAMPLERS):
            raise wrong(path, self.wanted, next((name for name in names if name not in SAMPLERS), given))
        return names

    def schema(self) -> dict:
        return {"type": "array", "items": {"enum": [*SAMPLERS, *SAMPLER_ALIASES]}, "uniqueItems": True}


class Biases(Shape):
    """OpenAI's object of token ids, or llama-server's list of [token id or text, bias or false]."""

    wanted = (
        f"an object of at most {MOST_BIASES} token ids and numbers from -100 to 100, or a list of "
        "[token id or text, number or false]"
    )

    def read(self, value: Any, path: str) -> tuple[tuple[int | str, float | None], ...]:
        pairs = value
        if isinstance(value, dict):
            pairs = [(int(key) if key.isascii() and key.isdigit() else None, bias) for key, bias in value.items()]
        if not isinstance(pairs, list) or len(pairs) > MOST_BIASES or not all(map(_is_bias, pairs)):
            raise wrong(path, self.wanted, value)
        return tuple((key, None if bias is False else float(bias)) for key, bias in pairs)

    def schema(self) -> dict:
        bias = {"anyOf": [{"type": "number", "minimum": -100, "maximum": 100}, {"const": False}]}
        text = {"type": "string", "minLength": 1, "maxLength": LONGEST_BIASED_TEXT}
        token = {"anyOf": [{"type": "integer", "minimum": 0, "maximum": MOST_TOKENS}, text]}
        pair = {"type": "array", "prefixItems": [token, bias], "minItems": 2, "maxItems": 2}
        by_id = {"type": "object", "propertyNames": {"pattern": "^[0-9]{1,9}$"}, "additionalProperties": bias}
        return {
            "anyOf": [by_id | {"maxProperties": MOST_BIASES}, {"type": "array", "items": pair, "maxItems": MOST_BIASES}]
        }


def _is_bias(pair: object) -> bool:
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        return False
    key, bias = pair
    is_token = isinstance(key, int) and not isinstance(key, bool) and 0 <= key <= MOST_TOKENS
    is_text = isinstance(key, str) and 0 < len(key) <= LONGEST_BIASED_TEXT
    is_number = isinstance(bias, (int, float)) and not isinstance(bias, bool)
    return (is_token or is_text) and (bias is False or (is_number and -100 <= bias <= 100))


def _usual(name: str, shape: Shape, means: str) -> Field:
    """A field of `Sampling`, under the same name."""
    default = getattr(USUAL, name)
    return Field(name, shape, means, list(default) if isinstance(default, tuple) else default)


SAMPLING = (
    _usual("temperature", Number(0, 2), "How evenly the next token is drawn; 0 is always the likeliest."),
    _usual("top_p", Number(0, 1), "From the likeliest tokens that make up so much of the probability."),
    _usual("top_k", TopK(-1, 1_000_000), "From so many of the likeliest tokens; 0 and -1 are off."),
    _usual("min_p", Number(0, 1), "From tokens at least so likely, measured against the likeliest."),
    _usual("typical_p", Number(0, 1), "From tokens that surprise about as much as is usual; 1 is off."),
    _usual("top_n_sigma", Number(-1, 100), "From tokens within so many deviations of the best; 0 and below are off."),
    _usual("xtc_probability", Number(0, 1), "How often the likeliest tokens are left out."),
    _usual("xtc_threshold", Number(0, 1), "Which tokens count as such: those at least so likely, save one."),
    _usual("dynatemp_range", Number(0, 2), "By how much the temperature follows the uncertainty, to either side."),
    _usual("dynatemp_exponent", Number(0, 10), "How it follows."),
    _usual("mirostat", Whole(0, 2), "1 and 2 are its versions; with it the other limits do not apply."),
    _usual("mirostat_tau", Number(0, 100), "The surprise that it aims at."),
    _usual("mirostat_eta", Number(0, 1), "How fast it learns."),
    _usual("repeat_penalty", Number(0.01, 10), "Against tokens among the last repeat_last_n; 1 is off."),
    _usual("repeat_last_n", Whole(-1, MOST_TOKENS), "How many tokens that looks at; 0 off, -1 all."),
    _usual("presence_penalty", Number(-2, 2), "Against tokens that were generated before."),
    _usual("frequency_penalty", Number(-2, 2), "Against tokens, the more often they were generated before."),
    _usual("dry_multiplier", Number(0, 100), "Against going on as earlier in the text; 0 is off."),
    _usual("dry_base", Number(1, 100), "How the penalty grows with the length of the repetition."),
    _usual("dry_allowed_length", Whole(0, MOST_TOKENS), "Repetitions up to so many tokens are free."),
    _usual("dry_penalty_last_n", Whole(-1, MOST_TOKENS), "How many tokens that looks at; 0 off, -1 all."),
    _usual("dry_sequence_breakers", Breakers(MOST_BREAKERS), "Texts at which a repetition ends."),
    _usual("samplers", SamplerNames(), "Which samplers are used, in which order."),
    Field("logit_bias", Biases(), "What is added to tokens' logits; false is never."),
    Field("seed", Seed(-SEED_LIMIT, SEED_LIMIT - 1), "For the same text again, as far as that goes; -1 is random."),
    _usual("ignore_eos", Flag(), "Go on to the limit of tokens."),
)
MAX_TOKENS = Field("max_tokens", TokenLimit(-1, MOST_TOKENS), "The most tokens to generate; -1 is no limit.")
MAX_COMPLETION_TOKENS = Field("max_completion_tokens", TokenLimit(-1, MOST_TOKENS), "The same, OpenAI's newer name.")
LENGTH = (MAX_COMPLETION_TOKENS, MAX_TOKENS)
STOP = Field("stop", Texts(MAX_STOPS), "The text ends before one of these.")
T_MAX = Field(
    "t_max_predict_ms",
    Whole(-1, LONGEST_TIME_MS),
    "The text ends with length when its first token is so old; 0 and -1 are no limit.",
    -1,
)
GENERATING = (*SAMPLING, *LENGTH, STOP, T_MAX, *FORM)

N = Field("n", Whole(1, MAX_CHOICES), "How many texts; the prompt is computed once.", 1)
INCLUDE_USAGE = Field("include_usage", Flag(), "Tell the tokens in a last event.", False)
NO_OBFUSCATION = Ignored("include_obfuscation", "Padding against listeners: TLS and one's own network are the defence.")
STREAM = (
    Field("stream", Flag(), "Send the text as it comes, as server-sent events.", False),
    Field("stream_options", Object(INCLUDE_USAGE, NO_OBFUSCATION), "Only with stream.", {}),
)
_NOBODY = "There is nobody to be told on a machine of one's own."
_ALWAYS = "Prompts' beginnings are always kept and shared."
NO_OPS = (
    Ignored("user", _NOBODY),
    Ignored("safety_identifier", _NOBODY),
    Ignored("metadata", "Answers are not kept, so nothing is kept with them."),
    Ignored("store", "Answers are not kept."),
    Ignored("service_tier", "There is one service."),
    Ignored("prompt_cache_key", _ALWAYS),
    Ignored("prompt_cache_retention", _ALWAYS),
    Ignored("prompt_cache_options", _ALWAYS),
)


def read_generation(asked: Asked, own: ModelSettings, model_id: str, client: str) -> GenerateRequest:
    """All but the text itself; what the request leaves out is the model's own setting, else OffGrid's default."""
    return GenerateRequest(
        model=model_id,
        max_tokens=_max_tokens(asked, own.max_tokens),
        stop=asked.get("stop", own.stop or ()),
        time_limit_s=time_limit_s(asked),
        grammar=read_grammar(asked),
        sampling=read_sampling(asked, own),
        client=client,
    )


def time_limit_s(asked: Asked) -> float | None:
    ms = asked["t_max_predict_ms"]
    return ms / 1000 if ms > 0 else None


def read_sampling(asked: Asked, own: ModelSettings) -> Sampling:
    values = {}
    for field in SAMPLING:
        name = field.name
        own_value = None if name in asked else getattr(own, name, None)
        values[name] = asked[name] if own_value is None else own_value
    values["logit_bias"] = values["logit_bias"] or ()
    return Sampling(**values)


def usual_sampling(own: ModelSettings) -> Sampling:
    """What a request gets that says nothing."""
    return read_sampling(Object(*SAMPLING).read({}, ""), own)


def _max_tokens(asked: Asked, default: int | None) -> int | None:
    """The most tokens to generate, under either name; None is "until the context is full"."""
    given = {field.name: asked[field.name] for field in LENGTH if field.name in asked}
    if len(set(given.values())) > 1:
        raise BadRequest(f"{' and '.join(given)} say different things; send one of them.", param=next(iter(given)))
    return next(iter(given.values())) if given else default


def read_stream(asked: Asked) -> tuple[bool, bool]:
    """(stream, include_usage)."""
    include_usage = asked["stream_options"]["include_usage"]
    if include_usage and not asked["stream"]:
        raise BadRequest("stream_options goes with stream: true.", param="stream_options")
    return asked["stream"], include_usage


def choices(asked: GenerateRequest, n: int) -> list[GenerateRequest]:
    """`n` times the same, with the given seed and those after it, so that they differ and can be repeated."""
    first = asked.sampling.seed
    seeds = [None if first is None else first + i for i in range(n)]
    return [replace(asked, sampling=replace(asked.sampling, seed=seed)) for seed in seeds]
