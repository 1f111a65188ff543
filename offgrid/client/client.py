"""`Client`: chats, completions and embeddings as plain Python values."""

import base64
import os
import struct
from collections.abc import Callable, Iterator

from . import address
from .agent import Agent
from .errors import OffGridError
from .kb import KnowledgeBase
from .models import Loading, Models
from .sessions import Sessions
from .tasks import Tasks
from .transport import EventStream, Transport

DEFAULT_HOST = "http://localhost:11611"


class Client:
    """Talks to one OffGrid server. Any number of threads may share a client: every call has its own connection.

    `host` is an address or a URL ("192.168.1.100", "http://box:8080/ai"); without one OFFGRID_HOST, else
    http://localhost:11611. `api_key` is else OFFGRID_API_KEY. `timeout_s` bounds each wait for the next bytes.
    When the server is busy (429, 503) and says for how long, a call waits and asks again, `max_retries` times at most,
    never after the first byte of an answer.

    Every method raises OffGridError: ConnectionFailed, ApiStatusError (and its subclasses) or StreamBroken.
    """

    def __init__(
        self, host: str | None = None, api_key: str | None = None, timeout_s: float = 600, *, max_retries: int = 2
    ):
        host = host or os.environ.get("OFFGRID_HOST") or DEFAULT_HOST
        api_key = os.environ.get("OFFGRID_API_KEY") if api_key is None else api_key
        self._transport = Transport(address.parse(host), api_key, timeout_s, max_retries)
        self.models = Models(self._transport)
        self.loading = Loading(self._transport)
        self.sessions = Sessions(self._transport, self.chat)
        self.tasks = Tasks(self._transport)
        self.agent = Agent(self._transport)
        self.kb = KnowledgeBase(self._transport)

    def __repr__(self) -> str:
        return f"offgrid.Client({self._transport.address.url!r})"

    def chat(
        self,
        prompt: str | None = None,
        *,
        model: str | None = None,
        stream: bool = False,
        system: str | None = None,
        messages: list[dict] | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        top_p: float | None = None,
        stop: str | list[str] | None = None,
        seed: int | None = None,
        use_kb: bool | None = None,
        datastore_id: str | None = None,
        **options,
    ) -> "Answer | TextStream":
        """The model's answer; with `stream=True` an iterator over its pieces.

        The conversation is `system`, then `messages` ({"role", "content"} each), then `prompt` as the user's last
        word. Without `model` the server's default answers. With `use_kb=True`, or a `datastore_id`, that last word is
        looked up in one's own documents or in that data store; the answer's `citations` say what was found. What is
        None is left to the server; `options` are further fields of POST /v1/chat/completions.
        """
        conversation = [] if system is None else [{"role": "system", "content": system}]
        conversation += messages or []
        if prompt is not None:
            conversation.append({"role": "user", "content": prompt})
        if prompt is None and not messages:
            raise TypeError("chat() needs a prompt or messages")
        body = _given(
            model=model,
            messages=conversation,
            temperature=temperature,
            max_tokens=max_tokens,
            top_p=top_p,
            stop=stop,
            seed=seed,
            use_knowledge_base=use_kb,
            datastore_id=datastore_id,
            **options,
        )
        if stream:
            return self._stream("/v1/chat/completions", body, lambda event: event["choices"][0]["delta"].get("content"))
        return self._answer("/v1/chat/completions", body, lambda reply: reply["choices"][0]["message"].get("content"))

    def complete(
        self,
        prompt: str,
        *,
        model: str | None = None,
        stream: bool = False,
        temperature: float | None = None,
        max_tokens: int | None = None,
        top_p: float | None = None,
        stop: str | list[str] | None = None,
        seed: int | None = None,
        **options,
    ) -> "str | TextStream":
        """The text that follows `prompt`, without a chat template; otherwise as `chat`."""
        body = _given(
            model=model,
            prompt=prompt,
            temperature=temperature,
            max_tokens=max_tokens,
            top_p=top_p,
            stop=stop,
            seed=seed,
            **options,
        )
        if stream:
            return self._stream("/v1/completions", body, lambda event: event["choices"][0]["text"])
        return self._answer("/v1/completions", body, lambda reply: reply["choices"][0]["text"])

    def embed(self, text: str | list[str], *, model: str | None = None) -> list[float] | list[list[float]]:
        """One vector for a text, a list of vectors in the same order for a list."""
        body = _given(model=model, input=text, encoding_format="base64")
        vectors = _take(_vectors, self._transport.call("POST", "/v1/embeddings", body))
        return _take(lambda rows: rows[0], vectors) if isinstance(text, str) else vectors

    def list_models(self) -> list[dict]:
        """The models of the server, each with its "id"."""
        return self.models.list()

    def cache_stats(self) -> dict:
        """What is in the server's memory: {"loaded_models": [{"id", "size_mb"}], "cache_size", "max_size", …} in MB."""
        return self._transport.call("GET", "/v1/cache/stats")

    def is_model_cached(self, model: str) -> bool:
        """Whether the model with this id is in the server's memory."""
        return model in [entry.get("id") for entry in self._transport.take("loaded_models", "GET", "/v1/cache/stats")]

    def health(self) -> dict:
        """{"status": "healthy", …}"""
        return self._transport.call("GET", "/health")

    def info(self) -> dict:
        """The server's {"name", "version", "status"}."""
        return self._transport.call("GET", "/")

    def _answer(self, path: str, body: dict, text_of: Callable[[dict], str | None]) -> "Answer":
        reply = self._transport.call("POST", path, body)
        return Answer(_take(text_of, reply) or "", reply.get("citations"))

    def _stream(self, path: str, body: dict, text_of: Callable[[dict], str | None]) -> "TextStream":
        return TextStream(self._transport.stream(path, {**body, "stream": True}), text_of)


