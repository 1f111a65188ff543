"""The toolbox: which tools there are, which of them are on, and the one way in which one is called.

Must stay true: whatever a model names, only a tool that is there, is on, and is for whoever it works for is run, and
only with arguments that follow its schema. No source of tools can take the name of another's.
"""

import difflib
from collections.abc import Callable, Iterable
from typing import Any

from offgrid.agents.step_grammar import why_unusable
from offgrid.agents.tools.arguments import problem_of
from offgrid.agents.tools.calculator import CALCULATOR
from offgrid.agents.tools.clock import CURRENT_TIME
from offgrid.agents.tools.files import LIST_FILES, READ_FILE, WRITE_FILE
from offgrid.agents.tools.http_get import HTTP_GET
from offgrid.agents.tools.knowledge import LIST_MODELS, SEARCH_DOCUMENTS
from offgrid.agents.tools.shell import SHELL
from offgrid.agents.tools.tool import Context, Tool, ToolError, cut
from offgrid.errors import NotFound
from offgrid.store.tool_switches import ToolSwitches
from offgrid.types import Principal

BUILT_IN_TOOLS = (
    CALCULATOR,
    CURRENT_TIME,
    LIST_MODELS,
    SEARCH_DOCUMENTS,
    READ_FILE,
    WRITE_FILE,
    LIST_FILES,
    HTTP_GET,
    SHELL,
)
MAX_RESULT_CHARS = 16_000

# The tools of somebody else, as they are at the moment; asked often, so it must be quick.
Source = Callable[[], Iterable[Tool]]


class Toolbox:
    """Every method may be called from any thread."""

    def __init__(self, switches: ToolSwitches, *sources: Source):
        """`sources`: where tools come from besides the built-in ones."""
        self._switches = switches
        self._sources = sources

    def tools(self) -> list[Tool]:
        """All there are, on or off: the built-in ones first. The first of a name is the one that has it."""
        found = {tool.name: tool for tool in BUILT_IN_TOOLS}
        for source in self._sources:
            for tool in source():
                found.setdefault(tool.name, tool)
        return list(found.values())

    def is_on(self, tool: Tool) -> bool:
        return self._switches.all().get(tool.name, tool.is_on_by_default)

    def for_somebody(self, who: Principal) -> list[Tool]:
        """The tools that are on and that they may use."""
        return [tool for tool in self.tools() if self.is_on(tool) and not tool.refusal(who)]

    def why_unusable(self, tool: Tool) -> str:
        """Why no model is offered a tool, for its schema's sake; "" where it is."""
        return why_unusable(tool.parameters)

    def why_not(self, name: str, who: Principal) -> str:
        """Why somebody's agent may not call the tool of that name; "" where it may."""
        tool = self._find(name)
        if tool is None:
            names = [tool.name for tool in self.for_somebody(who)]
            return f"There is no tool {name[:80]!r}.{_hint(name, names)} There are {', '.join(names) or 'none'}."
        if not self.is_on(tool):
            return f"The tool {name} is switched off."
        return tool.refusal(who) or (
            f"The tool {name} cannot be used. {why}" if (why := self.why_unusable(tool)) else ""
        )

    def switch(self, name: str, *, is_on: bool) -> None:
        """Switch a tool on or off, for everybody and for good. Raises NotFound, StorageFull."""
        names = [tool.name for tool in self.tools()]
        if name not in names:
            raise NotFound(f"There is no tool {name[:80]!r}.{_hint(name, names)}", param="name")
        self._switches.set(name, is_on=is_on)

    def call(self, name: str, arguments: Any, context: Context) -> str:
        """Run a tool for whoever `context` says, and give what it answers. Raises ToolError."""
        if why := self.why_not(name, context.who):
            raise ToolError(why)
        tool = self._find(name)
        if tool is None:  # its server was removed this very moment
            raise ToolError(f"The tool {name} is gone.")
        if problem := problem_of(arguments, tool.parameters):
            raise ToolError(problem)
        return cut(tool.run(arguments, context), MAX_RESULT_CHARS)

    def _find(self, name: str) -> Tool | None:
        return next((tool for tool in self.tools() if tool.name == name), None)


def _hint(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name[:80], names, n=1)
    return f" Did you mean {near[0]}?" if near else ""
