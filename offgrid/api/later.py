"""What other servers answer and this version does not yet: a 501 that says so, as a 404 could be a typing error."""

from offgrid.api.endpoint import endpoint
from offgrid.errors import NotSupported
from offgrid.web.message import Request


@endpoint(answers={})
def rerank(_request: Request, _app) -> None:
    """Not there yet: how well documents fit a question."""
    raise NotSupported("This version of OffGrid does not rank documents; later ones will.")


@endpoint(answers={})
def infill(_request: Request, _app) -> None:
    """Not there yet: what belongs between two pieces of text."""
    raise NotSupported("This version of OffGrid does not fill gaps in a text; later ones will.")


@endpoint(answers={})
def list_adapters(_request: Request, _app) -> None:
    """Not there yet: which LoRA adapters there are."""
    raise NotSupported("This version of OffGrid knows no LoRA adapters; later ones will.")


@endpoint(answers={})
def set_adapters(_request: Request, _app) -> None:
    """Not there yet: how strongly each LoRA adapter works."""
    raise NotSupported("This version of OffGrid knows no LoRA adapters; later ones will.")


@endpoint(answers={})
def generate_images(_request: Request, _app) -> None:
    """Not there yet: images from a text."""
    raise NotSupported("This version of OffGrid does not generate images; later ones will.")


@endpoint(answers={})
def edit_images(_request: Request, _app) -> None:
    """Not there yet: images from images and a text."""
    raise NotSupported("This version of OffGrid does not edit images; later ones will.")
