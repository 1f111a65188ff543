"""What Ollama's API has for its own cloud and registry: refused, saying what works instead."""

from offgrid.api.endpoint import endpoint
from offgrid.errors import NotSupported
from offgrid.web.message import Request, Response


@endpoint(answers={})
def push(_request: Request, _app) -> Response:
    """Refused: models are not sent to a registry from here."""
    raise NotSupported("push is not supported: this server uses no internet. Copy the model's file instead.")


@endpoint(answers={})
def cloud(_request: Request, _app) -> Response:
    """Refused: there is no account at Ollama's cloud."""
    raise NotSupported("cloud is not supported: this server uses no internet. Accounts here: docs/multi-user.md.")
