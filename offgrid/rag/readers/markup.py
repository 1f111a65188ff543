"""XML as a stream of events, by expat. A document that declares entities is refused, and nothing outside is fetched.

Names come without their namespaces: the formats read here do not need them, and old and new versions differ in them.
"""

from collections.abc import Container, Iterable, Iterator
from xml.parsers import expat

from offgrid.errors import BadRequest

MAX_DEPTH = 1000
STEP_BYTES = 1 << 16
START, END, TEXT = 1, 2, 3
# (START, name, attributes), (END, name, {}), (TEXT, text, {})
Event = tuple[int, str, dict[str, str]]


def events(data: bytes, what: str = "") -> Iterator[Event]:
    """The events of a document; `what` names the part for a message. Raises BadRequest."""
    found: list[Event] = []
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    depth = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise BadRequest(f"is nested deeper than {MAX_DEPTH} elements{of_what}")
        found.append((START, _local(name), {_attribute(key): value for key, value in attributes.items()}))

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        found.append((END, _local(name), {}))

    def entity(*_) -> None:
        raise BadRequest(f"declares entities of its own{of_what}, which are not read")

    of_what = f" in its part {what!r}" if what else ""
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = lambda text: found.append((TEXT, text, {}))
    parser.EntityDeclHandler = entity
    try:
        for at in range(0, len(data) + 1, STEP_BYTES):
            parser.Parse(data[at : at + STEP_BYTES], at + STEP_BYTES > len(data))
            yield from found
            found.clear()
    except expat.ExpatError as error:
        text = f"is damaged{of_what}: {expat.ErrorString(error.code)} at line {error.lineno}, column {error.offset + 1}"
        raise BadRequest(text) from error


def without(stream: Iterable[Event], names: Container[str]) -> Iterator[Event]:
    """The events outside of elements of these names."""
    depth = 0
    for event in stream:
        kind, name, _ = event
        if kind == START and (depth or name in names):
            depth += 1
        elif not depth:
            yield event
        elif kind == END:
            depth -= 1


def _local(name: str) -> str:
    return name.rpartition(" ")[2]


def _attribute(name: str) -> str:
    """`r:id` keeps its prefix, as it stands beside another `id`."""
    space, _, local = name.rpartition(" ")
    return f"r:{local}" if space.endswith("/relationships") else local
