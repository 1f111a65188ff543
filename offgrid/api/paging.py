"""`?limit=` and `?offset=` of a list that can be long."""

from offgrid.api.fields import Field
from offgrid.api.shapes import Whole

MAX_OFFSET = 2**31
N_LISTED, MAX_LISTED = 100, 1000

LIMIT = Field("limit", Whole(1, MAX_LISTED), "How many at most.", N_LISTED)
OFFSET = Field("offset", Whole(0, MAX_OFFSET), "How many of the first ones to pass over.", 0)
PAGE = (LIMIT, OFFSET)
