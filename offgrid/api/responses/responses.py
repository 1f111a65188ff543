"""The handlers of /v1/responses: make an answer, read, list and delete what is kept, count a prompt."""

from dataclasses import replace

from offgrid.api.answers import EVENTS, JSON
from offgrid.api.endpoint import endpoint
from offgrid.api.fields import Asked, Field, Ignored
from offgrid.api.generate import ask_once, generate
from offgrid.api.grounding import ground
from offgrid.api.keep_alive import read_keep_alive
from offgrid.api.messages import with_system_prompt
from offgrid.api.models import model_for
from offgrid.api.responses import body
from offgrid.api.responses.items import MAX_ID_CHARS, messages_of, referred_ids, with_referred
from offgrid.api.responses.shown import EVENT, ITEMS, RESPONSE
from offgrid.api.responses.tools import tool_use_of
from offgrid.api.responses.wire import ResponseEncoder, in_own_names
from offgrid.api.sampling import read_sampling, time_limit_s
from offgrid.api.shapes import Choice, Text, Whole
from offgrid.errors import ApiError, BadRequest, NotFound
from offgrid.sections import ModelSettings
from offgrid.types import CountRequest, GenerateRequest
from offgrid.web.message import Request, Response

NO_OPS = tuple(Ignored(name, "What was asked for with the answer is in it.") for name in ("include", "include[]"))
MAX_LISTED = 100
NOT_KEPT = "responses_not_kept"
PAGE = (
    Field("limit", Whole(1, MAX_LISTED), "How many at most.", 20),
    Field("order", Choice(("asc", "desc")), "desc: the last first.", "desc"),
    Field("after", Text(1, MAX_ID_CHARS), "The id of the item before the page."),
    *NO_OPS,
)
READ = (Field("stream", Choice(("false",)), "A kept answer comes as a whole.", "false"), *NO_OPS)


@endpoint(body=body.CREATE, answers={200: {JSON: RESPONSE, EVENTS: EVENT}}, errors=(409,))
def create_response(request: Request, app, asked: Asked) -> Response | None:
    """An answer of the model, kept unless store is false."""
    try:
        return _answer(request, app, asked)
    except ApiError as error:
        raise in_own_names(error) from None


def _answer(request: Request, app, asked: Asked) -> Response | None:
    request.tally.service = "responses"
    model, own = model_for(app, asked, "chat")
    items = _items(request, app, asked)
    sampling, keep_alive_s = read_sampling(asked, own), read_keep_alive(asked)
    question = GenerateRequest(
        model=model.id,
        max_tokens=asked["max_output_tokens"] or own.max_tokens,
        stop=asked.get("stop", own.stop or ()),
        time_limit_s=time_limit_s(asked),
        grammar=body.grammar_of(asked),
        logprobs=body.logprobs_of(asked),
        sampling=sampling,
        client=request.who.client,
    )
    is_kept = asked["store"] and app.config.services.keep_responses
    before = _prompt(request, app, asked, items, own)
    prompt, more = ground(request, app, asked, model, before, question.max_tokens)
    encoder = ResponseEncoder(body.about(asked, model.id, sampling, is_kept=is_kept), more)

    def ending() -> bytes:
        if is_kept:
            owner, previous_id = request.who.owner, asked["previous_response_id"]
            app.responses.keep(owner, encoder.response, items, previous_id)
        return encoder.ending() if asked["stream"] else b""

    whole = [replace(question, **prompt)]
    return generate(
        request, app, model, whole, encoder, stream=asked["stream"], keep_alive_s=keep_alive_s, ending=ending
    )


@endpoint(body=body.COUNT, answer={"object": "response.input_tokens", "input_tokens": int})
def count_input_tokens(request: Request, app, asked: Asked) -> Response:
    """How many tokens a request's prompt has."""
    model, own = model_for(app, asked, "chat")
    question = CountRequest(**_prompt(request, app, asked, _items(request, app, asked), own))
    try:
        count = ask_once(request, app, model, question, read_keep_alive(asked))
    except ApiError as error:
        raise in_own_names(error) from None
    return Response.json({"object": "response.input_tokens", "input_tokens": count.n_tokens})


@endpoint(query=READ, answer=RESPONSE)
def get_response(request: Request, app, _asked: Asked, id: str) -> Response:
    """A kept answer."""
    return Response.json(app.responses.get(request.who.owner, id))


@endpoint(answer={"id": str, "object": "response", "deleted": True})
def delete_response(request: Request, app, id: str) -> Response:
    """Delete a kept answer; what goes on from it stays whole."""
    app.responses.delete(request.who.owner, id)
    return Response.json({"id": id, "object": "response", "deleted": True})


@endpoint(answers={})
def cancel_response(request: Request, app, id: str) -> Response:
    """Refused: an answer ends when its client hangs up."""
    app.responses.get(request.who.owner, id)
    raise BadRequest(
        "Only a response in the background can be cancelled, and this one is not. To end an answer that is being "
        "written, hang up.",
        code="not_in_background",
    )


@endpoint(query=PAGE, answer=ITEMS)
def list_input_items(request: Request, app, asked: Asked, id: str) -> Response:
    """Everything that a kept answer was made from, earlier turns included."""
    items = app.responses.items_before(request.who.owner, id)
    if asked["order"] == "desc":
        items.reverse()
    if after := asked["after"]:
        place = next((i for i, item in enumerate(items) if item["id"] == after), None)
        if place is None:
            raise NotFound(f"There is no item {after!r} among those of this response.", param="after")
        items = items[place + 1 :]
    page = items[: asked["limit"]]
    return Response.json(
        {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": len(items) > len(page),
        }
    )


def _items(request: Request, app, asked: Asked) -> list[dict]:
    """What is asked, with the items that it refers to. Raises NotFound, BadRequest."""
    items = asked["input"] or []
    ids = referred_ids(items)
    previous_id = asked["previous_response_id"]
    if (previous_id or ids) and not app.config.services.keep_responses:
        message = "This server keeps no responses (services.keep_responses is off): send the items themselves in input."
        raise BadRequest(message, code=NOT_KEPT, param="previous_response_id" if previous_id else "input")
    return with_referred(items, app.responses.items(request.who.owner, ids)) if ids else items


def _prompt(request: Request, app, asked: Asked, items: list[dict], own: ModelSettings) -> dict:
    """The fields of a GenerateRequest, or of a CountRequest, that say what is in the prompt."""
    if previous_id := asked["previous_response_id"]:
        items = app.responses.conversation(request.who.owner, previous_id) + items
    messages = with_system_prompt(messages_of(items, asked["instructions"]), own.system_prompt)
    return {"messages": messages, "tool_use": tool_use_of(asked), "thinking": body.thinking_of(asked)}
