"""current_time: the date and the time, here or in another time zone."""

from datetime import datetime
from typing import Any

from offgrid.agents.tools.tool import Context, Tool, ToolError, parameters


def run(arguments: dict[str, Any], _context: Context) -> str:
    return told(datetime.now().astimezone(), arguments.get("timezone", ""))


def told(now: datetime, zone: str) -> str:
    """A moment, which knows its own zone, as a person of that zone says it; "" is its own zone. Raises ToolError."""
    if zone:
        import zoneinfo  # here: it would make every start of the server slower

        try:
            now = now.astimezone(zoneinfo.ZoneInfo(zone))
        except (KeyError, ValueError, OSError):  # unknown; no name of a zone; a folder of zones
            raise ToolError(
                f"The time zone {zone[:60]!r} is not known here. Names are such as Europe/Berlin or UTC."
            ) from None
    return f"{now:%Y-%m-%d %H:%M:%S %Z (UTC%z), %A}"


CURRENT_TIME = Tool(
    name="current_time",
    description="Tell the date and the time.",
    parameters=parameters(timezone={"type": "string", "description": "For example: Europe/Berlin"}),
    run=run,
)
