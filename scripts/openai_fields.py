"""Writes docs/openai-fields.md: every field of the openai package's requests, and what OffGrid does with it.

The fields come from the package's own types, what is done from the definitions that read requests. `--check` only
tells whether the page is as it would be written.
"""

import json
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

from openai import __version__
from openai.types import completion_create_params, embedding_create_params
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.responses import response_create_params
from typing_extensions import is_typeddict  # openai brings it; typing's own does not know its TypedDicts

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from offgrid.api.chat import BODY as CHAT  # noqa: E402
from offgrid.api.completions import BODY as COMPLETIONS  # noqa: E402
from offgrid.api.embeddings import BODY as EMBEDDINGS  # noqa: E402
from offgrid.api.fields import Object  # noqa: E402
from offgrid.api.responses.body import CREATE as RESPONSES  # noqa: E402

TAGS = ("type", "role")  # what tells variants of an object apart
PAGE = ROOT / "docs" / "openai-fields.md"
REQUESTS = {
    "/v1/chat/completions": (chat_create_params.CompletionCreateParamsStreaming, CHAT),
    "/v1/responses": (response_create_params.ResponseCreateParamsStreaming, RESPONSES),
    "/v1/completions": (completion_create_params.CompletionCreateParamsStreaming, COMPLETIONS),
    "/v1/embeddings": (embedding_create_params.EmbeddingCreateParams, EMBEDDINGS),
}
HEAD = f"""# What becomes of each field of OpenAI's requests

Made by `python scripts/openai_fields.py` from the types of the openai package ({__version__}) and from the definitions
that read requests; a test holds it to both, and sends each field to a server. *Honoured*: it does what OpenAI says.
*Ignored*: accepted, whatever it holds, without effect. *Refused*: a 400 that names it. Where only some values are
refused, the last column has those that are accepted. Further fields, which OpenAI does not have: [api.md](api.md).
"""


class Row(typing.NamedTuple):
    path: str  # "messages[user].content": in brackets which variant
    effect: str
    why: str


def rows_of(request: str) -> list[Row]:
    """One row for each field of a request, nested ones below theirs; once where the package has two names for one."""
    params, body = REQUESTS[request]
    return list(dict.fromkeys(_rows(params, [Object(*body).schema()], "")))


def _rows(params: type, branches: list[dict], before: str) -> Iterator[Row]:
    """`branches`: JSON Schemas of objects that we read where the package has `params`."""
    for name, kind in typing.get_type_hints(params).items():
        members = [branch["properties"][name] for branch in branches if name in branch["properties"]]
        row = _row(before + name, members)
        yield row
        if row.effect != "honoured":
            continue
        for inner in _dicts(kind):
            tag, value = _tag(inner)
            found = [one for member in members for one in _objects(member) if _is_variant(one, tag, value)]
            at = before + name + (f"[{value}]" if value else "")
            if found:
                yield from _rows(inner, found, at + ".")
            elif value:
                yield Row(at, "refused", "Not one of the forms that are read here.")


def _row(path: str, members: list[dict]) -> Row:
    if not members:
        return Row(path, "refused", "")
    member = members[0]
    effect = {"none": "ignored", "refused": "refused"}.get(member.get("x-effect", ""), "honoured")
    neutral = [value for value in member.get("enum", []) if value is not None] if effect == "refused" else []
    accepted = f" Accepted: {', '.join(f'`{json.dumps(value)}`' for value in neutral)}." if neutral else ""
    meaning = member.get("description", "")
    return Row(path, effect, meaning + accepted)


def _dicts(kind: object) -> Iterator[type]:
    """Every TypedDict in a type, but not those inside of one."""
    if is_typeddict(kind):
        yield kind
    elif not isinstance(kind, str):
        for inner in typing.get_args(kind):
            yield from _dicts(inner)


def _tag(params: type) -> tuple[str, str]:
    """("role", "user") of the variant with that role; two empty texts for what has no variants."""
    hints = typing.get_type_hints(params)
    for tag in TAGS:
        for kind in (hints.get(tag), *typing.get_args(hints.get(tag))):  # itself, or in Optional
            if typing.get_origin(kind) is typing.Literal:
                return tag, typing.get_args(kind)[0]
    return "", ""


def _objects(schema: dict) -> Iterator[dict]:
    """Every object that a schema allows, also in a list."""
    if "properties" in schema:
        yield schema
    for inner in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *filter(None, [schema.get("items")])):
        yield from _objects(inner)


def _is_variant(schema: dict, tag: str, value: str) -> bool:
    allowed = schema["properties"].get(tag, {})
    return not tag or allowed.get("const") == value or value in allowed.get("enum", ())


def page() -> str:
    parts = [HEAD]
    for request in REQUESTS:
        parts.append(f"\n## {request}\n\n| field | | |\n|---|---|---|\n")
        parts += [f"| `{row.path}` | {row.effect} | {row.why} |\n" for row in rows_of(request)]
    return "".join(parts)


def main(arguments: list[str]) -> int:
    if arguments == ["--check"]:
        is_true = PAGE.exists() and PAGE.read_text() == page()
        print(f"{PAGE.name} is {'true' if is_true else 'not true: run python scripts/openai_fields.py'}")
        return 0 if is_true else 1
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
