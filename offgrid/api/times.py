"""Times on the wire: RFC 3339 in UTC, with milliseconds."""

from datetime import UTC, datetime

from offgrid.api.shapes import Shape, wrong

LATEST_S = 253_402_300_799  # the end of the year 9999


def rfc3339(unix_s: float | None) -> str | None:
    """None stays None."""
    return None if unix_s is None else datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


class Time(Shape):
    """RFC 3339 with its zone, or unix seconds; read as unix seconds."""

    wanted = "a time such as 2030-01-31T12:00:00Z, or unix seconds"

    def read(self, value: object, path: str) -> float:
        try:
            time = datetime.fromisoformat(value) if isinstance(value, str) else None
            if time is not None and time.tzinfo is None:
                raise wrong(path, f"{self.wanted}, with its zone", value)
            seconds = time.timestamp() if time is not None else float(value)
        except (ValueError, TypeError, OverflowError):
            raise wrong(path, self.wanted, value) from None
        if isinstance(value, bool) or not 0 <= seconds <= LATEST_S:
            raise wrong(path, self.wanted, value)
        return seconds

    def schema(self) -> dict:
        number = {"type": "number", "minimum": 0, "maximum": LATEST_S}
        return {"anyOf": [{"type": "string", "format": "date-time"}, number]}
