"""The dialects that are known, and the literals of a chat template by which each is told.

Facts: the chat templates of the models, and what llama.cpp's own tests have seen them write.
Formats whose arguments are no JSON (XML parameters, Python calls, Gemma 4's own) are not here: those models are taught
GENERIC.
"""

from dataclasses import dataclass

from offgrid.dialects.syntax import ARGUMENTS, NAME, CallForm, CallSyntax, Dialect, Either, Piece, Space

NONE, BLANK, LINE = Space(), Space(" "), Space("\n")


def json_call(arguments: str = "arguments", name: str = "name", before: tuple[Piece, ...] = ()) -> tuple[Piece, ...]:
    """A call as a JSON object."""
    return (
        *("{", NONE, *before, f'"{name}"', NONE, ":", BLANK, '"', NAME, '"', NONE, ","),
        *(BLANK, f'"{arguments}"', NONE, ":", BLANK, ARGUMENTS, NONE, "}"),
    )


def one_of(*texts: str) -> Either:
    return Either(tuple((text,) if text else () for text in texts))


def json_list(opening: str, closing: str, call: tuple[Piece, ...], trigger: str) -> CallSyntax:
    """Calls in a JSON list, between two texts."""
    ends = (NONE, "]", *((NONE, closing) if closing else ()))
    return CallSyntax(
        (CallForm(call, (opening, NONE, "[", NONE), ends, separator=(NONE, ",", BLANK), trigger=trigger),)
    )


_TAGGED = CallForm(
    ("<tool_call>", LINE, *json_call(), LINE, "</tool_call>"), separator=(LINE,), trigger="<tool_call>"
)  # fmt: skip
_EITHER_KEY = (
    *("{", NONE, '"name"', NONE, ":", BLANK, '"', NAME, '"', NONE, ",", BLANK, '"'),
    *(one_of("arguments", "parameters"), '"', NONE, ":", BLANK, ARGUMENTS, NONE, "}"),
)
_BARE = CallForm(_EITHER_KEY)
_FENCED = CallForm(("```", one_of("json", ""), LINE, *_EITHER_KEY, LINE, "```"))

HERMES = Dialect("hermes", CallSyntax((_TAGGED,)))
GENERIC = Dialect("generic", CallSyntax((_TAGGED, _BARE, _FENCED)), is_native=False)

_TYPE = Either(((), ('"type"', NONE, ":", BLANK, '"function"', NONE, ",", BLANK)))
LLAMA_3 = Dialect(
    "llama-3", CallSyntax((CallForm(json_call("parameters", before=(_TYPE,)), (one_of("", "<|python_tag|>"), NONE)),))
)

# What thoughts stand between, and the literal that tells of it. Which of the two a template spells differs.
THINKING = (
    (("<think>", "</think>"), "</think>"),
    (("<think>", "</think>"), "<think>"),
    (("[THINK]", "[/THINK]"), "[THINK]"),
    (("<|START_THINKING|>", "<|END_THINKING|>"), "<|START_THINKING|>"),
    (("<seed:think>", "</seed:think>"), "<seed:think>"),
    (("<mm:think>", "</mm:think>"), "</mm:think>"),
    (("<|channel>thought", "<channel|>"), "<|channel>thought"),
)


@dataclass(frozen=True, slots=True)
class Signature:
    dialect: Dialect
    all_of: tuple[str, ...]
    none_of: tuple[str, ...] = ()

    def is_met_by(self, template_source: str) -> bool:
        has = template_source.__contains__
        return all(map(has, self.all_of)) and not any(map(has, self.none_of))


SIGNATURES = (  # the first that is met holds
    Signature(HERMES, ("<tool_call>", '"arguments"'), ("<function=", "<arg_key>", "<parameter")),
    Signature(LLAMA_3, ("ipython", '"parameters": ')),
)
