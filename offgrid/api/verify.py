"""POST /v1/models/verify: whether a model's files are what they should be, as a task in the background."""

from offgrid.api.answers import JSON
from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked, Field
from offgrid.api.residency import ONE_MODEL, model_name
from offgrid.api.shapes import Text
from offgrid.api.tasks import TASK, as_json
from offgrid.engine.verify import hash_files
from offgrid.errors import BadRequest
from offgrid.store.tasks import Run
from offgrid.web.message import Request, Response

HASH = Text(pattern="[0-9A-Fa-f]{64}", says="64 hexadecimal digits")
SHA256 = Field("sha256", HASH, "What it should be; without one it is only computed.")


@endpoint(body=(*ONE_MODEL, SHA256), answers={202: {JSON: TASK}}, errors=(404,))
def verify_model(request: Request, app, asked: Asked) -> Response:
    """Compute the SHA-256 of a model's files, as a task.

    202 with the task; its result has `verified`, null where no hash was given to compare with.
    """
    expected = (asked["sha256"] or "").lower()
    model = app.catalog.resolve(model_name(asked))
    if expected and len(model.paths) > 1:
        raise BadRequest(f"{model.id} has {len(model.paths)} files, and sha256 is that of one.", param="sha256")

    def work(run: Run) -> dict:
        files = hash_files(model.paths, run.report)
        sha256 = files[0].sha256 if len(files) == 1 else None
        return {
            "model_id": model.id,
            "size": sum(file.n_bytes for file in files),
            "sha256": sha256,
            "verified": sha256 == expected if expected else None,
            "files": [{"file_name": file.name, "size": file.n_bytes, "sha256": file.sha256} for file in files],
        }

    task = app.tasks.start(request.who.owner, "verify", f"The SHA-256 of {model.id}", work)
    return Response.json(as_json(task), status=202)
