"""`client.sessions`: conversations that the server keeps under a name."""

from collections.abc import Callable
from urllib.parse import quote

from .transport import Transport

_PAGE = 100


class Sessions:
    """`client.sessions`; every program with the same account or key sees the same ones."""

    def __init__(self, transport: Transport, chat: Callable[..., str]):
        self._transport = transport
        self._chat = chat

    def list(self) -> "list[dict]":
        """All of them with their messages, the one changed last first."""
        found: dict[str, dict] = {}  # by name: one may move to another page while we read
        n_read, n_total = 0, 1
        while n_read < n_total:
            page = self._transport.call("GET", f"/v1/sessions?limit={_PAGE}&offset={n_read}")
            if not page.get("sessions"):
                break
            found.update((session["name"], session) for session in page["sessions"])
            n_read, n_total = n_read + len(page["sessions"]), page.get("total", 0)
        return list(found.values())

    def get(self, name: str) -> dict:
        """{"name", "model_id", "messages": [{"role", "content", "timestamp"}], "created_at", "updated_at"}"""
        return self._transport.call("GET", _path(name))

    def create(self, name: str, model_id: str = "", messages: "list[dict] | None" = None) -> dict:
        """A new session; a name that is taken is an error of status 409."""
        body = {"name": name, "model_id": model_id}
        return self._transport.call("POST", "/v1/sessions", body | ({"messages": messages} if messages else {}))

    def delete(self, name: str) -> bool:
        return self._transport.take("success", "DELETE", _path(name))

    def add_message(self, name: str, role: str, content: str) -> bool:
        """Put a message at the end; `role` is "system", "user", "assistant" or "tool"."""
        return self._transport.take("success", "POST", f"{_path(name)}/messages", {"role": role, "content": content})

    def chat_with_session(self, name: str, message: str, model: str | None = None, **options) -> str:
        """The model's answer to what the session holds and `message`; both are kept, or neither when it fails.

        Without `model` it is the session's own, else the server's default. `options` are those of `Client.chat`; what
        was looked up with `use_kb=True` is in the answer's `citations` and not in the session.
        """
        if options.get("stream"):
            raise TypeError("chat_with_session() keeps whole answers: use chat(messages=…, stream=True)")
        session = self.get(name)
        history = [{"role": m["role"], "content": m["content"]} for m in session["messages"]]
        answer = self._chat(message, messages=history, model=model or session["model_id"] or None, **options)
        turn = [{"role": "user", "content": message}, {"role": "assistant", "content": answer}]
        self._transport.call("POST", f"{_path(name)}/messages", {"messages": turn})
        return answer


def _path(name: str) -> str:
    return f"/v1/sessions/{quote(name, safe='')}"
