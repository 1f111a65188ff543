"""What a tool is given is held against its schema, and what is wrong is said by the argument's name."""

import pytest

from offgrid.agents.tools.arguments import problem_of

SCHEMA = {
    "type": "object",
    "properties": {
        "path": {"type": "string", "minLength": 1, "maxLength": 10},
        "n": {"type": "integer", "minimum": 1, "maximum": 5},
        "mode": {"enum": ["a", "b", 1]},
        "words": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 2},
        "either": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "both": {"type": ["number", "null"]},
        "inner": {"type": "object", "properties": {"x": {"const": True}}, "required": ["x"]},
        "free": {},
        "all": {"allOf": [{"minimum": 2}, {"maximum": 3}]},
    },
    "required": ["path"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"n": 5},
        {"n": 2.0},
        {"mode": 1},
        {"words": ["x", "y"]},
        {"either": None},
        {"both": 1.5},
        {"both": None},
        {"inner": {"x": True, "more": 1}},
        {"free": [{}]},
        {"all": 3},
    ],
)
def test_right_arguments_have_no_problem(more):
    assert problem_of({"path": "a", **more}, SCHEMA) == ""


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ([], "What is given to a tool must be an object; it is a list."),
        ("path", "What is given to a tool must be an object; it is 'path'."),
        ({}, "The argument path is missing."),
        ({"path": None}, "The argument path must be a text; it is null."),
        ({"path": 5}, "The argument path must be a text; it is 5."),
        ({"path": ""}, "The argument path must be a text of at least 1 characters; it is ''."),
        ({"path": "x" * 100}, "The argument path must be a text of at most 10 characters; it is a text."),
        ({"path": "a", "pth": 1}, "There is no argument pth; there are path, n, mode, "),
        ({"path": "a", "n": "3"}, "The argument n must be a whole number; it is '3'."),
        ({"path": "a", "n": 2.5}, "The argument n must be a whole number; it is 2.5."),
        ({"path": "a", "n": True}, "The argument n must be a whole number; it is a boolean."),
        ({"path": "a", "n": float("inf")}, "The argument n must be a whole number; it is inf."),
        ({"path": "a", "n": float("nan")}, "The argument n must be a whole number; it is nan."),
        ({"path": "a", "both": float("nan")}, "The argument both must be a number or a null; it is nan."),
        ({"path": "a", "n": 6}, "The argument n must be at most 5; it is 6."),
        ({"path": "a", "mode": "c"}, "The argument mode must be one of 'a', 'b', 1; it is 'c'."),
        ({"path": "a", "mode": True}, "The argument mode must be one of"),
        ({"path": "a", "words": []}, "The argument words must be a list of at least 1 values; it is a list."),
        ({"path": "a", "words": ["x", 1]}, "The argument words[1] must be a text; it is 1."),
        ({"path": "a", "either": 1}, "The argument either must be a text; it is 1."),
        ({"path": "a", "inner": {}}, "The argument inner.x is missing."),
        ({"path": "a", "inner": {"x": 1}}, "The argument inner.x must be one of True; it is 1."),
        ({"path": "a", "all": 4}, "The argument all must be at most 3; it is 4."),
    ],
)
def test_wrong_arguments_are_named(given, problem):
    assert problem_of(given, SCHEMA).startswith(problem)


def test_a_schema_that_nests_without_end_is_no_endless_work():
    schema = {"type": "array"}
    schema["items"] = schema
    value: list = []
    for _ in range(500):
        value = [value]
    assert "nested too deeply" in problem_of(value, schema)


def test_a_schema_of_another_server_that_is_odd_does_not_break():
    for schema in (None, True, {}, {"type": "strange"}, {"$ref": "#/x"}):
        assert problem_of({"a": 1}, schema) == ""
