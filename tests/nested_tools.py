"""Five tools whose arguments are nested: objects in lists, enums, bounds, members that may be left out, references."""

import json
import random

import jsonschema


def _tool(name: str, description: str, properties: dict, required: list[str], **further) -> dict:
    members = {"properties": properties, "required": required, "additionalProperties": False}
    parameters = {"type": "object", **members, **further}
    function = {"name": name, "description": description, "parameters": parameters, "strict": True}
    return {"type": "function", "function": function}


def _text(most: int, least: int = 1) -> dict:
    return {"type": "string", "minLength": least, "maxLength": most}


_WAYPOINT = {
    "type": "object",
    "properties": {
        "port": _text(20),
        "latitude": {"type": "number", "minimum": -90, "maximum": 90},
        "longitude": {"type": "number", "minimum": -180, "maximum": 180},
    },
    "required": ["port", "latitude", "longitude"],
    "additionalProperties": False,
}
_DOSE = {
    "type": "object",
    "properties": {
        "substance": {"enum": ["paracetamol", "ibuprofen", "oral rehydration salts"]},
        "milligrams": {"type": "integer", "minimum": 1, "maximum": 4000},
        "with_food": {"type": ["boolean", "null"]},
    },
    "required": ["substance", "milligrams"],
    "additionalProperties": False,
}
TOOLS = [
    _tool(
        "plan_voyage",
        "Plan a voyage between ports.",
        {
            "ship": _text(20),
            "waypoints": {"type": "array", "items": {"$ref": "#/$defs/waypoint"}, "minItems": 2, "maxItems": 3},
            "departure": {"type": "string", "format": "date"},
            "speed_knots": {"type": "integer", "exclusiveMinimum": 0, "maximum": 30},
        },
        ["ship", "waypoints"],
        **{"$defs": {"waypoint": _WAYPOINT}},
    ),
    _tool(
        "prescribe",
        "Note what a patient is to take.",
        {
            "patient": {
                "type": "object",
                "properties": {"name": _text(20), "age": {"type": "integer", "minimum": 0, "maximum": 120}},
                "required": ["name", "age"],
                "additionalProperties": False,
            },
            "doses": {"type": "array", "items": {"$ref": "#/$defs/dose"}, "minItems": 1, "maxItems": 2},
            "urgent": {"type": "boolean"},
        },
        ["patient", "doses"],
        **{"$defs": {"dose": _DOSE}},
    ),
    _tool(
        "set_lights",
        "Switch lights.",
        {
            "rooms": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "room": {"enum": ["kitchen", "hall", "ward 1", "ward 2"]},
                        "light": {
                            "anyOf": [
                                {"const": "off"},
                                {"type": "integer", "minimum": 1, "maximum": 100},
                            ]
                        },
                    },
                    "required": ["room", "light"],
                    "additionalProperties": False,
                },
                "minItems": 1,
                "maxItems": 3,
            },
            "fade_s": {"type": "number", "minimum": 0, "maximum": 10},
        },
        ["rooms"],
    ),
    _tool(
        "search-notes.v2",
        "Look something up in the notes.",
        {
            "words": {"type": "array", "items": _text(15, 2), "minItems": 1, "maxItems": 3},
            "filter": {
                "type": "object",
                "properties": {
                    "author": {"anyOf": [_text(20), {"type": "null"}]},
                    "code": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{1,4}$"},
                },
                "required": ["code"],
                "additionalProperties": False,
            },
            "limit": {"type": "integer", "minimum": 1, "maximum": 50},
        },
        ["words"],
    ),
    _tool("ring_the_bell", "Ring the bell.", {}, []),
]
SCHEMAS = {tool["function"]["name"]: tool["function"]["parameters"] for tool in TOOLS}
_ASKED = [
    "We leave Lagos for Accra on Monday, and go on to Dakar.",
    "Ada, 7 years old, has a fever; her brother as well.",
    "It is too bright in here, and in the hall!",
    "Where did we write about the 'blue' pump \\ valve?",
    "Lunch is ready.",
]


def ask(draw: random.Random) -> str:
    return draw.choice(_ASKED)


def check_call(name: str, arguments: str) -> dict:
    """The arguments of a call, parsed. Fails the test when the tool would not take them."""
    parsed = json.loads(arguments)
    jsonschema.validate(parsed, SCHEMAS[name], format_checker=jsonschema.FormatChecker(["date"]))
    return parsed
