"""The dialects that are known, and the literals of a chat template by which each is told.

Facts: the chat templates of the models, and what llama.cpp's own tests have seen them write.
Formats whose arguments are no JSON (XML parameters, Python calls, Gemma 4's own) are not here: those models are taught
GENERIC.
"""

from dataclasses import dataclass

from offgrid.dialects.syntax import ARGUMENTS, NAME, CallForm, CallSyntax, Dialect, Either, Filler, Piece, Space

NONE, BLANK, LINE = Space(), Space(" "), Space("\n")


def json_call(arguments: str = "arguments", name: str = "name", before: tuple[Piece, ...] = ()) -> tuple[Piece, ...]:
    """A call as a JSON object."""
    return (
        *("{", NONE, *before, f'"{name}"', NONE, ":", BLANK, '"', NAME, '"', NONE, ","),
        *(BLANK, f'"{arguments}"', NONE, ":", BLANK, ARGUMENTS, NONE, "}"),
    )


def one_of(*texts: str) -> Either:
    return Either(tuple((text,) if text else () for text in texts))


def json_list(opening: str, closing: str, call: tuple[Piece, ...]) -> CallSyntax:
    """Calls in a JSON list, between two texts."""
    end = (NONE, "]", *((NONE, closing) if closing else ()))
    form = CallForm(call, (opening, NONE, "[", NONE), end, separator=(NONE, ",", BLANK), trigger=opening)
    return CallSyntax((form,))


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

_ID = Either(((), (NONE, ",", BLANK, '"id"', NONE, ":", BLANK, '"', Filler("azAZ09", 1, 40, ""), '"')))
_WITH_ID = (*json_call()[:-1], _ID, NONE, "}")
MISTRAL_LIST = Dialect("mistral-list", json_list("[TOOL_CALLS]", "", _WITH_ID))
_MISTRAL_ID = Either(((), ("[CALL_ID]", Filler("azAZ09", 1, 40, ""))))
_MISTRAL = CallForm(
    ("[TOOL_CALLS]", NAME, _MISTRAL_ID, "[ARGS]", NONE, ARGUMENTS), separator=(NONE,), trigger="[TOOL_CALLS]"
)
MISTRAL = Dialect("mistral", CallSyntax((_MISTRAL,)))


def _deepseek(*call: Piece) -> CallSyntax:
    begin, end = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
    call = ("<｜tool▁call▁begin｜>", *call, "<｜tool▁call▁end｜>")
    return CallSyntax((CallForm(call, (begin, NONE), (NONE, end), separator=(NONE,), trigger=begin),))


DEEPSEEK_R1 = Dialect(
    "deepseek-r1", _deepseek("function<｜tool▁sep｜>", NAME, LINE, "```json", LINE, ARGUMENTS, LINE, "```", NONE)
)
DEEPSEEK_V3 = Dialect("deepseek-v3", _deepseek(NAME, "<｜tool▁sep｜>", NONE, ARGUMENTS, NONE))

FUNCTIONARY_TAGS = Dialect(
    "functionary-3.1",
    CallSyntax(
        (
            CallForm(
                ("<function=", NAME, ">", NONE, ARGUMENTS, NONE, "</function>"),
                separator=(NONE,),
                trigger="<function=",
            ),
        )
    ),
)
# Its prompt ends with ">>>"; every part of the answer begins with who it is for, and "all" is the reader.
_TO_TOOL = (NAME, "\n", ARGUMENTS)
FUNCTIONARY = Dialect(
    "functionary-3.2",
    CallSyntax(
        (
            CallForm(_TO_TOOL, separator=(NONE, ">>>")),
            CallForm(_TO_TOOL, (">>>",), separator=(NONE, ">>>"), trigger=">>>"),
        )
    ),
    dividers=(">>>all\n",),
    first="all\n",
)

# GPT-OSS: messages in channels. <|call|> ends the text, so there is one call. After a thought comes <|start|>assistant.
_START, _CHANNELS = "<|start|>assistant", ("commentary", "analysis")
_JSON = one_of(" <|constrain|>json", "<|constrain|>json", " json", " ", "")
_TO_JSON = (_JSON, "<|message|>", NONE, ARGUMENTS)
_IN_CHANNEL = [
    CallForm(
        (f"<|channel|>{channel} to=functions.", NAME, *_TO_JSON),
        opening=(one_of("", _START),),
        trigger=f"<|channel|>{channel} to=functions.",
    )
    for channel in _CHANNELS
]
_IN_ROLE = (NAME, "<|channel|>", one_of(*_CHANNELS), *_TO_JSON)
HARMONY = Dialect(
    "harmony",
    CallSyntax(
        (
            *_IN_CHANNEL,
            CallForm((f"{_START} to=functions.", *_IN_ROLE), trigger=f"{_START} to=functions."),
            CallForm(("to=functions.", *_IN_ROLE)),
        )
    ),
    thinking=("<|channel|>analysis<|message|>", "<|end|>"),
    resume="<|start|>assistant<|channel|>final<|message|>",
    dividers=(
        *("<|channel|>final<|message|>", "<|channel|>final <|constrain|>json<|message|>"),
        *("<|channel|>commentary<|message|>", _START, "<|end|>"),
    ),
)

