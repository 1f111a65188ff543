"""How each family of clients wants to read an error. `answers.ERRORS` says the same of each, as a shape."""

from collections.abc import Callable

from offgrid.errors import ApiError, ContextLengthExceeded


def error_body(error: ApiError, family: str = "openai", request_id: str = "") -> dict:
    """The body of an error, in an answer and in a stream."""
    body = BODIES[family](error)
    return body | {"request_id": request_id} if family in NAMING_REQUESTS else body


def openai(error: ApiError) -> dict:
    return {"error": {"message": error.message, "type": error.type, "code": error.code, "param": error.param}}


def lollms(error: ApiError) -> dict:
    """OpenAI's, and the `detail` that LoLLMs' own clients read."""
    return openai(error) | {"detail": error.message}


def ollama(error: ApiError) -> dict:
    return {"error": error.message}


def anthropic(error: ApiError) -> dict:
    """A class of errors has a word; its statuses are HTTP's, where Anthropic has 529 for a server that is busy."""
    message = error.message
    if isinstance(error, ContextLengthExceeded):  # by these words agents know that they must shorten the conversation
        message = f"prompt is too long: {error.n_prompt_tokens} tokens > {error.n_ctx - 1} maximum. {message}"
    kind = ANTHROPIC_TYPES.get(error.status, "api_error" if error.status >= 500 else "invalid_request_error")
    details = {"details": {"error_code": error.code}} if error.code in ANTHROPIC_CODES else {}
    return {"type": "error", "error": {"type": kind, "message": message, **details}}


ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}
ANTHROPIC_CODES = {"thread_unsupported_request"}  # codes that its package looks at
# The family is a column of the routes table.
BODIES: dict[str, Callable[[ApiError], dict]] = {
    "openai": openai,
    "lollms": lollms,
    "ollama": ollama,
    "anthropic": anthropic,
}
NAMING_REQUESTS = {"anthropic"}  # the body holds the request's id
