"""A check of our own for schemathesis, which finds it by SCHEMATHESIS_HOOKS: each event of a stream has its shape."""

import json

import jsonschema
import schemathesis


@schemathesis.check
def events_conformance(_ctx, response, case) -> None:
    if not response.headers.get("content-type", [""])[0].startswith("text/event-stream"):
        return
    described = case.operation.definition.raw["responses"][str(response.status_code)]
    shape = described["content"]["text/event-stream"]["x-event"]
    events = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
    assert events, "a stream without an event"
    for event in events:
        if event != "[DONE]" and "error" not in (value := json.loads(event)):
            jsonschema.validate(value, shape)
