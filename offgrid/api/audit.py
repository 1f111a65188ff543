"""What of a request goes into the audit log, and GET /v1/admin/audit.

Recorded: what may have changed something (POST, PUT, PATCH, DELETE on a path that exists), and refusals: 401, 403, 429,
and a 404 for a path that names somebody's object, which may be another's. Never a header, a query or a body, except,
where the setting log.prompts asks for it, what was asked of a model. What else a row should say the handler puts into
`request.remarks`.
"""

import json
import re
import time

from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked, Field
from offgrid.api.shapes import Text, Whole
from offgrid.errors import BadRequest, Unavailable
from offgrid.store.audit_chain import Entry, Row, to_json, utc_text
from offgrid.store.audit_check import check_log
from offgrid.web.message import Request, Response

CHANGING = {"POST", "PUT", "PATCH", "DELETE"}
METHODS = CHANGING | {"GET", "HEAD", "OPTIONS"}
# On the disk before the answer is sent: who may do what, and which programs are started, depends on these.
AT_ONCE = ("/v1/users", "/v1/auth", "/v1/admin", "/api/auth", "/api/api-keys", "/v1/agents")
# A path with {id}, but not with {id:path}: models and files are nobody's.
OBJECT = re.compile(r"\{[a-z_]+\}")
OLLAMA = {"chat": "messages", "generate": "prompt", "embed": "input", "embeddings": "prompt"}
ASKED = {
    "/v1/chat/completions": "messages",
    "/v1/completions": "prompt",
    "/v1/embeddings": "input",
    "/v1/messages": "messages",
    "/v1/responses": "input",
    "/v1/agents/run": "prompt",
    "/ollama/v1/chat/completions": "messages",
    **{f"{place}/api/{name}": field for name, field in OLLAMA.items() for place in ("", "/ollama")},
}
MAX_ASKED_BYTES = 16 * 1024
MAX_TARGET_CHARS = 200
MAX_ROWS = 1000

LIMIT = Field("limit", Whole(1, MAX_ROWS), "How many rows at most.", 100)
BEFORE = Field("before", Whole(1, 2**62), "Only rows of a smaller number: the next_before of the page before.")
USER = Field("user", Text(), "Only rows of this user, by id or name.")
ACTION = Field("action", Text(), "Only rows whose action holds this text.")
EVENT = {
    "seq": int,
    "at": str,
    "action": str,
    "request_id": str,
    "user_id": (str, None),
    "name": str,
    "role": str,
    "key_id": (int, None),
    "address": str,
    "target": str,
    "status": int,
    "code": str,
    "took_ms": int,
    "detail": object,
    "hash": str,
}
REPORT = {
    "ok": bool,
    "findings": [str],
    "rows": int,
    "first_seq": int,
    "last_seq": int,
    "unfinished_rows": int,
    "head": ({"seq": int, "hash": str}, None),
    "key": str,
}


def note(request: Request, app, status: int, seconds: float) -> None:
    """Record a request that has ended; waits for the disk where the row must not be lost."""
    if app.auditor is None:
        return
    is_refusal = status in (401, 403, 429) or (status == 404 and OBJECT.search(request.route) is not None)
    if not is_refusal and not (request.method in CHANGING and request.route):
        return
    # Whatever costs its sender nothing may come a thousand times a second.
    may_flood = status >= 400 or request.who is None
    at_once = status in (401, 403) or request.route.startswith(AT_ONCE)
    entry = _entry(request, status, seconds, prompts=app.config.log.prompts)
    app.auditor.record(entry, at_once=at_once, may_flood=may_flood)


def _entry(request: Request, status: int, seconds: float, *, prompts: bool) -> Entry:
    who = request.who
    detail = dict(request.remarks)
    if request.tally.model:
        detail["model"] = request.tally.model
    if prompts and request.route in ASKED:
        detail |= _asked(request)
    method = request.method if request.method in METHODS else "OTHER"
    return Entry(
        action=f"{method} {request.route}" if request.route else method,
        at_ms=int(time.time() * 1000),
        request_id=request.id,
        user_id=who.user_id if who else None,
        name=who.name if who else "",
        role=who.role if who else "",
        key_id=who.key_id if who else None,
        address=request.peer,
        target="/".join(request.params.values())[:MAX_TARGET_CHARS],
        status=status,
        code=(request.error.code or "") if request.error else "",
        took_ms=round(seconds * 1000),
        detail=to_json(detail) if detail else "{}",
    )


def _asked(request: Request) -> dict[str, str | int]:
    """What was asked of a model, as JSON text, and its whole length where only the beginning is kept."""
    try:
        asked = json.dumps(request.json().get(ASKED[request.route]), ensure_ascii=False).encode("utf-8", "replace")
    except BadRequest:
        return {}
    text = asked[:MAX_ASKED_BYTES].decode("utf-8", "ignore")
    return {"asked": text, "asked_bytes": len(asked)} if len(asked) > MAX_ASKED_BYTES else {"asked": text}


@endpoint(query=(LIMIT, BEFORE, USER, ACTION), answer={"object": "list", "data": [EVENT], "next_before": (int, None)})
def list_events(_request: Request, app, asked: Asked) -> Response:
    """Who did what, newest first. `next_before` is the `before` of the next page, null at the end."""
    limit = asked["limit"]
    rows = app.audit.newest(limit, before=asked["before"], user=asked["user"] or "", action=asked["action"] or "")
    next_before = rows[-1].seq if len(rows) == limit else None
    return Response.json({"object": "list", "data": [as_json(row) for row in rows], "next_before": next_before})


@endpoint(answer=REPORT)
def verify_events(_request: Request, app) -> Response:
    """Check the whole audit log; one check at a time, as it reads every row."""
    if not app.audit.checking.acquire(blocking=False):
        raise Unavailable("The audit log is being checked already.", retry_after_s=5)
    try:
        report = check_log(app.audit)
    finally:
        app.audit.checking.release()
    head = report.head and {"seq": report.head.seq, "hash": report.head.hash.hex()}
    return Response.json(
        {
            "ok": not report.findings,
            "findings": report.findings,
            "rows": report.n_rows,
            "first_seq": report.first_seq,
            "last_seq": report.last_seq,
            "unfinished_rows": report.n_unfinished,
            "head": head,
            "key": report.key,
        }
    )


def as_json(row: Row) -> dict:
    """A row for reading: its time as text, its detail as an object."""
    fields = row.entry._asdict()
    at = utc_text(fields.pop("at_ms"))
    try:
        detail = json.loads(fields.pop("detail"))
    except ValueError:  # somebody changed it; `verify` says so
        detail = None
    return {"seq": row.seq, "at": at, **fields, "detail": detail, "hash": row.hash.hex()}
