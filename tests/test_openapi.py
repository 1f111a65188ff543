"""The document of the API: whole, valid, and made of what really reads requests; and the page that shows it."""

import json

import jsonschema
import pytest
from faults import running_app
from openapi_spec_validator import validate

from offgrid.api.answers import schema_of
from offgrid.api.docs import get_page
from offgrid.api.endpoint import FORM, Endpoint
from offgrid.api.fields import Field, Ignored, Object, Unsupported, Variants
from offgrid.api.openapi import document, first_sentence
from offgrid.api.routes import ROUTES
from offgrid.api.shapes import Choice, Flag, ListOf, Number, Shape, Text, Texts, Whole
from offgrid.errors import BadRequest
from offgrid.web.message import Request

TAKING = [pytest.param(route.handler, id=f"{route.method} {route.path}") for route in ROUTES if route.handler.takes]


def fields_of(shape: Shape):
    """Every field below a shape, with those of nested objects."""
    if isinstance(shape, Object):
        for field in shape.fields.values():
            yield field
            yield from fields_of(field.shape)
    elif isinstance(shape, Variants):
        for variant in shape.variants.values():
            yield from fields_of(variant)
    elif isinstance(shape, ListOf):
        yield from fields_of(shape.item)


def test_the_document_is_valid_openapi():
    validate(document(ROUTES))


def test_every_route_is_in_the_document_and_says_what_it_does():
    paths = document(ROUTES)["paths"]
    assert sum(len(operations) for operations in paths.values()) == len(ROUTES)
    for route in ROUTES:
        assert isinstance(route.handler, Endpoint), route.path
        operation = paths[route.path.replace(":path", "")][route.method.lower()]
        assert operation["summary"].endswith("."), route.path
        assert (FORM in route.accepts) == (route.handler.source == "form")


@pytest.mark.parametrize("made", TAKING)
def test_every_field_has_a_meaning_and_what_it_shows_is_what_it_takes(made):
    for field in fields_of(made.takes):
        assert field.means.strip() and field.means[-1] in ".@_-", field.name
        for value in (field.example, field.default):
            if value is not None:
                field.read(value, field.name)
                jsonschema.validate(value, field.schema())


@pytest.mark.parametrize(
    ("shape", "good", "bad"),
    [
        (Number(0, 2), [0, 2, 1.5], [-0.1, 2.1, "1", True, None]),
        (Whole(1, 5), [1, 5, 5.0], [0, 6, 1.5, "1", True]),
        (Flag(), [True, False], [0, 1, "true"]),
        (Text(1, 3), ["a", "abc"], ["", "abcd", 1, ["a"]]),
        (Text(pattern="[0-9]+"), ["0", "12"], ["", "1a", "a1"]),
        (Choice(("a", "b")), ["a", "b"], ["c", "", 1]),
        (Texts(2), ["a", ["a", "b"], []], ["", ["a", ""], ["a", "b", "c"], 1, [1]]),
        (ListOf(Whole(0, 9), 2, 1), [[1], [1, 2]], [[], [1, 2, 3], [10], ["1"], 1]),
        (Object(Field("n", Whole(0, 9), "A number.")), [{}, {"n": 1}, {"n": None}], [{"m": 1}, {"n": 10}, [], 1]),
        (Object(Ignored("x", "Nothing.")), [{"x": 1}, {"x": {}}, {"x": None}], [{"y": 1}]),
        (Object(Unsupported("x", "not yet.", [], "none")), [{}, {"x": []}, {"x": "none"}], [{"x": [1]}, {"x": 0}]),
        (
            Variants("kind", {"a": Object(Field("n", Flag(), "A flag.")), "b": Object()}, "b"),
            [{}, {"kind": "b"}, {"kind": "a", "n": True}],
            [{"kind": "c"}, {"kind": "b", "n": True}, {"n": True}, {"kind": 1}, 1],
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Shape) else "",
)
def test_a_shape_reads_what_its_schema_allows_and_refuses_the_rest(shape, good, bad):
    schema = shape.schema()
    for value in good:
        shape.read(value, "it")
        jsonschema.validate(value, schema)
    for value in bad:
        with pytest.raises(BadRequest):
            shape.read(value, "it")
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(value, schema)


def test_what_is_left_out_is_its_default_and_can_be_told_from_what_is_given():
    shape = Object(
        Field("n", Whole(0, 9), "A number.", 3), Field("in", Object(Field("on", Flag(), "On.", True)), "In.", {})
    )
    asked = shape.read({}, "")
    assert (asked["n"], "n" in asked, asked.get("n")) == (3, False, None)
    assert asked["in"]["on"] is True
    assert shape.read({"n": 3}, "").get("n") == 3
    with pytest.raises(KeyError):
        asked["m"]


def test_a_wrong_value_inside_an_object_is_named_with_its_place():
    inner = Object(Field("n", Whole(0, 9), "A number."))
    shape = Object(Field("list", ListOf(inner, 5), "Objects."))
    for value, param in (({"list": [{}, {"n": 10}]}, "list[1].n"), ({"list": [{"m": 1}]}, "list[0].m")):
        with pytest.raises(BadRequest) as caught:
            shape.read(value, "")
        assert caught.value.param == param
        assert caught.value.message.startswith((param, f"There is no field {param}"))


@pytest.mark.parametrize(
    ("spec", "good", "bad"),
    [
        ({"a": int, "b?": str}, [{"a": 1}, {"a": 1, "b": "x", "c": 2}], [{}, {"a": "1"}, {"a": 1, "b": None}]),
        ([(str, None)], [[], ["a", None]], [[1], "a"]),
        ({str: {"n": float}}, [{}, {"x": {"n": 1.5}}], [{"x": {}}]),
        (("on", "off"), ["on"], ["up"]),
        (([int], {"a": True}), [[1], {"a": True}], [["a"], {"a": False}]),
    ],
)
def test_the_shape_of_an_answer_is_what_it_says(spec, good, bad):
    schema = schema_of(spec)
    for value in good:
        jsonschema.validate(value, schema)
    for value in bad:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(value, schema)


def test_the_first_sentence_of_a_docstring_is_its_summary():
    assert (
        first_sentence("A `word` and\n    more: 3.5 of it. Then others.\n\n    More.") == "A word and more: 3.5 of it."
    )


def test_the_document_and_its_page_are_there_without_credentials_and_small(tmp_path):
    (tmp_path / "models").mkdir()
    with running_app(tmp_path / "models", tmp_path / "data") as app:
        found = app.router.match("GET", "/openapi.json")[0].handler(Request("GET", "/openapi.json"), app)
    assert json.loads(found.body) == document(ROUTES)
    page = get_page(Request("GET", "/docs"), None)
    assert len(page.body) < 25_000
    assert b"//" not in page.body.split(b"<script>")[0]  # asks nothing of anybody else
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
