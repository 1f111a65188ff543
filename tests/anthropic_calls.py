"""The anthropic package pointed at a server of ours, and its call with what most tests send."""

import anthropic
from running import CHAT

HELLO = "Hello!"


def client_of(server, key: str = "none") -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=server.url, api_key=key, max_retries=0, timeout=110)


def asked(content: object = HELLO, **fields) -> dict:
    """The fields of a greedy message."""
    messages = content if isinstance(content, list) else [{"role": "user", "content": content}]
    return {"model": CHAT, "max_tokens": 12, "extra_body": {"temperature": 0}, "messages": messages, **fields}
