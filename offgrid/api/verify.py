"""POST /v1/models/verify: whether a model's files are what they should be, as a task in the background."""

import re

from offgrid.api.fields import Fields
from offgrid.api.residency import model_name
from offgrid.api.tasks import as_json
from offgrid.engine.verify import hash_files
from offgrid.errors import BadRequest
from offgrid.store.tasks import Run
from offgrid.web.message import Request, Response

_SHA256 = re.compile(r"[0-9a-f]{64}")


def verify_model(request: Request, app) -> Response:
    """202 with the task; its result has `verified`, null where no hash was given to compare with."""
    fields = Fields(request.json())
    name = model_name(fields)
    expected = (fields.string("sha256") or "").lower()
    if expected and not _SHA256.fullmatch(expected):
        raise fields.refuse("sha256", "64 hexadecimal digits", expected)
    fields.finish()
    model = app.catalog.resolve(name)
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
