"""`?limit=` and `?offset=` of a list that can be long."""

from offgrid.api.fields import Fields
from offgrid.web.message import Request

MAX_OFFSET = 2**31


def read_page(request: Request, default: int, most: int) -> tuple[int, int]:
    """(limit, offset); the query may hold nothing else. Raises BadRequest."""
    query = {name: int(text) if text.isdecimal() and len(text) < 19 else text for name, text in request.query.items()}
    fields = Fields(query)
    limit, offset = fields.whole("limit", 1, most, default), fields.whole("offset", 0, MAX_OFFSET, 0)
    fields.finish()
    return limit, offset
