"""Times on the wire: RFC 3339 in UTC, with milliseconds."""

from datetime import UTC, datetime

from offgrid.api.fields import Fields

LATEST_S = 253_402_300_799  # the end of the year 9999


def rfc3339(unix_s: float | None) -> str | None:
    """None stays None."""
    return None if unix_s is None else datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def read_time(fields: Fields, name: str) -> float | None:
    """A field that holds a time, as RFC 3339 with its zone or as unix seconds; unix seconds, None when absent."""
    value = fields.take(name)
    if value is None:
        return None
    wanted = "a time such as 2030-01-31T12:00:00Z, or unix seconds"
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
        if time is not None and time.tzinfo is None:
            raise fields.refuse(name, f"{wanted}, with its zone", value)
        seconds = time.timestamp() if time is not None else float(value)
    except (ValueError, TypeError, OverflowError):
        raise fields.refuse(name, wanted, value) from None
    if isinstance(value, bool) or not 0 <= seconds <= LATEST_S:
        raise fields.refuse(name, wanted, value)
    return seconds
