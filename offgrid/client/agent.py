"""`client.agent`: tools for models, and the MCP servers that bring them."""

from urllib.parse import quote

from .transport import Transport

_PATH = "/v1/agents/mcp"


class Agent:
    """`client.agent`"""

    def __init__(self, transport: Transport):
        self.mcp = Mcp(transport)


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


def _given(**fields) -> dict:
    return {name: value for name, value in fields.items() if value is not None}
