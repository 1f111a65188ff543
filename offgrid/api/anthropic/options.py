"""What a message of Anthropic's clients says beside the conversation: how long, how it is drawn, thinking, its form."""

from dataclasses import replace
from typing import Any

from offgrid.api.fields import Asked, Field, Ignored, Object, Unsupported, Variants, required
from offgrid.api.response_format import JsonSchema
from offgrid.api.sampling import MAX_STOPS, MOST_TOKENS, SAMPLING, usual_sampling
from offgrid.api.shapes import Choice, Flag, ListOf, Text, Whole
from offgrid.errors import BadRequest
from offgrid.sections import ModelSettings
from offgrid.types import Sampling, Thinking

MAX_TOKENS = required("max_tokens", Whole(1, MOST_TOKENS), "The most tokens to generate, thinking included.", 256)
DRAWN = tuple(field for field in SAMPLING if field.name in ("temperature", "top_p", "top_k"))
STOPS = Field(
    "stop_sequences",
    ListOf(Text(1), MAX_STOPS, says=f"a list of up to {MAX_STOPS} strings, none of them empty"),
    "The text ends before one of these; stop_sequence tells which.",
    [],
)
STREAM = Field("stream", Flag(), "Send the message as it comes, as server-sent events.", False)

_DISPLAY = Field("display", Choice(("summarized", "omitted")), "omitted: that it thought is told, and not what.")
_BUDGET = required("budget_tokens", Whole(1, MOST_TOKENS), "Tokens after which the thinking ends.", 1024)
THINKING = Field(
    "thinking",
    Variants(
        "type",
        {
            "enabled": Object(_BUDGET, _DISPLAY),
            "adaptive": Object(_DISPLAY),
            "disabled": Object(),
            "between_tools": Object(),
        },
    ),
    "Whether a model that can think does so before it answers; adaptive: as its template has it.",
    {"type": "disabled"},
)

_SCHEMA = required("schema", JsonSchema(), "What the answer must be.", {"type": "object"})
FORMAT = Variants("type", {"json_schema": Object(_SCHEMA, Ignored("name", "A name for people."))})
EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "xhigh"}
OUTPUT = (
    Field(
        "output_config",
        Object(
            Field("effort", Choice(tuple(EFFORTS)), "For templates of thinking models that know degrees."),
            Field("format", FORMAT, "The form of the answer."),
            Ignored("task_budget", "max_tokens is the limit."),
        ),
        "How the answer is to be.",
        {},
    ),
    Field("output_format", FORMAT, "The form of the answer, under its older name."),
)

_ONE_SERVICE = "There is one service, on a machine of one's own."
_NOBODY = "There is nobody to be told on a machine of one's own."
NO_OPS = (
    Ignored("metadata", _NOBODY),
    Ignored("user_profile_id", _NOBODY),
    Ignored("diagnostics", "Usage tells what came from the cache."),
    Ignored("cache_control", "Prompts' beginnings are always kept and shared."),
    Ignored("context_management", "The prompt is what messages say; nothing is taken out of it."),
    Ignored("service_tier", _ONE_SERVICE),
    Ignored("inference_geo", _ONE_SERVICE),
    Ignored("speed", _ONE_SERVICE),
    Ignored("fallbacks", _ONE_SERVICE),
    Ignored("billing_policy", _ONE_SERVICE),
)


class Threads(Unsupported):
    """Refused in the words by which the package knows that it must send conversations whole, and then does."""

    def read(self, value: Any, path: str) -> None:
        try:
            super().read(value, path)
        except BadRequest as error:
            raise BadRequest(error.message, code="thread_unsupported_request", param=path) from None


NOT_HERE = (
    Unsupported("container", "code is not run here."),
    Unsupported("mcp_servers", "call them yourself, and send their tools in tools.", []),
    Unsupported("compaction", "the prompt is what messages say."),
    Threads("thread", "conversations are sent whole with each message."),
)


def read_sampling(asked: Asked, own: ModelSettings) -> Sampling:
    return replace(usual_sampling(own), **{field.name: asked[field.name] for field in DRAWN if field.name in asked})


def read_thinking(asked: Asked) -> Thinking:
    wish, effort = asked["thinking"], asked["output_config"]["effort"]
    kind = wish["type"]
    return Thinking(
        is_enabled={"enabled": True, "adaptive": None}.get(kind, False),
        effort=EFFORTS[effort] if effort else None,
        budget=wish["budget_tokens"] if kind == "enabled" else None,
    )


def shows_thoughts(asked: Asked) -> bool:
    return asked["thinking"].get("display") != "omitted"


def read_grammar(asked: Asked) -> str:
    """The GBNF of the form that is asked for, "" for none. Raises BadRequest."""
    form, older = asked["output_config"]["format"], asked["output_format"]
    if form and older and form != older:
        raise BadRequest("output_format and output_config.format differ; send one of them.", param="output_format")
    return (form or older or {"schema": ""})["schema"]
