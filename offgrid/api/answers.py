"""What answers look like, written as Python and read as JSON Schema.

`{"id": str, "size": int, "error?": str}` is an object, "?" for a member that may be missing; `[X]` a list; `{str: X}`
an object of any names; a tuple one of several, `(str, None)`; a string that very string; `object` anything. Further
members are allowed. What stands here must be true: tests hold answers against it.
"""

from typing import Any

_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean"}
JSON, EVENTS, TEXT, CSV, HTML = "application/json", "text/event-stream", "text/plain", "text/csv", "text/html"
NDJSON = "application/x-ndjson"  # a stream, too: an object a line

OPENAI_ERROR = {"message": str, "type": str, "code": (str, None), "param": (str, None)}
ANTHROPIC_ERROR = {"type": str, "message": str, "details?": {"error_code": str}}
# family of a route → the body of its errors; a head that cannot be read has no route, so no family either
ERRORS = {
    "openai": {"error": OPENAI_ERROR},
    "lollms": {"error": OPENAI_ERROR, "detail?": str},
    "anthropic": {"type?": "error", "error": ANTHROPIC_ERROR, "request_id?": str},
    "ollama": {"error": (str, OPENAI_ERROR)},
}

PAGE = {"count": int, "total": int}
DONE = {"success": True, "message": str}


def schema_of(spec: Any) -> dict:
    """Raises TypeError for what is none of the above."""
    if spec is None:
        return {"type": "null"}
    if spec is object:
        return {}
    if isinstance(spec, type):
        return {"type": _TYPES[spec]}
    if isinstance(spec, str | bool):
        return {"const": spec}
    if isinstance(spec, tuple):
        return _one_of(spec)
    if isinstance(spec, list):
        [item] = spec
        return {"type": "array", "items": schema_of(item)}
    if isinstance(spec, dict):
        return _object(spec)
    raise TypeError(f"{spec!r} is no shape of an answer")


def _one_of(specs: tuple) -> dict:
    if all(isinstance(spec, str) for spec in specs):
        return {"enum": list(specs)}
    schemas = [schema_of(spec) for spec in specs]
    if all(schema.keys() == {"type"} for schema in schemas):
        return {"type": [schema["type"] for schema in schemas]}
    return {"anyOf": schemas}


def _object(spec: dict) -> dict:
    if str in spec:
        return {"type": "object", "additionalProperties": schema_of(spec[str])}
    members = {name.removesuffix("?"): schema_of(member) for name, member in spec.items()}
    needed = [name for name in spec if not name.endswith("?")]
    return {"type": "object", "properties": members} | ({"required": needed} if needed else {})
