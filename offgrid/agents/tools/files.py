"""read_file, write_file, list_files: text files in the workspace of whoever the agent works for."""

from collections.abc import Callable
from typing import Any

from offgrid.agents.tools.tool import Context, Tool, ToolError, parameters
from offgrid.agents.tools.workspace import Entry, Workspace, WorkspaceError

MAX_SHOWN_CHARS = 8000
MAX_ENTRIES = 200

PATH = {"type": "string", "description": "For example: notes/today.txt"}


def _in_workspace(act: Callable[[dict[str, Any], Workspace], str]) -> Callable[[dict[str, Any], Context], str]:
    def run(arguments: dict[str, Any], context: Context) -> str:
        try:
            return act(arguments, context.workspaces.of(context.who.owner))
        except WorkspaceError as error:
            raise ToolError(str(error)) from None

    return run


def _read(arguments: dict[str, Any], workspace: Workspace) -> str:
    path, first = arguments["path"], int(arguments.get("start_line", 1))
    data = workspace.read(path)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ToolError(f"{path} is not a text file ({len(data)} bytes).")
    lines = text.splitlines(keepends=True)
    if not lines:
        return f"({path} is empty)"
    if first > len(lines):
        raise ToolError(f"{path} has {len(lines)} lines.")
    return _page(lines, first)


def _page(lines: list[str], first: int) -> str:
    """As many lines from `first` on as are shown at once, and where to go on."""
    shown, n_chars = [], 0
    for line in lines[first - 1 :]:
        if shown and n_chars + len(line) > MAX_SHOWN_CHARS:
            break
        shown.append(line)
        n_chars += len(line)
    text = "".join(shown)
    if len(text) > MAX_SHOWN_CHARS:
        text = f"{text[:MAX_SHOWN_CHARS]}\n[line {first} is cut here: {MAX_SHOWN_CHARS} of {len(text)} characters]\n"
    last = first + len(shown) - 1
    if last == len(lines):
        return text
    return f"{text}[lines {first} to {last} of {len(lines)}; go on with start_line {last + 1}]"


def _write(arguments: dict[str, Any], workspace: Workspace) -> str:
    path = arguments["path"]
    try:
        data = arguments["content"].encode()
    except UnicodeEncodeError:
        raise ToolError("The content holds half of a surrogate pair.") from None
    workspace.write(path, data)
    return f"{path} is written ({len(data)} bytes)."


def _list(arguments: dict[str, Any], workspace: Workspace) -> str:
    entries = workspace.entries(arguments.get("path", "."))
    if not entries:
        return "(no files)"
    more = f"\n[{MAX_ENTRIES} of {len(entries)} are shown]" if len(entries) > MAX_ENTRIES else ""
    return "\n".join(map(_line, entries[:MAX_ENTRIES])) + more


def _line(entry: Entry) -> str:
    name = entry.name.encode("utf-8", "backslashreplace").decode()
    if entry.kind == "folder":
        return f"{name}/"
    return f"{name} ({entry.n_bytes} bytes)" if entry.kind == "file" else f"{name} (cannot be opened)"


READ_FILE = Tool(
    name="read_file",
    description="Read a text file.",
    parameters=parameters("path", path=PATH, start_line={"type": "integer", "minimum": 1, "maximum": 10_000_000}),
    run=_in_workspace(_read),
    needs_workspace=True,
)
WRITE_FILE = Tool(
    name="write_file",
    description="Write a text file. What was in it is replaced.",
    parameters=parameters("path content", path=PATH, content={"type": "string"}),
    run=_in_workspace(_write),
    needs_workspace=True,
)
LIST_FILES = Tool(
    name="list_files",
    description="List the files of a folder.",
    parameters=parameters(path={"type": "string", "description": "A folder; without it, all files at the top."}),
    run=_in_workspace(_list),
    needs_workspace=True,
)
