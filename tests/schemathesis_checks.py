"""A check of our own for schemathesis, which finds it by SCHEMATHESIS_HOOKS: each part of a stream has its shape."""

import json

import jsonschema
import schemathesis

PREFIXES = {"text/event-stream": "data: ", "application/x-ndjson": ""}


@schemathesis.check
def events_conformance(_ctx, response, case) -> None:
    kind = response.headers.get("content-type", [""])[0].partition(";")[0]
    if kind not in PREFIXES:
        return
    described = case.operation.definition.raw["responses"][str(response.status_code)]
    shape, prefix = described["content"][kind]["x-event"], PREFIXES[kind]
    events = [line.removeprefix(prefix) for line in response.text.splitlines() if line.startswith(prefix)]
    assert events, "a stream without an event"
    for event in events:
        if event != "[DONE]" and "error" not in (value := json.loads(event)):
            jsonschema.validate(value, shape)
