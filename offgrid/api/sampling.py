"""The fields about generating that chat and text completions share: what is drawn, how long, where it stops."""

from dataclasses import replace

from offgrid.api.fields import Fields
from offgrid.api.response_format import read_grammar
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

# What OpenAI clients send and what has no meaning on a machine of one's own: accepted, without effect.
# docs/api.md lists them.
NO_OPS = (
    "user",
    "metadata",
    "store",
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
)


def read_generation(fields: Fields, own: ModelSettings, model_id: str, client: str) -> GenerateRequest:
    """All but the text itself; what the request leaves out is the model's own setting, else OffGrid's default."""
    return GenerateRequest(
        model=model_id,
        max_tokens=read_max_tokens(fields, "max_completion_tokens", "max_tokens", default=own.max_tokens),
        stop=fields.strings("stop", MAX_STOPS),
        time_limit_s=read_time_limit(fields),
        grammar=read_grammar(fields),
        sampling=read_sampling(fields, own),
        client=client,
    )


def read_sampling(fields: Fields, own: ModelSettings) -> Sampling:
    usual = Sampling()

    def default(name: str):
        value = getattr(own, name)
        return getattr(usual, name) if value is None else value

    top_k = fields.whole("top_k", -1, 1_000_000, default("top_k"))
    seed = fields.whole("seed", -SEED_LIMIT, SEED_LIMIT - 1)
    return Sampling(
        temperature=fields.number("temperature", 0, 2, default("temperature")),
        top_p=fields.number("top_p", 0, 1, default("top_p")),
        top_k=max(top_k, 0),  # -1 is how some clients write "off"
        min_p=fields.number("min_p", 0, 1, default("min_p")),
        typical_p=fields.number("typical_p", 0, 1, usual.typical_p),
        top_n_sigma=fields.number("top_n_sigma", -1, 100, usual.top_n_sigma),
        xtc_probability=fields.number("xtc_probability", 0, 1, usual.xtc_probability),
        xtc_threshold=fields.number("xtc_threshold", 0, 1, usual.xtc_threshold),
        dynatemp_range=fields.number("dynatemp_range", 0, 2, usual.dynatemp_range),
        dynatemp_exponent=fields.number("dynatemp_exponent", 0, 10, usual.dynatemp_exponent),
        mirostat=fields.whole("mirostat", 0, 2, usual.mirostat),
        mirostat_tau=fields.number("mirostat_tau", 0, 100, usual.mirostat_tau),
        mirostat_eta=fields.number("mirostat_eta", 0, 1, usual.mirostat_eta),
        repeat_penalty=fields.number("repeat_penalty", 0.01, 10, default("repeat_penalty")),
        repeat_last_n=fields.whole("repeat_last_n", -1, MOST_TOKENS, usual.repeat_last_n),
        presence_penalty=fields.number("presence_penalty", -2, 2, usual.presence_penalty),
        frequency_penalty=fields.number("frequency_penalty", -2, 2, usual.frequency_penalty),
        dry_multiplier=fields.number("dry_multiplier", 0, 100, usual.dry_multiplier),
        dry_base=fields.number("dry_base", 1, 100, usual.dry_base),
        dry_allowed_length=fields.whole("dry_allowed_length", 0, MOST_TOKENS, usual.dry_allowed_length),
        dry_penalty_last_n=fields.whole("dry_penalty_last_n", -1, MOST_TOKENS, usual.dry_penalty_last_n),
        dry_sequence_breakers=read_breakers(fields, usual.dry_sequence_breakers),
        samplers=read_samplers(fields),
        logit_bias=read_logit_bias(fields),
        seed=None if seed == -1 else seed,  # llama.cpp's and Ollama's "random"
        ignore_eos=fields.boolean("ignore_eos"),
    )


