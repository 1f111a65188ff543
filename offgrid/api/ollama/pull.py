"""POST /api/pull: a model file comes into the models' folder, from this machine: a disk, a stick, another folder.

Nothing is fetched from a registry. A name that is there already is a success, because clients pull before they ask.
"""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from offgrid.api.answers import JSON, NDJSON
from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked, Ignored
from offgrid.api.ollama.names import MODEL, find, read_name
from offgrid.api.ollama.progress import DONE, STATUS, STREAM, Tell, answer_with
from offgrid.engine import gguf
from offgrid.engine.model_files import ModelFolder, model_sources
from offgrid.engine.verify import hash_files
from offgrid.errors import BadRequest, Conflict
from offgrid.web.message import Request, Response

_NO_REGISTRY = "Nothing is fetched from a registry."
FIELDS = (
    *MODEL,
    STREAM,
    Ignored("insecure", _NO_REGISTRY),
    Ignored("username", _NO_REGISTRY),
    Ignored("password", _NO_REGISTRY),
)
NOT_HERE = (
    "pull model manifest: model '{}' is not on this server, and nothing is fetched from the internet here. What works: "
    "the path of a .gguf file or of a folder on the server (a stick), or putting the file into its models folder."
)


@endpoint(body=FIELDS, answers={200: {JSON: DONE, NDJSON: STATUS}}, errors=(404, 409))
def pull(request: Request, app, asked: Asked) -> Response | None:
    """Take a model file from a path of the server's into its models' folder."""
    name = read_name(request, asked)
    path = _path(name)
    if path is None:
        request.remarks["model"] = find(app, name, NOT_HERE).id
        return answer_with(request, app, lambda tell: tell("pulling manifest"), stream=asked["stream"])
    sources = model_sources(path)
    for source in sources:
        _check(source)
    request.remarks["model"] = ", ".join(source.stem for source in sources)

    def work(tell: Tell) -> None:
        tell("pulling manifest")
        for source in sources:
            _take(app.model_folder, source, tell)
        tell("writing manifest")

    return answer_with(request, app, work, stream=asked["stream"])


def _path(name: str) -> Path | None:
    """The path that a name is; None for a name."""
    if name.startswith("file:"):
        parts = urlsplit(name)
        if parts.netloc not in ("", "localhost"):
            raise BadRequest(
                "A file URL here has three slashes and no host: file:///media/stick/model.gguf", param="model"
            )
        return Path(unquote(parts.path))
    return Path(name) if name.startswith("/") else None


def _check(source: Path) -> None:
    try:
        gguf.read(source)
    except gguf.BrokenModel as error:
        raise BadRequest(f"{source.name} {error.reason}.", param="model") from None


def _take(folder: ModelFolder, source: Path, tell: Tell) -> None:
    """Copy one file, unless it is there already; read once before, so that its hash is known while it is copied."""
    n_bytes, name = source.stat().st_size, source.name
    [found] = hash_files([source], lambda percent: tell(f"reading {name}"))
    target = folder.target(name)
    if target.exists():
        tell(f"comparing {name}")
        [there] = hash_files([target], lambda percent: tell(f"comparing {name}"))
        if there.sha256 != found.sha256:
            raise Conflict(f"{name} is there already, and it is another file. Delete it or rename the new one.")
        return
    with folder.arriving(name, n_bytes) as arrival:
        figures = {"digest": f"sha256:{found.sha256}", "total": n_bytes}
        arrival.copy(source, lambda n: tell(f"pulling {found.sha256[:12]}", completed=n, **figures))
        tell("verifying sha256 digest")
        arrival.settle(found.sha256, lambda percent: tell("verifying sha256 digest"))
