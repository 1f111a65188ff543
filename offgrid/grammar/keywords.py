"""JSON Schema's keywords: which are honoured, which only describe, which are refused and what would work instead.

docs/structured-output.md shows these tables.
"""

HONOURED = {
    "any": ("type", "enum", "const", "nullable", "$ref", "allOf", "anyOf", "oneOf"),
    "string": ("minLength", "maxLength", "pattern", "format"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "array": ("items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems"),
    "object": (
        "properties",
        "required",
        "additionalProperties",
        "patternProperties",
        "propertyNames",
        "minProperties",
        "maxProperties",
    ),
}
TYPE_OF = {word: type_ for type_, words in HONOURED.items() for word in words if type_ != "any"}

ANNOTATIONS = (
    *("$schema", "$id", "$comment", "$anchor", "$defs", "definitions"),
    *("title", "description", "default", "example", "examples", "deprecated", "readOnly", "writeOnly"),
    *("discriminator", "externalDocs", "xml", "contentEncoding", "contentMediaType", "contentSchema"),
)  # and every word that begins with "x-"

REFUSED = {
    "not": "say what the value must be",
    "if": "use anyOf with one complete schema for each case",
    "then": "use anyOf with one complete schema for each case",
    "else": "use anyOf with one complete schema for each case",
    "contains": "use prefixItems, or describe all items",
    "minContains": "use minItems",
    "maxContains": "use maxItems",
    "dependentRequired": "use anyOf with one complete schema for each case",
    "dependentSchemas": "use anyOf with one complete schema for each case",
    "dependencies": "use anyOf with one complete schema for each case",
    "unevaluatedProperties": "use additionalProperties",
    "unevaluatedItems": "use items",
    "$dynamicRef": "use $ref",
    "$recursiveRef": "use $ref",
}

TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")


def is_annotation(word: str) -> bool:
    return word in ANNOTATIONS or word.startswith("x-")