_COHERE_ID = ('"tool_call_id"', NONE, ":", BLANK, '"', Filler("09", 1, 3, "0"), '"', NONE, ",", BLANK)
COHERE = Dialect(
    "cohere",
    CallSyntax(
        (
            CallForm(
                json_call("parameters", "tool_name", _COHERE_ID),
                ("<|START_ACTION|>", NONE, "[", LINE),
                (LINE, "]", NONE, "<|END_ACTION|>"),
                separator=(NONE, ",", LINE),
                trigger="<|START_ACTION|>",
            ),
        )
    ),
    dividers=("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"),
)
_KIMI_HEAD = ("<|tool_call_begin|>", NONE, "functions.", NAME, ":", Filler("09", 1, 3, "0"), NONE)
KIMI = Dialect(
    "kimi",
    CallSyntax(
        (
            CallForm(
                (*_KIMI_HEAD, "<|tool_call_argument_begin|>", NONE, ARGUMENTS, NONE, "<|tool_call_end|>"),
                ("<|tool_calls_section_begin|>", NONE),
                (NONE, "<|tool_calls_section_end|>"),
                separator=(NONE,),
                trigger="<|tool_calls_section_begin|>",
            ),
        )
    ),
)
_NAME_IS_KEY = ("{", NONE, '"', NAME, '"', NONE, ":", BLANK, ARGUMENTS, NONE, "}")
APERTUS = Dialect("apertus", json_list("<|tools_prefix|>", "<|tools_suffix|>", _NAME_IS_KEY))
GRANITE_3 = Dialect("granite-3", json_list("<|tool_call|>", "", json_call()))
NEMOTRON = Dialect("nemotron", json_list("<TOOLCALL>", "</TOOLCALL>", json_call()))
APRIEL = Dialect("apriel", json_list("<tool_calls>", "</tool_calls>", _WITH_ID))
MINIMAX_M1 = Dialect(
    "minimax-m1",
    CallSyntax(
        (
            CallForm(
                json_call(),
                ("<tool_calls>", LINE),
                (LINE, "</tool_calls>"),
                separator=(LINE,),
                trigger="<tool_calls>",
            ),
        )
    ),
)


def _gigachat(begin: str) -> CallSyntax:
    return CallSyntax((CallForm((begin, LINE, *json_call()), trigger=begin),))


GIGACHAT = Dialect("gigachat", _gigachat("<|function_call|>"))
GIGACHAT_3 = Dialect("gigachat-3", _gigachat("function call<|role_sep|>"))

# What thoughts stand between, and the literal that tells of it. Which of the two a template spells differs.
THINKING = (
    (("<think>", "</think>"), "</think>"),
    (("<think>", "</think>"), "<think>"),
    (("[THINK]", "[/THINK]"), "[THINK]"),
    (("<|START_THINKING|>", "<|END_THINKING|>"), "<|START_THINKING|>"),
    (("<seed:think>", "</seed:think>"), "<seed:think>"),
    (("<mm:think>", "</mm:think>"), "</mm:think>"),
    (("<|channel>thought", "<channel|>"), "<|channel>thought"),
    (("<|inner_prefix|>", "<|inner_suffix|>"), "<|inner_prefix|>"),
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
    Signature(HARMONY, ("<|channel|>", "<|message|>", "functions.")),
    Signature(KIMI, ("<|tool_calls_section_begin|>", "<|tool_call_argument_begin|>")),
    Signature(DEEPSEEK_R1, ("<｜tool▁calls▁begin｜>", "```json")),
    Signature(DEEPSEEK_V3, ("<｜tool▁calls▁begin｜>",)),
    Signature(MISTRAL, ("[TOOL_CALLS]", "[ARGS]")),
    Signature(MISTRAL_LIST, ("[TOOL_CALLS]",)),
    Signature(FUNCTIONARY, (">>>all",)),
    Signature(FUNCTIONARY_TAGS, ("<function=", "</function>"), ("<parameter", "<tool_call>")),
    Signature(COHERE, ("<|START_ACTION|>", '"tool_name"')),
    Signature(APERTUS, ("<|tools_prefix|>",)),
    Signature(NEMOTRON, ("<TOOLCALL>[",)),
    Signature(GRANITE_3, ("<|tool_call|>", "JSON list")),
    Signature(GIGACHAT, ("<|function_call|>", "<|role_sep|>")),
    Signature(GIGACHAT_3, ("'function call'", "<|role_sep|>")),
    Signature(APRIEL, ("<tool_calls>[",)),
    Signature(MINIMAX_M1, ("<tool_calls>\\n", '"arguments"')),
    Signature(HERMES, ("<tool_call>", "arguments"), ("<function=", "<arg_key>", "<parameter", "<invoke", "<tool_sep>")),
    Signature(LLAMA_3, ("ipython", '"parameters": ')),
)
