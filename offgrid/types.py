"""The few values that travel between rooms: who asks, what is asked of a model, and what comes back.

Plain data: no behaviour beyond derived properties, nothing of HTTP, processes or llama.cpp.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from offgrid.errors import ApiError

ROLES = ("admin", "user", "viewer", "guest")
SERVICES = ("openai", "ollama", "lollms", "anthropic")  # the families of clients that can be switched off
LOCAL_OWNER = "local"  # whose everything is, on a server without accounts, for the machine itself


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. `owner` is whose things they see and make; two principals with one owner share them."""

    role: str
    owner: str
    name: str  # for people: in logs and pages
    address: str  # the client's, without a port
    user_id: str | None = None  # None: nobody with an account
    key_id: int | None = None  # of the API key that was sent
    must_change_password: bool = False  # before anything else

    @property
    def client(self) -> str:
        """What tells people apart where they take turns: the account, and without one the address."""
        return self.user_id or self.address


@dataclass(slots=True)
class Tally:
    """What one request came to, noted by its handler and read when the request has ended. Times are in seconds."""

    service: str = ""  # chat, completions, embeddings; "" where no model was asked
    model: str = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0  # of the prompt
    completion_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0  # of the drafted ones
    first_token_s: float | None = None  # from the submission on
    queue_s: float | None = None  # until its first step, in the worker; of several choices the longest
    token_s: float | None = None  # from one token to the next, on average


@dataclass(frozen=True, slots=True)
class Variant:
    """A model that is a name over a model file, with settings of its own. `base` may be the same name."""

    name: str
    base: str  # id of the model file
    settings: dict[str, Any]  # fields of `sections.ModelSettings`
    license: str
    created_at: float  # seconds since 1970


SAMPLERS = ("penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature")


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. Ranges are checked where a request is read (`api/fields.py`)."""

    temperature: float = 0.7  # 0 is greedy
    top_p: float = 0.95
    top_k: int = 40  # 0 is off
    min_p: float = 0.05
    typical_p: float = 1.0  # 1 is off
    top_n_sigma: float = -1.0  # 0 and below are off
    xtc_probability: float = 0.0  # 0 is off
    xtc_threshold: float = 0.1
    dynatemp_range: float = 0.0  # the temperature follows the entropy, by so much to either side
    dynatemp_exponent: float = 1.0
    mirostat: int = 0  # 1 and 2 are its versions; they use the temperature, and none of the other limits
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    repeat_penalty: float = 1.0  # over the last `repeat_last_n` tokens, prompt included
    repeat_last_n: int = 64  # -1: all
    presence_penalty: float = 0.0  # over the generated tokens
    frequency_penalty: float = 0.0  # over the generated tokens
    dry_multiplier: float = 0.0  # 0 is off
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = -1  # tokens, prompt included; -1: all
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    samplers: tuple[str, ...] = SAMPLERS  # which of them, in which order
    # (token or text whose tokens are meant, what is added to their logits or None: never)
    logit_bias: tuple[tuple[int | str, float | None], ...] = ()
    seed: int | None = None  # None: a fresh random one for each request
    ignore_eos: bool = False


@dataclass(frozen=True, slots=True)
class ToolUse:
    """The tools that an answer may, or must, call."""

    tools: list[dict]  # [{"type": "function", "function": {"name", "description"?, "parameters"?, "strict"?}}, …]
    is_required: bool = False  # at least one must be called
    only: str | None = None  # the one that must be called, once
    is_parallel: bool = True  # several calls in one answer
    schema_at: str = "function.parameters"  # where in a tool its schema stood when the client sent it, for errors

    @property
    def is_forced(self) -> bool:
        """The answer must be calls."""
        return self.is_required or self.only is not None


@dataclass(frozen=True, slots=True)
class Thinking:
    """How a model that thinks before it answers is to do so; without effect for one that does not."""

    is_enabled: bool | None = None  # None: as the model's template has it
    effort: str | None = None  # for templates that know degrees of it
    budget: int | None = None  # tokens after which it must come to its answer; None: as many as it likes
    is_separate: bool = True  # False: it stays in the text, as the model writes it


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One text to generate. Exactly one of `messages` (put through the model's chat template) and `prompt` is given."""

    model: str
    messages: list[dict] | None = None  # [{"role": …, "content": str, …}]
    prompt: str | None = None
    max_tokens: int | None = None  # None: until the model ends or its context is full
    stop: tuple[str, ...] = ()
    grammar: str = ""  # GBNF that the text must follow; "": none
    logprobs: int | None = None  # how many alternatives to each token are named, 0 to 20; None: no probabilities at all
    time_limit_s: float | None = None  # from the first token on; then it ends with "length"
    sampling: Sampling = field(default_factory=Sampling)
    client: str = ""  # who asks, for a fair order between people
    tool_use: ToolUse | None = None  # with messages only
    thinking: Thinking = Thinking()  # with messages only
    template_values: dict = field(default_factory=dict)  # further names that the chat template is given


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    model: str
    texts: list[str]


