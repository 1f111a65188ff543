"""GET /v1/admin/usage: who took how many requests and tokens, as JSON or as a table for a spreadsheet."""

import csv
import io
from datetime import UTC, date, datetime, timedelta

from offgrid.errors import BadRequest
from offgrid.store.usage import COUNTS, DIMENSIONS
from offgrid.web.message import Request, Response

USUAL_DAYS = 31
MAX_ROWS = 10_000


def get_usage(request: Request, app) -> Response:
    """`from` and `to` (days, both inclusive), `by` (what rows are told apart by), `format` (json or csv)."""
    query = dict(request.query)
    last = _day(query, "to") or datetime.now(UTC).date()
    first = _day(query, "from") or max(last, date.min + timedelta(USUAL_DAYS)) - timedelta(USUAL_DAYS - 1)
    by = _by(query)
    is_csv = _format(query, request) == "csv"
    if query:
        name = next(iter(query))
        raise BadRequest(f"There is no parameter {name[:80]} here. There are from, to, by and format.", param=name[:80])
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


def _day(query: dict[str, str], name: str) -> date | None:
    value = query.pop(name, "")
    if not value:
        return None
    try:
        return datetime.strptime(value, "%Y-%m-%d").date()
    except ValueError:
        raise BadRequest(f"{name} must be a day like 2030-01-31; it is {value[:40]!r}.", param=name) from None


def _by(query: dict[str, str]) -> tuple[str, ...]:
    value = query.pop("by", "") or ",".join(DIMENSIONS)
    names = tuple(dict.fromkeys(name.strip() for name in value.split(",")))
    for name in names:
        if name not in DIMENSIONS:
            raise BadRequest(f"by must hold names from {', '.join(DIMENSIONS)}; it has {name[:40]!r}.", param="by")
    return names


def _format(query: dict[str, str], request: Request) -> str:
    accepted = request.headers.get("accept", "")
    value = query.pop("format", "") or ("csv" if "text/csv" in accepted else "json")
    if value not in ("json", "csv"):
        raise BadRequest(f"format must be json or csv; it is {value[:40]!r}.", param="format")
    return value
