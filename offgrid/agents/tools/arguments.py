"""The arguments of a call, held against a tool's JSON Schema.

Pure. The keywords that tools use: type, enum, const, properties, required, additionalProperties, items, the bounds of
numbers, texts and lists, anyOf, oneOf, allOf. Others are passed over: a tool of another server checks those itself.
"""

from typing import Any

MAX_DEPTH = 64
_KINDS = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
}
_NAMES = {dict: "an object", list: "a list", str: "a text", bool: "a boolean", type(None): "null"}
_WANTED = {"object": "an object", "array": "a list", "string": "a text", "integer": "a whole number"}
_BOUNDS = (  # keyword, of which types, what is compared, whether the bound is a lower one, in words
    ("minimum", (int, float), lambda v: v, True, "at least {}"),
    ("maximum", (int, float), lambda v: v, False, "at most {}"),
    ("minLength", str, len, True, "a text of at least {} characters"),
    ("maxLength", str, len, False, "a text of at most {} characters"),
    ("minItems", list, len, True, "a list of at least {} values"),
    ("maxItems", list, len, False, "a list of at most {} values"),
)


def problem_of(value: Any, schema: Any, path: str = "", depth: int = 0) -> str:
    """What is wrong with a value, as a sentence that names the argument; "" when nothing is.

    `path` is "" for the arguments as a whole.
    """
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return "" if depth <= MAX_DEPTH else f"{_named(path)} is nested too deeply."
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is_of(value, kind) for kind in kinds):
        wanted = " or ".join(_WANTED.get(kind, f"a {kind}") for kind in kinds)
        return f"{_named(path)} must be {wanted}; it is {_shown(value)}."
    choices = [schema["const"]] if "const" in schema else schema.get("enum")
    if choices is not None and not any(_is_same(value, one) for one in choices):
        return f"{_named(path)} must be one of {', '.join(map(repr, choices))[:300]}; it is {_shown(value)}."
    return (
        _problem_of_bounds(value, schema, path)
        or _problem_of_object(value, schema, path, depth)
        or _problem_of_list(value, schema, path, depth)
        or _problem_of_choices(value, schema, path, depth)
    )


def _problem_of_bounds(value: Any, schema: dict, path: str) -> str:
    if isinstance(value, bool):
        return ""
    for keyword, kinds, measure, is_lower, words in _BOUNDS:
        bound = schema.get(keyword)
        if bound is None or not isinstance(value, kinds):
            continue
        if measure(value) < bound if is_lower else measure(value) > bound:
            return f"{_named(path)} must be {words.format(bound)}; it is {_shown(value)}."
    return ""


def _problem_of_object(value: Any, schema: dict, path: str, depth: int) -> str:
    if not isinstance(value, dict):
        return ""
    known = schema.get("properties", {})
    before = f"{path}." if path else ""
    for name in schema.get("required", []):
        if name not in value:
            return f"The argument {before}{name} is missing."
    more = schema.get("additionalProperties", True)
    for name, member in value.items():
        if name not in known and more is False:
            return f"There is no argument {before}{name[:60]}; there {_list_of(known)}."
        if problem := problem_of(member, known.get(name, more), f"{before}{name}", depth + 1):
            return problem
    return ""


def _problem_of_list(value: Any, schema: dict, path: str, depth: int) -> str:
    if not isinstance(value, list):
        return ""
    problems = (problem_of(item, schema.get("items"), f"{path}[{i}]", depth + 1) for i, item in enumerate(value))
    return next(filter(None, problems), "")


def _problem_of_choices(value: Any, schema: dict, path: str, depth: int) -> str:
    for keyword in ("anyOf", "oneOf"):
        if branches := schema.get(keyword):
            problems = [problem_of(value, branch, path, depth + 1) for branch in branches]
            if all(problems):
                return problems[0]
    problems = (problem_of(value, branch, path, depth + 1) for branch in schema.get("allOf", []))
    return next(filter(None, problems), "")


def _is_of(value: Any, kind: str) -> bool:
    if kind in ("number", "integer"):
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and value - value == 0  # finite
        return is_number and (kind == "number" or value == value // 1)
    return kind not in _KINDS or isinstance(value, _KINDS[kind])


def _is_same(one: Any, other: Any) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _named(path: str) -> str:
    return f"The argument {path}" if path else "What is given to a tool"


def _shown(value: Any) -> str:
    if isinstance(value, (int, float, str)) and not isinstance(value, bool) and len(repr(value)) <= 60:
        return repr(value)
    return _NAMES.get(type(value), "a number")


def _list_of(names: dict) -> str:
    return f"are {', '.join(names)}" if names else "are none"
