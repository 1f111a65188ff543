"""HEAD and POST /api/blobs/{digest}: files that models are made of, sent before POST /api/create."""

import re

from offgrid.api.endpoint import endpoint
from offgrid.errors import BadRequest, NotFound
from offgrid.web.message import Request, Response

DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")


@endpoint(answers={200: {}})
def has_blob(_request: Request, app, digest: str) -> Response:
    """Whether a file is there."""
    if not app.blobs.path(sha256_of(digest)).exists():
        raise NotFound(f"blob {digest} not found")
    return Response()


@endpoint(answers={200: {}, 201: {}})
def put_blob(request: Request, app, digest: str) -> Response:
    """Send a file, whose SHA-256 must be the digest; 200 when it is there already."""
    sha256, incoming = sha256_of(digest), request.incoming
    pieces = incoming.pieces() if incoming else iter(())
    if app.blobs.path(sha256).exists():
        for _ in pieces:  # a client that is not heard to its end thinks that the line broke
            pass
        return Response()
    app.blobs.put(sha256, (incoming.n_bytes or 0) if incoming else 0, pieces)
    return Response(201)


def sha256_of(digest: str, param: str = "digest") -> str:
    """Raises BadRequest."""
    match = DIGEST.fullmatch(digest)
    if not match:
        raise BadRequest("invalid digest format", param=param)
    return match[1]
