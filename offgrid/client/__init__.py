"""The Python library: `offgrid.Client` talks to an OffGrid server, with the standard library alone.

Imports nothing of the server, so this folder can be copied into another project.
"""

from .client import Client
from .errors import (
    ApiStatusError,
    AuthenticationError,
    BadRequest,
    ConnectionFailed,
    NotFound,
    NotSupportedYet,
    OffGridError,
    PermissionDenied,
    RateLimited,
    ServerBusy,
    ServerError,
    StreamBroken,
)

__all__ = [
    "ApiStatusError",
    "AuthenticationError",
    "BadRequest",
    "Client",
    "ConnectionFailed",
    "NotFound",
    "NotSupportedYet",
    "OffGridError",
    "PermissionDenied",
    "RateLimited",
    "ServerBusy",
    "ServerError",
    "StreamBroken",
]
