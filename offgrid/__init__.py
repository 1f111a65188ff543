"""OffGrid: a private AI server for places with no internet, and the Python library that talks to one.

`import offgrid` stays light: the library is loaded when one of its names is first used, the server never.
"""

__version__ = "0.3.0"

_CLIENT_NAMES = (
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
)


def __getattr__(name: str):
    if name not in _CLIENT_NAMES:
        raise AttributeError(f"module 'offgrid' has no attribute {name!r}")
    from offgrid import client

    return getattr(client, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_CLIENT_NAMES])
