"""GET /v1/models for Anthropic's clients, which name themselves by the header anthropic-version.

They get what everybody gets, and beside it what they read; `type` is the one member that they call otherwise.
"""

from offgrid.api.times import rfc3339
from offgrid.web.message import Request

ENTRY = {"display_name?": str, "created_at?": str, "lifecycle?": "active", "max_input_tokens?": (int, None)}
PAGE = {"has_more?": False, "first_id?": (str, None), "last_id?": (str, None)}


def asks(request: Request) -> bool:
    return "anthropic-version" in request.headers


def with_entry(entry: dict) -> dict:
    """A model as it is listed."""
    return entry | {
        "type": "model",
        "display_name": entry["id"],
        "created_at": rfc3339(entry["created"]),
        "lifecycle": "active",
        "max_input_tokens": entry.get("context_length"),
    }


def with_page(answer: dict) -> dict:
    """The list, all of it on one page."""
    data = [with_entry(entry) for entry in answer["data"]]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return answer | {"data": data, "has_more": False, **ends}
