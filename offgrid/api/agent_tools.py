"""/v1/agents/tools: what agents can do, and what the administrator lets them do."""

from offgrid.agents.approvals import needs_approval
from offgrid.agents.tools.tool import Tool
from offgrid.agents.tools.toolbox import Toolbox
from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked, Field, required
from offgrid.api.shapes import Choice, Flag, Text
from offgrid.types import ROLES
from offgrid.web.message import Request, Response

ALL = Field("all", Choice(("true", "false")), "Also those that are off, and those for other roles.", "false")
NAME = required("name", Text(1, 200), "The tool's name.", "current_time")
ENABLED = required("enabled", Flag(), "Whether agents may use it from now on.", True)
TOOL = {
    "name": str,
    "description": str,
    "parameters": object,
    "type": "function",
    "enabled": bool,
    "source": str,
    "needs_approval": bool,
    "unusable": (str, None),
    "roles": [ROLES],
}


@endpoint(query=(ALL,), answer={"tools": [TOOL], "count": int, "total": int, "enabled_count": int})
def list_tools(request: Request, app, asked: Asked) -> Response:
    """The tools that one's agents can use.

    `parameters` is the JSON Schema of a tool's arguments, `unusable` why no model is offered it.
    """
    tools = app.toolbox.tools() if asked["all"] == "true" else app.toolbox.for_somebody(request.who)
    counts = {"total": len(app.toolbox.tools()), "enabled_count": _n_enabled(app.toolbox)}
    shown = [_shape(app, tool) for tool in tools]
    return Response.json({"tools": shown, "count": len(shown), **counts})


@endpoint(
    body=(NAME, ENABLED), answer={"status": ("enabled", "disabled"), "tool": str, "enabled_count": int}, errors=(404,)
)
def switch_tool(request: Request, app, asked: Asked) -> Response:
    """Switch a tool on or off, for everybody; it stays so after a restart."""
    name, is_on = asked["name"], asked["enabled"]
    app.toolbox.switch(name, is_on=is_on)
    request.remarks |= {"tool": name, "enabled": is_on}
    status = "enabled" if is_on else "disabled"
    return Response.json({"status": status, "tool": name, "enabled_count": _n_enabled(app.toolbox)})


def _n_enabled(toolbox: Toolbox) -> int:
    return sum(map(toolbox.is_on, toolbox.tools()))


def _shape(app, tool: Tool) -> dict:
    return {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "type": "function",
        "enabled": app.toolbox.is_on(tool),
        "source": tool.source,
        "needs_approval": needs_approval(tool.name, app.config.agents.approve),
        "unusable": app.toolbox.why_unusable(tool) or None,
        "roles": list(tool.roles),
    }