def read_breakers(fields: Fields, usual: tuple[str, ...]) -> tuple[str, ...]:
    name = "dry_sequence_breakers"
    breakers = fields.strings(name, MOST_BREAKERS)
    if any("\0" in text or len(text.encode("utf-8", "replace")) > LONGEST_BREAKER for text in breakers):
        raise fields.refuse(name, f"texts of at most {LONGEST_BREAKER} bytes, without NUL", breakers)
    return usual if fields.take(name) is None else breakers


def read_samplers(fields: Fields) -> tuple[str, ...]:
    """Which samplers are used, in which order; all in llama.cpp's own order when the field is left out."""
    if fields.take("samplers") is None:
        return SAMPLERS
    given = fields.strings("samplers", 2 * len(SAMPLERS))
    names = tuple(SAMPLER_ALIASES.get(name, name) for name in given)
    if len(set(names)) < len(names) or not set(names) <= set(SAMPLERS):
        unknown = next((name for name in names if name not in SAMPLERS), given)
        raise fields.refuse("samplers", f"a list of {', '.join(SAMPLERS)}, each once at most", unknown)
    return names


def read_logit_bias(fields: Fields) -> tuple[tuple[int | str, float | None], ...]:
    """OpenAI's object of token ids, or llama-server's list of [token id or text, bias or false]."""
    value = fields.take("logit_bias")
    if isinstance(value, dict):
        pairs = [(int(key) if key.isascii() and key.isdigit() else None, bias) for key, bias in value.items()]
    else:
        pairs = [] if value is None else value
    if not isinstance(pairs, list) or len(pairs) > MOST_BIASES or not all(map(_is_bias, pairs)):
        wanted = (
            f"an object of at most {MOST_BIASES} token ids and numbers from -100 to 100, or a list of "
            "[token id or text, number or false]"
        )
        raise fields.refuse("logit_bias", wanted, value)
    return tuple((key, None if bias is False else float(bias)) for key, bias in pairs)


def _is_bias(pair: object) -> bool:
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        return False
    key, bias = pair
    is_token = isinstance(key, int) and not isinstance(key, bool) and 0 <= key <= MOST_TOKENS
    is_text = isinstance(key, str) and 0 < len(key) <= LONGEST_BIASED_TEXT
    is_number = isinstance(bias, (int, float)) and not isinstance(bias, bool)
    return (is_token or is_text) and (bias is False or (is_number and -100 <= bias <= 100))


def read_time_limit(fields: Fields) -> float | None:
    """llama-server's `t_max_predict_ms`, in seconds."""
    ms = fields.whole("t_max_predict_ms", -1, LONGEST_TIME_MS, -1)
    return ms / 1000 if ms > 0 else None


def read_max_tokens(fields: Fields, *names: str, default: int | None) -> int | None:
    """The most tokens to generate, by any of the given names; -1 and None are "until the context is full"."""
    given = {name: n for name in names if (n := fields.whole(name, -1, MOST_TOKENS)) is not None}
    if len(set(given.values())) > 1:
        raise BadRequest(f"{' and '.join(given)} say different things; send one of them.", param=names[0])
    for name, n in given.items():
        if n == 0:
            raise fields.refuse(name, "at least 1, or -1 for no limit", n)
        return None if n == -1 else n
    return default


def read_stream(fields: Fields) -> tuple[bool, bool]:
    """(stream, include_usage)."""
    is_stream = fields.boolean("stream")
    options = fields.mapping("stream_options")
    include_usage = options.boolean("include_usage")
    options.ignore("include_obfuscation")
    options.finish()
    if include_usage and not is_stream:
        raise BadRequest("stream_options goes with stream: true.", param="stream_options")
    return is_stream, include_usage


def choices(asked: GenerateRequest, n: int) -> list[GenerateRequest]:
    """`n` times the same, with the given seed and those after it, so that they differ and can be repeated."""
    first = asked.sampling.seed
    seeds = [None if first is None else first + i for i in range(n)]
    return [replace(asked, sampling=replace(asked.sampling, seed=seed)) for seed in seeds]
