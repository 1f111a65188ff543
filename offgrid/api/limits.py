"""/v1/admin/limits: limits of a role's members, of a user, of a key. /v1/quota: what is left of one's own."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from offgrid.api import access
from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked, Field
from offgrid.api.shapes import Whole
from offgrid.api.throttle import Standing
from offgrid.errors import BadRequest, NotFound
from offgrid.store.limits import NAMES, SCOPES, Limits
from offgrid.web.message import Request, Response


class Limit(Whole):
    def read(self, value: object, path: str) -> int:
        if value == 0 and value is not False:
            raise BadRequest(
                f"{path} must be at least 1; it is 0. null or leaving it out is no limit; whoever may not ask at all "
                "needs another role.",
                param=path,
            )
        return super().read(value, path)


MEANINGS = {
    "requests_per_minute": "Requests in any minute.",
    "tokens_per_minute": "Tokens of prompts and answers in any minute.",
    "tokens_per_day": "Tokens of prompts and answers in a day (UTC).",
    "concurrent": "Requests that compute at the same time.",
}
FIELDS = tuple(Field(name, Limit(1, 1_000_000_000_000), MEANINGS[name]) for name in NAMES)
LIMITS = {"scope": SCOPES, "id": str, **dict.fromkeys(NAMES, (int, None))}
QUOTA = {
    "type": ("requests", "tokens", "concurrent"),
    "period": ("minute", "day", "now"),
    "scope": SCOPES,
    "limit": int,
    "current": int,
    "remaining": int,
    "exceeded": bool,
    "reset": str,
}


@endpoint(answer={"object": "list", "limits": [LIMITS]})
def list_limits(_request: Request, app) -> Response:
    """Every limit that is set."""
    found = [_shape(*subject, limits) for subject, limits in sorted(app.limits.by_subject.items())]
    return Response.json({"object": "list", "limits": found})


@endpoint(answer=LIMITS)
def get_limits(_request: Request, app, scope: str, id: str) -> Response:
    """The limits of a role's members, of a user or of a key."""
    limits = app.limits.by_subject.get((scope, id))
    if limits is None:
        raise _not_set(scope, id)
    return Response.json(_shape(scope, id, limits))


@endpoint(body=FIELDS, answer=LIMITS)
def set_limits(_request: Request, app, asked: Asked, scope: str, id: str) -> Response:
    """Set all limits of a subject: one that is null or left out is none."""
    _check_subject(app, scope, id)
    limits = Limits(**asked)
    if limits == Limits():
        raise BadRequest(f"The body sets no limit. Give at least one of {', '.join(NAMES)}; DELETE takes all away.")
    app.limits.put(scope, id, limits)
    return Response.json(_shape(scope, id, limits))


@endpoint(answer={"status": "deleted", "scope": SCOPES, "id": str})
def delete_limits(_request: Request, app, scope: str, id: str) -> Response:
    """Take all limits of a subject away."""
    if not app.limits.delete(scope, id):
        raise _not_set(scope, id)
    return Response.json({"status": "deleted", "scope": scope, "id": id})


@endpoint(query=(), answer={"user_id": str, "quotas": [QUOTA]})
def get_quota(request: Request, app, _asked: Asked) -> Response:
    """One's own limits and how far they are used; an empty list where there are none."""
    who = request.who
    now = datetime.now(UTC)
    quotas = [_quota(standing, now) for standing in app.throttle.standings(who)]
    return Response.json({"user_id": who.user_id or who.owner, "quotas": quotas})


def _exists(app, scope: str, id: str) -> bool:
    """Whether there is such a role, user or key to be limited."""
    if scope == "role":
        return id in access.PERMISSIONS
    return app.accounts.users.has(id) if scope == "user" else app.accounts.keys.has(id)


def _check_subject(app, scope: str, id: str) -> None:
    if scope not in SCOPES:
        raise BadRequest(f"A limit is for one of {', '.join(SCOPES)}; the path says {scope[:80]!r}.", param="scope")
    if not _exists(app, scope, id):
        known = f" Roles are {', '.join(access.PERMISSIONS)}." if scope == "role" else ""
        raise NotFound(f"There is no {scope} {id[:80]!r}.{known}", param="id")


def _not_set(scope: str, id: str) -> NotFound:
    return NotFound(f"No limit is set for the {scope[:80]} {id[:80]}.")


def _shape(scope: str, id: str, limits: Limits) -> dict:
    return {"scope": scope, "id": id, **asdict(limits)}


def _quota(standing: Standing, now: datetime) -> dict:
    return {
        "type": standing.type,
        "period": standing.period,
        "scope": standing.rule.scope,
        "limit": standing.limit,
        "current": standing.current,
        "remaining": standing.remaining,
        "exceeded": standing.remaining == 0,
        "reset": (now + timedelta(seconds=standing.reset_s)).isoformat(timespec="seconds").replace("+00:00", "Z"),
    }