class Answer(str):
    """A text, and in `citations` the passages of documents that its model was given, best first:

    {"document_id", "document_name", "page", "start", "end", "score", "text"} each; empty where none were asked for.
    """

    citations: list[dict]

    def __new__(cls, text: str, citations: list[dict] | None = None) -> "Answer":
        answer = super().__new__(cls, text)
        answer.citations = citations or []
        return answer


class TextStream:
    """The pieces of one answer, as they are written.

    `citations` are those of an `Answer`, and there when the last piece is. Leaving early (`close()`, the end of a
    `with` block, or dropping it) hangs up, and the server stops computing.
    Raises StreamBroken when the answer did not come to its end.
    """

    def __init__(self, events: EventStream, text_of: Callable[[dict], str | None]):
        self._events = events
        self._text_of = text_of
        self.citations: list[dict] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        for event in self._events:
            self.citations = event.get("citations") or self.citations
            has_choice = event.get("choices") != []  # the event that holds the usage has none
            text = _take(self._text_of, event) if has_choice else None
            if text:  # the first and the last event have none
                return text
        raise StopIteration

    def __enter__(self) -> "TextStream":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self._events.close()


def _given(**fields) -> dict:
    return {name: value for name, value in fields.items() if value is not None}


def _take(read: Callable[[dict], object], reply: dict):
    """What `read` finds in a reply. Raises OffGridError when the reply is not of that shape."""
    try:
        return read(reply)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, struct.error) as error:
        raise OffGridError(f"The server's answer is not what was expected ({error!r}): {str(reply)[:300]}") from error


def _vectors(reply: dict) -> list[list[float]]:
    return [_vector(row["embedding"]) for row in sorted(reply["data"], key=lambda row: row["index"])]


def _vector(embedding: str | list[float]) -> list[float]:
    """Base64 of little-endian float32, or a list from a server that knows no base64."""
    if isinstance(embedding, list):
        return embedding
    data = base64.b64decode(embedding, validate=True)
    return list(struct.unpack(f"<{len(data) // 4}f", data))
