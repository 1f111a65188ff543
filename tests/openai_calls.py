"""The openai package pointed at a server of ours, and its two calls with what most tests send. The fixture is `sdk`."""

import openai
from running import CHAT

COUNT = "1, 2, 3, 4, 5, 6,"  # its continuation is certain


def client_of(server, key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0, timeout=60)


def chat(client, content: object = "Hello!", **fields):
    fields = {"model": CHAT, "max_tokens": 12, "temperature": 0, **fields}
    return client.chat.completions.create(messages=[{"role": "user", "content": content}], **fields)


def complete(client, prompt: object = COUNT, **fields):
    fields = {"model": CHAT, "max_tokens": 12, "temperature": 0, **fields}
    return client.completions.create(prompt=prompt, **fields)
