"""What a test needs to have a tool called: somebody who asks, a workspace, settings."""

from pathlib import Path

from offgrid.agents.tools.tool import Context
from offgrid.agents.tools.workspace import Workspaces
from offgrid.sections import AgentSettings
from offgrid.types import Principal

ADMIN = Principal("admin", "local", "local", "127.0.0.1")


def somebody(role: str, owner: str = "u1") -> Principal:
    return Principal(role, owner, owner, "192.168.1.5", owner)


def context(folder: Path, *, who: Principal = ADMIN, max_bytes: int = 1_000_000, **more) -> Context:
    """A context whose workspaces are below `folder`; `more` are fields of Context or of AgentSettings."""
    own = {name: more.pop(name) for name in list(more) if name in AgentSettings.__dataclass_fields__}
    given = {"is_cancelled": lambda: False, "list_models": lambda: ["small", "large"], **more}
    return Context(
        who=who, settings=AgentSettings(**own), workspaces=Workspaces(folder / "workspaces", max_bytes), **given
    )
