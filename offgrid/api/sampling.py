"""The fields about generating that chat and text completions share: what is drawn, how long, where it stops."""

from dataclasses import replace

from offgrid.api.fields import Fields
from offgrid.errors import BadRequest
from offgrid.sections import ModelSettings
from offgrid.types import GenerateRequest, Sampling

MAX_STOPS = 16
MAX_CHOICES = 16
MOST_TOKENS = 2**31 - 1
SEED_LIMIT = 2**63

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
        repeat_penalty=fields.number("repeat_penalty", 0.01, 10, default("repeat_penalty")),
        presence_penalty=fields.number("presence_penalty", -2, 2, usual.presence_penalty),
        frequency_penalty=fields.number("frequency_penalty", -2, 2, usual.frequency_penalty),
        seed=None if seed == -1 else seed,  # llama.cpp's and Ollama's "random"
        ignore_eos=fields.boolean("ignore_eos"),
    )


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
