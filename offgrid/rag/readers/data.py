"""JSON, JSON lines and XML: data, laid out so that its texts can be found and its parts be told apart."""

import json
from collections.abc import Iterator

from offgrid.rag.readers.code import split
from offgrid.rag.readers.draft import Draft, Source, cleaned
from offgrid.rag.readers.encoding import decode
from offgrid.rag.readers.markup import START, TEXT, events
from offgrid.rag.readers.text import charset_of

SHOWN_ATTRIBUTES = 8  # of an element of XML


def read_json(source: Source, draft: Draft) -> None:
    """Laid out with a value a line, characters instead of escapes, and a block for each value at the top.

    What is no valid JSON (comments, a missing bracket) is read as it stands.
    """
    text = cleaned(decode(source.read(), charset_of(source)))
    try:
        value = json.loads(text)
    except ValueError:
        draft.take(text, split(text))
        return
    for part in _parts(value):
        draft.add("code", part)


def _parts(value: object) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield f"{_laid_out(key)}: {_laid_out(item)}"
    elif isinstance(value, list) and value:
        yield from map(_laid_out, value)
    else:
        yield _laid_out(value)


def _laid_out(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def read_jsonl(source: Source, draft: Draft) -> None:
    """A line is a block."""
    for line in cleaned(decode(source.read(), charset_of(source))).split("\n"):
        try:
            draft.add("code", json.dumps(json.loads(line), ensure_ascii=False) if line.strip() else "")
        except ValueError:
            draft.add("code", line)


def read_xml(source: Source, draft: Draft) -> None:
    """A line for each element that holds text, with its name; elements inside of a text are a part of it.

    The elements of a record, which are those before the end of their parent, are one block.
    """
    lines: list[str] = []
    words: list[str] = []
    name = ""
    n_inline = 0
    for kind, value, attributes in events(source.read()):
        if kind == TEXT:
            words.append(value)
        elif kind == START:
            if n_inline or "".join(words).strip():
                n_inline += 1
                continue
            words.clear()
            name = value
            if attributes:
                shown = list(attributes.items())[:SHOWN_ATTRIBUTES]
                lines.append(f"{name} ({', '.join(f'{key}: {text}' for key, text in shown)})")
        elif n_inline:
            n_inline -= 1
        else:
            if text := " ".join("".join(words).split()):
                lines.append(f"{value}: {text}")
            words.clear()
            if value != name:  # it held elements, and the last of them has ended
                draft.add("paragraph", "\n".join(lines))
                lines.clear()
            name = ""
    draft.add("paragraph", "\n".join(lines))
