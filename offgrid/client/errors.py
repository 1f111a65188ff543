"""What can go wrong between a program and its OffGrid server. `except offgrid.OffGridError` catches all of it."""


class OffGridError(Exception):
    """Something between this program and the server went wrong; the message is for people."""


class ConnectionFailed(OffGridError):
    """No answer at all: nobody listens there, the network broke, or the time was up."""


class NotSupportedYet(OffGridError, NotImplementedError):
    """The method has its place in this library; the server of this version cannot do it yet."""


class StreamBroken(OffGridError):
    """A stream ended before its end; what was read until then is a part of the answer.

    `code` and `type` are the server's, or None when the connection just broke.
    """

    def __init__(self, message: str, *, code: str | None = None, type: str | None = None):
        super().__init__(message)
        self.code = code
        self.type = type


class ApiStatusError(OffGridError):
    """The server answered with an error status.

    `code`, `type` and `param` are as the server sent them, or None. `request_id` finds the request in the server's
    log. `retry_after_s` is how long the server asks to wait, or None when it did not ask.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str | None = None,
        type: str | None = None,
        param: str | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ):
        super().__init__(message)
        self.status = status
        self.code = code
        self.type = type
        self.param = param
        self.request_id = request_id
        self.retry_after_s = retry_after_s


class BadRequest(ApiStatusError):
    """400: `param` names the argument at fault."""


class AuthenticationError(ApiStatusError):
    """401: the server wants an API key, or another one."""


class PermissionDenied(ApiStatusError):
    """403"""


class NotFound(ApiStatusError):
    """404: no such model (`code` is "model_not_found"), or no such address."""


class RateLimited(ApiStatusError):
    """429"""


class ServerError(ApiStatusError):
    """500 and above."""


class ServerBusy(ServerError):
    """503: the queue is full, the model is loading, or the server is stopping."""


_BY_STATUS = {
    400: BadRequest,
    401: AuthenticationError,
    403: PermissionDenied,
    404: NotFound,
    429: RateLimited,
    503: ServerBusy,
}


def class_for(status: int) -> type[ApiStatusError]:
    return _BY_STATUS.get(status) or (ServerError if status >= 500 else ApiStatusError)
