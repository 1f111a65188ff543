"""GET /v1/admin/usage: who took how many requests and tokens, as JSON or as a table for a spreadsheet."""

import csv
import io
from datetime import UTC, date, datetime, timedelta

from offgrid.api.answers import CSV, JSON
from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked, Field
from offgrid.api.shapes import Choice, Shape, wrong
from offgrid.errors import BadRequest
from offgrid.store.usage import COUNTS, DIMENSIONS
from offgrid.web.message import Request, Response

USUAL_DAYS = 31
MAX_ROWS = 10_000


class Day(Shape):
    wanted = "a day like 2030-01-31"

    def read(self, value: str, path: str) -> date:
        try:
            return datetime.strptime(value, "%Y-%m-%d").date()
        except ValueError:
            raise wrong(path, self.wanted, value) from None

    def schema(self) -> dict:
        return {"type": "string", "format": "date"}


class Dimensions(Shape):
    """Names with commas between them."""

    wanted = f"names from {', '.join(DIMENSIONS)}, with commas between them"

    def read(self, value: str, path: str) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(name.strip() for name in value.split(",")))
        if not set(names) <= DIMENSIONS.keys():
            raise wrong(path, self.wanted, next(name for name in names if name not in DIMENSIONS))
        return names

    def schema(self) -> dict:
        name = f"(?:{'|'.join(DIMENSIONS)})"
        return {"type": "string", "pattern": f"^{name}(?:,{name})*$"}


FROM = Field("from", Day(), f"The first day; when left out, that {USUAL_DAYS - 1} days before the last.")
TO = Field("to", Day(), "The last day, itself included; today when left out.")
BY = Field("by", Dimensions(), "What rows are told apart by.", ",".join(DIMENSIONS))
FORMAT = Field("format", Choice(("json", "csv")), "csv is a table; when left out, what Accept asks for.")
SUMS = dict.fromkeys((*COUNTS, "total_tokens"), int)
ROW = {"day?": str, "user?": str, "key?": (int, None), "model?": str, "service?": str, **SUMS}
USAGE = {"object": "list", "from": str, "to": str, "by": [tuple(DIMENSIONS)], "data": [ROW], "totals": SUMS}


@endpoint(query=(FROM, TO, BY, FORMAT), answers={200: {JSON: USAGE, CSV: str}})
def get_usage(request: Request, app, asked: Asked) -> Response:
    """Who took how many requests and tokens, as JSON or as a table for a spreadsheet."""
    last = asked["to"] or datetime.now(UTC).date()
    first = asked["from"] or max(last, date.min + timedelta(USUAL_DAYS)) - timedelta(USUAL_DAYS - 1)
    by = asked["by"]
    is_csv = asked["format"] == "csv" or (asked["format"] is None and CSV in request.headers.get("accept", ""))
    if first > last:
        raise BadRequest(f"from must not be after to; it is {first}, and to is {last}.", param="from")
    rows = app.usage.sums(by, first.isoformat(), last.isoformat(), MAX_ROWS + 1)
    if len(rows) > MAX_ROWS:
        raise BadRequest(
            f"These are more than {MAX_ROWS} rows. Ask for fewer days, or for less than {','.join(by)}.", param="by"
        )
    rows = [_row(row) for row in rows]
    if is_csv:
        return _table(by, rows)
    totals = {name: sum(row[name] for row in rows) for name in (*COUNTS, "total_tokens")}
    answer = {"object": "list", "from": first.isoformat(), "to": last.isoformat(), "by": list(by)}
    return Response.json(answer | {"data": rows, "totals": totals})


def _row(row: dict) -> dict:
    """As it is answered: key null where none was used, and the sum of tokens."""
    if "key" in row:
        row["key"] = row["key"] or None
    return row | {"total_tokens": row["prompt_tokens"] + row["completion_tokens"]}


def _table(by: tuple[str, ...], rows: list[dict]) -> Response:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [*by, *COUNTS, "total_tokens"])
    writer.writeheader()
    writer.writerows(rows)
    headers = {"Content-Type": "text/csv; charset=utf-8", "Content-Disposition": 'attachment; filename="usage.csv"'}
    return Response(200, text.getvalue().encode("utf-8", "replace"), headers)
