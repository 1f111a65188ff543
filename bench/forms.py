"""What it costs that an answer follows a form: the same prompts free, held to what forbids nothing, and to a schema."""

from collections.abc import Iterator
from dataclasses import replace

from lab import SHORT_WORDS, Finding, Lab
from servers import LLAMA_SERVER, OFFGRID, OFFGRID_PLAIN, running

SAILOR = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 30},
        "rank": {"enum": ["captain", "mate", "cook", "sailor"]},
        "age": {"type": "integer", "minimum": 15, "maximum": 90},
        "ports": {"type": "array", "items": {"type": "string", "maxLength": 30}, "maxItems": 4},
        "note": {"anyOf": [{"type": "string", "maxLength": 80}, {"type": "null"}]},
    },
    "required": ["name", "rank", "age", "ports", "note"],
    "additionalProperties": False,
}
# So many that no answer comes to its end: all have the same number of tokens.
SCHEMA = {"type": "array", "items": SAILOR, "minItems": 100}
FORMS = {
    "free": {},
    "any text": {"grammar": r"root ::= [^\x00]*"},
    "schema": {"response_format": {"type": "json_schema", "json_schema": {"name": "sailors", "schema": SCHEMA}}},
}
WARM_UP_TOKENS = 8
QUESTION = "Describe sailors as JSON objects with name, rank, age, ports and a note. Words to use:\n"


def constrained(lab: Lab, turn: int) -> Iterator[Finding]:
    """1 and 8 clients whose answers are free, held to a grammar that allows any text, and held to a JSON schema."""
    programs = (OFFGRID_PLAIN, OFFGRID, LLAMA_SERVER)
    with running(programs if turn % 2 == 0 else programs[::-1], lab.settings) as servers:
        for width in (1, 8):
            # There and back, each time with other texts: a figure is compared with one of the same moment.
            for again, forms in enumerate((list(FORMS), list(FORMS)[::-1])):
                texts = lab.requests(f"constrained {turn} {width} {again}", width, SHORT_WORDS, lab.sizes.answer_tokens)
                asked = [replace(one, text=QUESTION + one.text) for one in texts]
                for server in servers:
                    # So that every form finds its prompts read.
                    server.ask([replace(one, max_tokens=WARM_UP_TOKENS) for one in asked], width)
                    for form in forms:
                        requests = [replace(one, further=FORMS[form]) for one in asked]
                        yield Finding(f"{form}, {width}", server.name, server.load(requests, width))
