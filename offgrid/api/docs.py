"""GET /docs: a page that shows /openapi.json to people. One file of `ui/`, which asks for nothing else."""

import base64
import hashlib
import re
from functools import cache
from importlib import resources

from offgrid.api.answers import HTML
from offgrid.api.endpoint import endpoint
from offgrid.web.message import Request, Response

NAME = "ui/docs.html"


@endpoint(answers={200: {HTML: str}})
def get_page(_request: Request, _app) -> Response:
    """This page."""
    page, policy = _page()
    headers = {
        "Content-Type": f"{HTML}; charset=utf-8",
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    return Response(200, page, headers)


@cache
def _page() -> tuple[bytes, str]:
    """(the page, a policy that lets the browser run this very script and style, and ask this server only)"""
    page = resources.files("offgrid").joinpath(NAME).read_bytes()
    script, style = (_hash(page, tag) for tag in ("script", "style"))
    policy = (
        f"default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page, policy


def _hash(page: bytes, tag: str) -> str:
    [content] = re.findall(rf"<{tag}>(.*?)</{tag}>".encode(), page, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}'"
