"""What LoLLMs' clients may ask for and this version does not have: a 501 that names it, not an unknown path."""

from offgrid.api.endpoint import Endpoint, endpoint
from offgrid.errors import NotSupported
from offgrid.web.message import Request


def _missing(what: str) -> Endpoint:
    def refuse(_request: Request, _app) -> None:
        raise NotSupported(f"{what} is not supported by this version of OffGrid; later ones will do it.")

    refuse.__doc__ = f"Not there yet: {what[0].lower()}{what[1:]}."
    return endpoint(answers={})(refuse)


process_long_context = _missing("Processing texts longer than the context (long_context_process)")
edit_image = _missing("Editing images (images/edit)")
speak = _missing("Speaking (audio/speech)")
list_voices = _missing("Listing voices (audio/voices)")
extract_text = _missing("Extracting the text of a file (extract_text)")
