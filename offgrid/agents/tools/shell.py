"""shell: one program, run with little, for the administrator. Off until the administrator switches it on.

The model gives a program and its arguments, one text each; no shell reads them, so `;`, `|`, `$(…)` and `*` are
letters like any others. What confines the program, and what does not, says `procs/warden.py`. The room that all its
files take is looked at every now and then: it may go beyond the workspace's by what it writes in between.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

from offgrid.agents.tools.tool import ADMINS, Context, Tool, ToolError, parameters
from offgrid.agents.tools.workspace import Workspace, WorkspaceError
from offgrid.procs.confined import Limits, Outcome, run_confined

MAX_SHOWN_BYTES = 8000
MAX_ARGUMENTS = 100
LOOK_S = 1.0  # between two looks at the room its files take


def run(arguments: dict[str, Any], context: Context) -> str:
    argv, allowed = arguments["argv"], context.settings.shell_programs
    if not argv[0] or any("\0" in text or not _is_unicode(text) for text in argv):
        raise ToolError("The program has no name, or an argument holds a character that no program can be given.")
    if allowed and argv[0] not in allowed:
        raise ToolError(f"The program {argv[0][:80]!r} is not allowed here; there are {', '.join(allowed)}.")
    if not sys.platform.startswith("linux"):
        raise ToolError("Programs can be run on Linux only.")
    try:
        workspace = context.workspaces.of(context.who.owner)
        return _outcome(argv, workspace, context)
    except WorkspaceError as error:
        raise ToolError(str(error)) from None
    except OSError as error:  # arguments that are too long together; no room for another process
        raise ToolError(f"Nothing can be started: {error.strerror}.") from None


def _outcome(argv: list[str], workspace: Workspace, context: Context) -> str:
    limits = Limits(wall_s=context.settings.tool_timeout_s, file_bytes=workspace.max_bytes)
    outcome = run_confined(argv, workspace.folder, limits, MAX_SHOWN_BYTES, _reason_to_end(context, workspace))
    return _told(outcome, limits)


def _reason_to_end(context: Context, workspace: Workspace) -> Callable[[], str]:
    next_look = time.monotonic() + LOOK_S

    def why() -> str:
        nonlocal next_look
        if context.is_cancelled():
            return "cancelled"
        if time.monotonic() < next_look:
            return ""
        is_over = workspace.n_bytes > workspace.max_bytes
        next_look = time.monotonic() + LOOK_S
        return "room" if is_over else ""

    return why


def _told(outcome: Outcome, limits: Limits) -> str:
    output = outcome.output.decode("utf-8", "replace").replace("\0", "\ufffd")
    cut = f"\n[cut here: {len(outcome.output)} of {outcome.n_bytes} bytes]" if outcome.is_cut else ""
    ends = {
        "cancelled": "[it was cancelled]",
        "time": f"[it was ended after {limits.wall_s:g} s]",
        "flood": "[it wrote without end, and was ended]",
        "room": "[its files took more room than there is here, and it was ended]",
        "": f"[it ended with status {outcome.status}]" if outcome.status else "",
    }
    return "\n".join(filter(None, [output.rstrip("\n") + cut, ends[outcome.ended_by]])) or "(no output)"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


SHELL = Tool(
    name="shell",
    description="Run a program with arguments. No pipes, no wildcards.",
    parameters=parameters(
        "argv",
        argv={
            "type": "array",
            "items": {"type": "string"},
            "minItems": 1,
            "maxItems": MAX_ARGUMENTS,
            "description": 'For example: ["ls", "-l"]',
        },
    ),
    run=run,
    roles=ADMINS,
    is_on_by_default=False,
    needs_workspace=True,
)
