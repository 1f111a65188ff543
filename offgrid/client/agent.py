"""`client.agent`: models that do a task with tools, these tools, and the MCP servers that bring some of them."""

from collections.abc import Iterator
from urllib.parse import quote

from .transport import EventStream, Transport

_AGENTS = "/v1/agents"
_PATH = f"{_AGENTS}/mcp"


class Agent:
    """`client.agent`"""

    def __init__(self, transport: Transport):
        self._transport = transport
        self.mcp = Mcp(transport)

    def run(
        self,
        prompt: str,
        model: "str | None" = None,
        style: str = "react",
        max_steps: int = 10,
        tools: "list[str] | None" = None,
        stream: bool = False,
        **fields,
    ) -> "dict | Iterator[dict]":
        """Have a model do a task. A dict with "result", "steps", "tool_calls", "tokens_used" and "status".

        With `stream` an iterator of events: status, token, step, approval, and at last done; closing it ends the run.
        `fields`: template, max_tokens, max_seconds, system_prompt, session, datastore_id, background and so on. A
        run that fails before its first step raises, as does the error that ends a stream.
        """
        body = {"prompt": prompt} | _given(model=model, style=style, max_steps=max_steps, tools=tools, **fields)
        if stream:
            return _until_done(self._transport.stream(f"{_AGENTS}/run", body | {"stream": True}))
        return self._transport.call("POST", f"{_AGENTS}/run", body)

    def tools(self, all: bool = False) -> "list[dict]":
        """The tools that one's agents can use; with `all` also those that are off, and those of other roles."""
        return self._transport.take("tools", "GET", f"{_AGENTS}/tools{'?all=true' if all else ''}")

    def toggle_tool(self, name: str, enabled: bool) -> dict:
        """Switch a tool on or off, for everybody: for admins."""
        return self._transport.call("PATCH", f"{_AGENTS}/tools", {"name": name, "enabled": enabled})

    def enable_tool(self, name: str) -> dict:
        return self.toggle_tool(name, True)

    def disable_tool(self, name: str) -> dict:
        return self.toggle_tool(name, False)

    def tasks(self) -> "list[dict]":
        """The runs of one's agents, newest first."""
        return self._transport.take("tasks", "GET", f"{_AGENTS}/tasks")

    def task(self, id: str) -> dict:
        """How far a run is, what it waits for, and what came of it."""
        return self._transport.call("GET", f"{_AGENTS}/tasks/{quote(id, safe='')}")

    def cancel(self, id: str) -> dict:
        return self._transport.call("POST", f"{_AGENTS}/tasks/{quote(id, safe='')}/cancel", {})

    def delete(self, id: str) -> dict:
        """Forget a run that has ended."""
        return self._transport.call("DELETE", f"{_AGENTS}/tasks/{quote(id, safe='')}")

    def approve(self, id: str, approve: bool = True, call: "str | None" = None) -> dict:
        """Agree to a call that waits for a person, or refuse it; without `call`, all that wait."""
        path = f"{_AGENTS}/tasks/{quote(id, safe='')}/approve"
        return self._transport.call("POST", path, {"approve": approve} | _given(call=call))


class Mcp:
    """`client.agent.mcp`: for admins. A server is a `url`, which may be a command line, or a `command` with `args`."""

    def __init__(self, transport: Transport):
        self._transport = transport

    def list(self) -> "list[dict]":
        """Each with "name", "transport", "status" and how many "tools" it brings."""
        return self._transport.take("servers", "GET", _PATH)

    def get(self, name: str) -> dict:
        """One of them with its "tool_list", "resources" and "prompts"."""
        return self._transport.call("GET", f"{_PATH}/{quote(name, safe='')}")

    def add(self, name: str, url: str | None = None, **how) -> dict:
        """Connect to a server and keep it. `how`: command, args, env, cwd, roots, headers, enabled, replace."""
        return self._transport.call("POST", _PATH, {"name": name} | _given(url=url, **how))

    def test(self, name: str | None = None, url: str | None = None, **how) -> dict:
        """Connect to a server that was added, or to one that is not; "tools_count" and "tools" tell what it has."""
        return self._transport.call("POST", f"{_PATH}/test", _given(name=name, url=url, **how))

    def enable(self, name: str, enabled: bool = True) -> dict:
        """Let its tools be used, or not."""
        return self._transport.call("PATCH", f"{_PATH}/{quote(name, safe='')}", {"enabled": enabled})

    def remove(self, name: str) -> dict:
        """End a server and forget it."""
        return self._transport.call("DELETE", f"{_PATH}/{quote(name, safe='')}")


def _until_done(events: EventStream) -> "Iterator[dict]":
    try:
        for event in events:
            yield event
            if event.get("type") == "done":
                return
    finally:
        events.close()


def _given(**fields) -> dict:
    return {name: value for name, value in fields.items() if value is not None}