@dataclass(frozen=True, slots=True)
class TokenizeRequest:
    text: str
    add_special: bool = False  # BOS and the like, as the model's vocabulary wants them
    parse_special: bool = True  # control tokens that the text spells become themselves
    with_pieces: bool = False


@dataclass(frozen=True, slots=True)
class DetokenizeRequest:
    tokens: list[int]


@dataclass(frozen=True, slots=True)
class RenderRequest:
    """The prompt that a chat model would be given, as text. The fields are those of GenerateRequest."""

    messages: list[dict]
    tool_use: ToolUse | None = None
    thinking: Thinking = Thinking()
    template_values: dict = field(default_factory=dict)
    template: str = ""  # Jinja in the place of the model's own chat template


@dataclass(frozen=True, slots=True)
class CountRequest:
    """How many tokens the prompt of a GenerateRequest with these fields would have, whether they fit or not."""

    messages: list[dict] | None = None
    prompt: str | None = None
    tool_use: ToolUse | None = None
    thinking: Thinking = Thinking()
    template_values: dict = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LengthsRequest:
    """How many tokens each of these texts has, without what a vocabulary puts around them."""

    texts: list[str]


# What a model is asked; None: only to be loaded.
Asked = (
    GenerateRequest
    | EmbedRequest
    | TokenizeRequest
    | DetokenizeRequest
    | RenderRequest
    | CountRequest
    | LengthsRequest
    | None
)


@dataclass(frozen=True, slots=True)
class Begun:
    """The model has begun with a request: what it takes in is known now, also if nobody waits for its end."""

    prompt_tokens: int
    cached_tokens: int = 0  # of the prompt


@dataclass(frozen=True, slots=True)
class TokenScore:
    """How likely the model held a token of the text: natural logarithms, of all its tokens before any sampling."""

    piece: bytes  # what it prints; may be a part of a character
    start: int  # characters of the generated text before it
    logprob: float
    top: tuple[tuple[bytes, float], ...] = ()  # the likeliest tokens here, likeliest first


@dataclass(frozen=True, slots=True)
class Delta:
    """New text of one generation; may be the text of several tokens, never half a character.

    `scores`, where they were asked for, are of the tokens that end in this text.
    """

    text: str
    scores: tuple[TokenScore, ...] = ()


@dataclass(frozen=True, slots=True)
class Thought:
    """New text of what a model thinks before it answers; no part of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class CallBegun:
    """The answer calls a tool. `index` counts the calls of one answer from 0."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """New text of the arguments of the call that was begun last: a piece of a JSON object."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class Usage:
    prompt_tokens: int
    completion_tokens: int = 0
    cached_tokens: int = 0  # of the prompt, taken from the cache instead of being computed
    thinking_tokens: int = 0  # of the completion


@dataclass(frozen=True, slots=True)
class Drafted:
    """How many tokens were computed on a guess, and how many of them became part of the text."""

    n: int = 0
    n_accepted: int = 0


@dataclass(frozen=True, slots=True)
class Finish:
    """The normal end of a generation. `reason` is "stop", "length" or "tool_calls"; times are in milliseconds."""

    reason: str
    usage: Usage
    prompt_ms: float = 0.0
    predicted_ms: float = 0.0
    drafted: Drafted = Drafted()
    queued_ms: float = 0.0  # from its arrival in the worker until its first step
    stop: str = ""  # the stop string that ended it; "": none did


@dataclass(frozen=True, slots=True)
class Vectors:
    """The end of an embedding request. `data` holds float32, little-endian, (n_texts, n_dim), rows of unit length."""

    data: bytes
    n_dim: int
    n_tokens: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """The end of a wish that a model be loaded."""

    n_ctx: int  # tokens


@dataclass(frozen=True, slots=True)
class Tokens:
    """The end of a TokenizeRequest. `pieces`: what each token that occurs stands for; empty unless asked for."""

    ids: tuple[int, ...]
    pieces: dict[int, bytes]


@dataclass(frozen=True, slots=True)
class Text:
    """The end of a DetokenizeRequest or a RenderRequest."""

    text: str


@dataclass(frozen=True, slots=True)
class Count:
    """The end of a CountRequest."""

    n_tokens: int


@dataclass(frozen=True, slots=True)
class Lengths:
    """The end of a LengthsRequest. `n_limit`: the most tokens that the model takes in at once."""

    n_tokens: tuple[int, ...]
    n_limit: int


End = Finish | Vectors | Loaded | Tokens | Text | Count | Lengths
Part = Delta | Thought | CallBegun | CallArguments
Event = Begun | Part | End | ApiError
# A sink is called by the engine's reader thread, so it must not block. The last call, and only the last,
# is an End or an ApiError: exactly one terminal event for every accepted request.
Sink = Callable[[Event], None]
