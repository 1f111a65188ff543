"""`client.models` and `client.loading`: what is in the server's memory, and how far a loading is."""

from collections.abc import Iterator
from urllib.parse import quote

from .errors import NotSupportedYet
from .transport import Transport

ENDS = ("ready", "failed")


class Models:
    """`client.models`"""

    def __init__(self, transport: Transport):
        self._transport = transport

    def list(self) -> "list[dict]":
        """The models of the server, each with its "id"; "state" says whether it is loaded."""
        return self._transport.take("data", "GET", "/v1/models")

    def refresh(self) -> "list[dict]":
        """The same, after the server has looked at every file again."""
        return self._transport.take("data", "POST", "/v1/models/refresh", {})

    def load(self, model: str, *, keep_alive: float | str | None = None, wait: bool = True) -> dict:
        """Load a model; returns when it is ready, or with `wait=False` at once.

        `keep_alive`: how long it stays without requests, in seconds or as "5m"; a negative number is for ever.
        """
        body = {"model": model, "wait": wait}
        return self._transport.call("POST", "/v1/models/load", body | _given(keep_alive=keep_alive))

    def unload(self, model: str) -> dict:
        """Unload a model that is idle; a busy one is an error of status 503."""
        return self._transport.call("POST", "/v1/models/unload", {"model": model})

    def pin(self, model: str) -> dict:
        """Load a model, and never unload it for another."""
        return self._transport.call("POST", "/v1/models/pin", {"model": model})

    def unpin(self, model: str) -> dict:
        return self._transport.call("POST", "/v1/models/unpin", {"model": model})

    def prewarm(self, model: str) -> dict:
        """Have the server read the model's file into free memory, so that loading it later takes no disk."""
        return self._transport.call("POST", "/v1/models/prewarm", {"model": model})

    def verify(self, model: str, sha256: str | None = None) -> dict:
        """Have the server read the model's files in the background, and compare them with `sha256` if that is given.

        Gives the task; `client.tasks.wait(task["id"])["result"]` has "sha256", "size", "verified" and "files".
        """
        return self._transport.call("POST", "/v1/models/verify", {"model": model} | _given(sha256=sha256))

    def get_loading_progress(self, model: str | None = None) -> dict:
        return self._transport.call("GET", _with_model("/v1/loading/progress", model))

    def download(self, repository: str, file_name: str) -> None:
        raise NotSupportedYet(
            f"OffGrid cannot download {file_name} of {repository} yet: copy the file into the server's models folder."
        )


class Loading:
    """`client.loading`; without `model` it is the one whose loading began last."""

    def __init__(self, transport: Transport):
        self._transport = transport

    def progress(self, model: str | None = None) -> dict:
        """{"model_id", "phase", "progress" (percent), "message", …}"""
        return self._transport.call("GET", _with_model("/v1/loading/progress", model))

    def stream(self, model: str | None = None) -> Iterator[dict]:
        """The progress now and after each change, up to the phase "ready".

        Raises StreamBroken, with the reason, when the model cannot be loaded.
        """
        path = _with_model("/v1/loading/progress/stream", model)
        events = self._transport.stream(path, method="GET")
        try:
            for event in events:
                yield event
                if event.get("phase") in ENDS:
                    return
        finally:
            events.close()


def _with_model(path: str, model: str | None) -> str:
    return path if model is None else f"{path}?model={quote(model, safe='')}"


def _given(**fields) -> dict:
    return {name: value for name, value in fields.items() if value is not None}
