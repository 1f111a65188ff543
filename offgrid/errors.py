"""Every error a client can meet, one class per HTTP status, told apart by class and never by message.

An error knows its status, `type`, `code`, `param` and extra headers; it does not know how an API family
spells its body (that is `api/error_body.py`). Raised anywhere below `app.handle`, which answers it.
The message says what was received and what would work.
"""

from typing import ClassVar


class ApiError(Exception):
    """An error that is answered to the client.

    `param` names the request field at fault; `headers` go out with the response, and with them `usual_headers`.
    """

    status = 500
    type = "api_error"
    code: str | None = None
    usual_headers: ClassVar[dict[str, str]] = {}

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None, headers: dict | None = None):
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.param = param
        self.headers = {**self.usual_headers, **(headers or {})}


class BadRequest(ApiError):
    status = 400
    type = "invalid_request_error"


class ContextLengthExceeded(BadRequest):
    """The prompt does not fit; the message and the two attributes hold both numbers (tokens)."""

    code = "context_length_exceeded"

    def __init__(self, n_prompt_tokens: int, n_ctx: int, param: str = "messages"):
        super().__init__(
            f"The prompt is {n_prompt_tokens} tokens long, and this model's context here is {n_ctx} tokens, "
            "of which at least one is for the answer. Shorten the prompt, or start the server with a larger --ctx-size "
            "if the model was trained for it.",
            param=param,
        )
        self.n_prompt_tokens = n_prompt_tokens
        self.n_ctx = n_ctx


class Unauthenticated(ApiError):
    status = 401
    type = "authentication_error"
    code = "invalid_api_key"
    usual_headers: ClassVar = {"WWW-Authenticate": "Bearer"}


class PermissionDenied(ApiError):
    status = 403
    type = "permission_error"


class NotFound(ApiError):
    status = 404
    type = "not_found_error"


class ModelNotFound(NotFound):
    """`type` is `api_error`, as the OffGrid API document has it for models."""

    type = "api_error"
    code = "model_not_found"


class AmbiguousModel(ModelNotFound):
    """Several models could be meant; the message names them."""


class MethodNotAllowed(ApiError):
    status = 405
    type = "invalid_request_error"

    def __init__(self, method: str, path: str, allow: str):
        super().__init__(f"{path} does not answer {method}; it answers {allow}.", headers={"Allow": allow})


class RequestTimeout(ApiError):
    status = 408
    type = "invalid_request_error"


class Conflict(ApiError):
    status = 409
    type = "invalid_request_error"


class TooLarge(ApiError):
    status = 413
    type = "invalid_request_error"


class UnsupportedMediaType(ApiError):
    status = 415
    type = "invalid_request_error"


class Misdirected(ApiError):
    status = 421
    type = "invalid_request_error"


class TryLater(ApiError):
    """What asking again after `retry_after_s` may mend."""

    def __init__(self, message: str, *, retry_after_s: int = 1, **kw):
        super().__init__(message, **kw)
        self.headers.setdefault("Retry-After", str(retry_after_s))


class RateLimited(TryLater):
    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"


class HeadTooLarge(ApiError):
    status = 431
    type = "invalid_request_error"


class InternalError(ApiError):
    status = 500
    code = "internal_error"


class EngineCrashed(ApiError):
    """The process that held the model ended; asking again at once might end it again."""

    status = 500
    code = "engine_crashed"
    usual_headers: ClassVar = {"x-should-retry": "false"}


class NotSupported(ApiError):
    status = 501
    type = "not_supported_error"


class BadGateway(ApiError):
    """Another machine, asked on behalf of the client, did not answer as it should."""

    status = 502
    code = "fetch_failed"


class Unavailable(TryLater):
    """503: the queue is full, a model is loading, the server is stopping."""

    status = 503
    code = "server_busy"


class HttpVersionNotSupported(ApiError):
    status = 505
    type = "invalid_request_error"


class StorageFull(ApiError):
    status = 507
    code = "storage_full"
    usual_headers: ClassVar = {"x-should-retry": "false"}


class InsufficientMemory(ApiError):
    status = 507
    code = "insufficient_memory"
    usual_headers: ClassVar = {"x-should-retry": "false"}


class ClientGone(Exception):
    """The client hung up before its answer was complete: nobody is left to answer, so this is no ApiError."""


class SetupError(Exception):
    """Something a person must mend before the server can start or load: one sentence, shown without a traceback."""
