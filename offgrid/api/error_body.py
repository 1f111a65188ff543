"""How each family of clients wants to read an error. `answers.ERRORS` says the same of each, as a shape."""

from collections.abc import Callable

from offgrid.errors import ApiError


def error_body(error: ApiError, family: str = "openai") -> dict:
    """The body of an error, in an answer and in a stream."""
    return BODIES[family](error)


def openai(error: ApiError) -> dict:
    return {"error": {"message": error.message, "type": error.type, "code": error.code, "param": error.param}}


def lollms(error: ApiError) -> dict:
    """OpenAI's, and the `detail` that LoLLMs' own clients read."""
    return openai(error) | {"detail": error.message}


# The family is a column of the routes table.
BODIES: dict[str, Callable[[ApiError], dict]] = {"openai": openai, "lollms": lollms}
