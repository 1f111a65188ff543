"""What a request may say: its fields, and what they come to for the model and in the answer."""

from offgrid.api.fields import Asked, Field, Ignored, Object, Unsupported, required
from offgrid.api.grounding import USE_KNOWLEDGE_BASE
from offgrid.api.keep_alive import KEEP_ALIVE
from offgrid.api.logprobs import MOST_CHAT
from offgrid.api.models import MODEL
from offgrid.api.responses.items import MAX_ID_CHARS, Input
from offgrid.api.responses.kinds import Kinds, Metadata
from offgrid.api.responses.tools import TOOL_FIELDS, choice_as_answered, tools_as_answered
from offgrid.api.sampling import MOST_TOKENS, NO_OBFUSCATION, NO_OPS, SAMPLING, STOP, T_MAX
from offgrid.api.shapes import Choice, Flag, ListOf, Text, Whole
from offgrid.api.thinking import EFFORTS
from offgrid.api.tools import Parameters
from offgrid.errors import BadRequest
from offgrid.grammar.schema import object_grammar, schema_grammar
from offgrid.types import Sampling, Thinking

LOGPROBS = "message.output_text.logprobs"
# But for the last: what OpenAI's own tools would add, and thoughts in a form that only OpenAI reads.
INCLUDABLE = (
    *("reasoning.encrypted_content", "file_search_call.results", "web_search_call.results"),
    *("web_search_call.action.sources", "message.input_image.image_url", "computer_call_output.output.image_url"),
    *("code_interpreter_call.outputs", LOGPROBS),
)
NOT_CUT = "nothing is cut in silence; a prompt that does not fit is an error that says by how much."
NOTHING_HERE = "Has no meaning on a machine of one's own."

INPUT = required("input", Input(), "A text, or items: messages, calls, their results, thoughts.", "Hello!")
FORMAT = Kinds(
    {
        "text": Object(),
        "json_object": Object(),
        "json_schema": Object(
            required("schema", Parameters(), "What the answer must be.", {"type": "object"}),
            Field("name", Text(), "What it is called."),
            Field("description", Text(), "What it is for."),
            Field("strict", Flag(), "The answer is held to it, whatever stands here.", True),
        ),
    },
    {},
)
TEXT = Object(
    Field("format", FORMAT, "The form of the answer.", {"type": "text"}),
    Unsupported("verbosity", "models here know no degrees of it; say it in a message.", "medium"),
)
REASONING = Object(
    Field("effort", Choice(EFFORTS), "none: off; the others for templates that know degrees."),
    *(Ignored(name, "The thoughts themselves are answered.") for name in ("summary", "generate_summary")),
    Ignored("context", "Templates say which thoughts of earlier turns they show."),
    Ignored("mode", NOTHING_HERE),
)
# What makes a prompt: what counting one and asking for an answer share.
PROMPT = (
    MODEL,
    Field("instructions", Text(), "A system message before everything else; not carried over to later responses."),
    Field("previous_response_id", Text(1, MAX_ID_CHARS), "The kept response that this one goes on from."),
    *TOOL_FIELDS,
    Field("reasoning", REASONING, "How a model that thinks is to do so.", {}),
    Field("text", TEXT, "The form of the answer.", {}),
    Unsupported("truncation", NOT_CUT, "disabled"),
    Unsupported("conversation", "conversations by an id are not kept; use previous_response_id."),
    *KEEP_ALIVE,
)
CREATE = (
    INPUT,
    *PROMPT,
    *USE_KNOWLEDGE_BASE,
    Field("stream", Flag(), "Send the answer as events while it is written.", False),
    Field("stream_options", Object(NO_OBFUSCATION), "How it is streamed.", {}),
    Field("store", Flag(), "Keep the answer, to be read again and gone on from.", True),
    Field("max_output_tokens", Whole(1, MOST_TOKENS), "The longest answer, thoughts included."),
    *(*SAMPLING, STOP, T_MAX),
    Field("top_logprobs", Whole(0, MOST_CHAT), f"Alternatives for each token; with include: {LOGPROBS}.", 0),
    Field("include", ListOf(Choice(INCLUDABLE), 2 * len(INCLUDABLE)), f"{LOGPROBS}; the others add nothing.", []),
    Field("metadata", Metadata(), "Texts that are kept with the answer.", {}),
    Unsupported("background", "an answer comes with its request.", False),
    Unsupported("background_options", "an answer comes with its request."),
    Unsupported("prompt", "prompts are not kept under an id. Send the text."),
    Unsupported("context_management", NOT_CUT, []),
    Unsupported("moderation", "there is no model for it."),
    Unsupported("access_programs", "there are none."),
    Ignored("max_tool_calls", "It counts calls of OpenAI's own tools only."),
    Ignored("image", "No images are read."),
    *(no_op for no_op in NO_OPS if no_op.name not in ("metadata", "store")),
)
COUNT = (
    Field("input", Input(), "A text, or items, as in a request for an answer."),
    *PROMPT,
    Ignored("personality", NOTHING_HERE),
)


def thinking_of(asked: Asked) -> Thinking:
    effort = asked["reasoning"]["effort"]
    return Thinking(is_enabled=False) if effort == "none" else Thinking(effort=effort)


def grammar_of(asked: Asked) -> str:
    """The GBNF of the answer's form, "" for none. Raises BadRequest, for a schema with the place in it."""
    form = asked["text"]["format"]
    if form["type"] == "json_object":
        return object_grammar()
    return schema_grammar(form["schema"], "text.format.schema") if form["type"] == "json_schema" else ""


def logprobs_of(asked: Asked) -> int | None:
    """How many alternatives are wanted for each token; None: no probabilities at all."""
    if LOGPROBS in asked["include"]:
        return asked["top_logprobs"]
    if asked["top_logprobs"]:
        raise BadRequest(f"top_logprobs goes with include: [{LOGPROBS!r}].", param="top_logprobs")
    return None


def about(asked: Asked, model_id: str, sampling: Sampling, *, is_kept: bool) -> dict:
    """What the answer says of its request, and of what became of its wish to be kept."""
    form = asked["text"]["format"]
    return {
        "model": model_id,
        "instructions": asked["instructions"],
        "previous_response_id": asked["previous_response_id"],
        "max_output_tokens": asked["max_output_tokens"],
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_logprobs": asked["top_logprobs"],
        "tools": tools_as_answered(asked),
        "tool_choice": choice_as_answered(asked),
        "parallel_tool_calls": asked["parallel_tool_calls"],
        "text": {"format": {"type": form["type"], **form}},
        "reasoning": {"effort": asked["reasoning"]["effort"], "summary": None},
        "truncation": "disabled",
        "background": False,
        "store": is_kept,
        "metadata": asked["metadata"],
    }
