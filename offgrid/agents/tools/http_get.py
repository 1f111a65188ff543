"""http_get: a page or a text from the internet, as text. Off until the administrator switches it on.

What may be reached says `net/fetch.py`. Not covered: a model can put what it knows into a URL, and so tell it to
whoever has that host. That is why it is off, and asks before each call.
"""

import codecs
from typing import Any

from offgrid.agents.tools.page_text import text_of_page
from offgrid.agents.tools.tool import Context, Tool, ToolError, cut, parameters, quoted
from offgrid.errors import ApiError
from offgrid.net.addresses import AddressRules
from offgrid.net.connection import Cancelled
from offgrid.net.fetch import Fetched, fetch
from offgrid.sections import AgentSettings

MAX_BYTES = 1024 * 1024
MAX_SHOWN_CHARS = 8000
PAGES = {"text/html", "application/xhtml+xml"}
TEXTS = {"application/json", "application/xml", "application/javascript", "application/yaml", ""}


def address_rules(settings: AgentSettings) -> AddressRules:
    """What an agent may reach."""
    return AddressRules(settings.http_networks, settings.http_ports, "agents.http_networks", "agents.http_ports")


def run(arguments: dict[str, Any], context: Context) -> str:
    try:
        found = fetch(
            arguments["url"],
            max_bytes=MAX_BYTES,
            timeout_s=context.settings.tool_timeout_s,
            allow=address_rules(context.settings),
            accept="text/html,text/plain,application/json;q=0.9,*/*;q=0.5",
            is_cancelled=context.is_cancelled,
        )
    except ApiError as error:
        raise ToolError(error.message) from None
    except Cancelled:
        raise ToolError("It was cancelled.") from None
    text = cut(_text_of(found), MAX_SHOWN_CHARS)
    return quoted(f"This was found at {found.url[:300]} (status {found.status}).", text or "(nothing)")


def _text_of(found: Fetched) -> str:
    kind = found.content_type
    if not (kind.startswith("text/") or kind in PAGES | TEXTS or kind.endswith(("+json", "+xml"))):
        raise ToolError(f"{found.url[:300]} is not a text: it is {kind[:60]}, {found.n_bytes} bytes.")
    try:
        charset = codecs.lookup(found.charset or "utf-8")
        text = found.body.decode(charset.name, "replace")
    except (LookupError, ValueError):  # a charset that nobody knows, or that is none
        text = found.body.decode("utf-8", "replace")
    if "\0" in text:
        raise ToolError(f"{found.url[:300]} is not a text ({found.n_bytes} bytes).")
    return text_of_page(text) if kind in PAGES else text


HTTP_GET = Tool(
    name="http_get",
    description="Read a web page.",
    parameters=parameters("url", url={"type": "string", "description": "Begins with http:// or https://"}),
    run=run,
    is_on_by_default=False,
)
